"""The command by which a person who has an instrument in hand moves one of its axes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from athanor.console.cli import context, output
from athanor.console.cli.failures import Refused
from athanor.console.cli.instruments import place_of
from athanor.console.cli.runs import InstrumentArgument, read_back, tell
from athanor.console.cli.takeover import hands

if TYPE_CHECKING:
    from athanor.instruments.config import Config
    from athanor.instruments.profile import AxisSpec
    from athanor.instruments.wire import Client
    from athanor.memory.ledger import Ledger
    from athanor.memory.orders import Order
    from athanor.memory.places import InstrumentPlace

PANEL = "By hand"
MARGIN_S = 10.0


def add_to(app: typer.Typer) -> None:
    """Add the command of this panel."""
    app.command("move", rich_help_panel=PANEL, context_settings={"ignore_unknown_options": True})(move)


def move(
    instrument: InstrumentArgument,
    axis: Annotated[str, typer.Argument(metavar="AXIS", help="Which of its axes.")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Where to, in the axis's own unit.")],
    unit: Annotated[str | None, typer.Argument(metavar="[UNIT]", help="To be sure; nothing is converted.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before it is moved.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, if there is something to say.")] = "",
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Move one axis of an instrument that you have taken over.

    Limits, interlocks, write switch and Stop All hold as ever. Ctrl-C, or the end of this command by whatever cause,
    halts the axis. It is signed in your name and written down with where it was, where it was sent and the read-back.
    """
    from athanor.instruments.config import Config
    from athanor.instruments.latch import Latch

    place = place_of(instrument, ledger)
    opened = context.open_ledger(ledger)
    it, orders = hands(place, opened)
    standing = it.read()
    if standing.tenure is None or standing.tenure.holder != orders.person:
        who = standing.refusal[1] if standing.refusal is not None else "nobody has it in hand"
        first = context.command("take-over", place.name, "--for", "30m", "--reason", "why")
        raise Refused(f"{place.name} is not yours to move: {who}", f"Take it over first: {first}")
    try:
        config = Config.read(place)
    except (OSError, ValueError) as error:
        raise Refused(f"{place.name} has never run here: {error}", "Run or check it once, then move it.") from error
    spec = config.profile.axes.get(axis)
    if spec is None:
        raise Refused(f"{place.name} has no axis {axis}", f"Its axes: {', '.join(config.profile.axes)}")
    target = target_of(spec, axis, value, unit)
    client = _worker(place, config, opened)
    try:
        here = read_back(place)["positions"].get(axis)
        _confirm(config, axis, here, target, spec, yes, json)
        order = orders.move(place.name, axis, target, standing.tenure.nonce, Latch(place).read().count, reason)
        facts = _carry_out(client, place, order, axis, spec, opened, orders.person)
    finally:
        client.close()
    of_unit = f" {spec.unit}" if spec.unit else ""
    said = f"[good]✓[/] [name]{axis}[/]: {facts['from']} → {facts['to']}{of_unit}"
    told = {"axis": axis, "target": target, "from": facts["from"], "to": facts["to"], "unit": spec.unit}
    tell(place, said, {**told, "by": orders.person}, json)


def target_of(spec: AxisSpec, axis: str, text: str, unit: str | None) -> float | int | str:
    """Read where an axis is to go.

    Raises:
        typer.BadParameter: no number where one is needed, or another unit than the axis's.
    """
    if unit is not None and unit != spec.unit:
        raise typer.BadParameter(f"{axis} is in {spec.unit or 'no unit'}, not in {unit}; nothing is converted here")
    if spec.allowed and isinstance(spec.allowed[0], str):
        return text
    try:
        number = float(text)
    except ValueError as error:
        wanted = f"a number in {spec.unit}" if spec.unit else "a number"
        raise typer.BadParameter(f"{axis} needs {wanted}, not {text!r}") from error
    return int(number) if number.is_integer() and (spec.integer or spec.allowed) else number


def _confirm(
    config: Config, axis: str, here: Any, target: float | int | str, spec: AxisSpec, yes: bool, json: bool
) -> None:
    """Show what is about to happen, and ask. Raises `Refused` without a yes."""
    profile = config.profile
    kind = "simulated" if profile.simulated else "REAL"
    unit = f" {spec.unit}" if spec.unit else ""
    what = f"{profile.name} ({kind})  {axis}: {'unknown' if here is None else here} → {target}{unit}"
    if yes:
        output.say(f"  {output.plain(what)}")
        return
    if json or not sys.stdin.isatty():
        raise Refused(f"Nothing was moved. {what}", "--yes answers in advance.")
    if not typer.confirm(f"{what}. Move it?", err=True):
        raise Refused("Nothing was moved", None)


def _worker(place: InstrumentPlace, config: Config, ledger: Ledger) -> Client:
    """The line to the instrument's worker, which is started if there is none. Raises `Refused` when it hangs."""
    from athanor.instruments.executors import executor_for
    from athanor.instruments.wire import Client, WorkerLost
    from athanor.memory import places

    for attempt in range(2):
        try:
            return Client(place.sockets / "worker.sock")
        except WorkerLost as error:
            if error.hung or attempt:
                stop = context.command("stop-all", "--instrument", place.name)
                raise Refused(f"The worker of {place.name} does not answer: {error}", f"End it: {stop}") from error
        executor = executor_for(config.profile, config.options, place, ledger.url, places.keys_dir() / "gate.pub")
        try:
            executor.ensure()
        finally:
            executor.close()
    raise AssertionError


def _carry_out(
    client: Client, place: InstrumentPlace, order: Order, axis: str, spec: AxisSpec, ledger: Ledger, person: str
) -> dict[str, Any]:
    """Give the order and wait for the axis. Raises `Refused` with what stands where, whatever went wrong."""
    from athanor.instruments.wire import WorkerLost
    from athanor.instruments.words import Refused as Declined

    try:
        return client.call("move", timeout_s=spec.longest_move_s + MARGIN_S, **order.as_dict())
    except KeyboardInterrupt:
        client.call("abort", reason=f"stopped by {person}", by=person)
        raise Refused(f"{axis} was stopped. {_stands(place, axis)}", None) from None
    except Declined as error:
        raise Refused(f"{axis} was not moved as asked: {error}. {_stands(place, axis)}", None) from error
    except WorkerLost as error:
        known = {"instrument": place.name, "axis": axis, "by": person}
        ledger.add_event(None, "manual_move", {**known, "code": "worker.lost", "detail": str(error)})
        raise Refused(
            f"The worker was lost while it moved {axis}: {error}. {_stands(place, axis)}", "Look at the instrument."
        ) from error


def _stands(place: InstrumentPlace, axis: str) -> str:
    back = read_back(place)
    here = back["positions"].get(axis)
    if here is None:
        return f"Where {axis} stands cannot be read now"
    return f"{axis} {'still moves, now at' if back['moving'] else 'stands at'} {here}"
