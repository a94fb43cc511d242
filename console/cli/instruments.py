"""Commands about one instrument: a look at all of it, and its write switch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from athanor.console.cli import context, output, queueing
from athanor.console.cli.failures import Refused
from athanor.console.cli.safety import known_places

if TYPE_CHECKING:
    from athanor.instruments.profile import Profile
    from athanor.instruments.sight import Sight
    from athanor.memory.places import InstrumentPlace

PANEL = "Safety"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this panel."""
    group = typer.Typer(
        no_args_is_help=True, help="Check an instrument; let it be set, or not.", rich_markup_mode="rich"
    )
    group.command("check")(check)
    group.command("writes")(writes)
    group.add_typer(queueing.group(), name="queueserver")
    app.add_typer(group, name="instruments", rich_help_panel=PANEL)


def check(
    profile: Annotated[
        str, typer.Argument(metavar="PROFILE", help="A profile file, or the name of an instrument or a laboratory.")
    ],
    exercise: Annotated[
        bool, typer.Option("--exercise", help="Move every axis a little, halt it in motion, and move it back.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before anything is moved.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", min=0.1, help="Seconds that any one device may take to answer.")
    ] = 10.0,
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Look at all of an instrument, and tell everything that is wrong at once.

    Nothing is moved without --exercise. Exit codes: 0 sound, and an experiment can run now; 1 there are faults; 2 no
    fault, but none can run now.
    """
    from athanor.console.cli import check_report
    from athanor.instruments.checking import Check

    sight, place, options = subject(profile, ledger)
    must_ask = exercise and not yes and sight.parts is not None
    if must_ask and (json or not typer.confirm(_announce(sight.parts), err=True)):
        raise Refused("Nothing was moved", "Without --exercise it is only looked at; --yes answers in advance.")

    def on_look(step: str) -> None:
        if exercise and not json:
            output.say(f"[quiet]{output.plain(step)} …[/]")

    report = Check(sight, place, options, timeout_s=timeout, exercise=exercise, on_look=on_look).run()
    if json:
        output.emit(report.as_dict())
    else:
        check_report.show(report)
    raise typer.Exit(report.exit_code)


def _announce(parts: Profile | None) -> str:
    """What is going to be moved, as a question."""
    from athanor.instruments.exercise import LONG, SMALL

    assert parts is not None
    names = ", ".join(name for name, axis in parts.axes.items() if axis.limit() is not None) or "nothing"
    kind = "simulated" if parts.simulated else "REAL"
    return (
        f"{parts.name} is {kind}. These axes are moved, one after the other, by about {SMALL:.0%} and then up to "
        f"{LONG:.0%} of their range (through a list: to the next value), and back: {names}. Move them?"
    )


def subject(text: str, ledger: str | None) -> tuple[Sight, InstrumentPlace, dict[str, Any]]:
    """What is to be checked: a file, an instrument that has run here, or a laboratory. Raises `Refused`."""
    from athanor.instruments.config import Config
    from athanor.instruments.laboratory import load, names
    from athanor.instruments.sight import look, sight_of
    from athanor.memory import places

    def at(name: str, simulated: bool) -> InstrumentPlace:
        beside = context.ledger_path(context.ledger_url(ledger)).resolve().parent if simulated else None
        return places.InstrumentPlace.of(name, beside)

    path = Path(text).expanduser()
    if path.is_file() or path.suffix in (".yaml", ".yml") or "/" in text:
        sight = look(path)
        parts = sight.parts
        return sight, at(parts.name if parts else "unnamed", parts is not None and parts.simulated), {}
    if any(place.name == text and (place.directory / "config.json").is_file() for place in known_places(ledger)):
        place = place_of(text, ledger)
        config = Config.read(place)
        return sight_of(config.profile, str(place.directory / "config.json")), place, dict(config.options)
    if text in names():
        found = load(text).profile()
        return sight_of(found, f"laboratory {text}"), at(found.name, found.simulated), {}
    known = ", ".join(sorted({*names(), *(place.name for place in known_places(ledger))}))
    raise Refused(f"There is no instrument, laboratory or file {text}", f"Give a profile file, or one of: {known}")


def writes(
    to: Annotated[Literal["on", "off"], typer.Argument(metavar="on|off", help="Whether anything may be set.")],
    instrument: Annotated[str, typer.Argument(metavar="NAME", help="The instrument's name.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept with the switch.")],
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Turn an instrument's writes off, or on again.

    While they are off nothing is set and nothing dispatched. What moves goes on, and approvals stay: to halt it, use
    `athanor stop-all`. Not a safety system.
    """
    from athanor.console.commands.instruments import set_writes

    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    place = place_of(instrument, ledger)
    state = set_writes(place, to == "on", reason, context.person())
    if json:
        output.emit({"instrument": place.name, "on": state.on, "reason": state.reason, "saved": state.saved})
    if state.on != (to == "on"):
        raise Refused(f"{place.name} can still be set: the disk takes nothing", "Stop it with `athanor stop-all`.")
    if to == "on":
        output.say(f"[good]✓[/] [name]{place.name}[/] may be set again. To go on with a campaign: `athanor resume`.")
        return
    output.say(f"[warn]■[/] Nothing is set on [name]{place.name}[/] any more. What moves goes on: see `stop-all`.")
    if not state.saved:
        output.say("  The disk is full: the switch is off, but its reason is lost.", style="warn")


def place_of(name: str, ledger: str | None) -> InstrumentPlace:
    """The one place of an instrument with this name. Raises `Refused` when there is none, or several."""
    places = known_places(ledger)
    found = [place for place in places if place.name == name]
    if len(found) > 1 and ledger is not None:
        beside = context.ledger_path(ledger).resolve().parent
        found = [place for place in found if place.directory.resolve().parent.parent == beside] or found
    if len(found) == 1:
        return found[0]
    if found:
        folders = ", ".join(str(place.directory) for place in found)
        raise Refused(f"{len(found)} instruments are called {name}: {folders}", "Name the ledger beside it: --ledger.")
    known = ", ".join(sorted({place.name for place in places})) or "none yet"
    raise Refused(f"There is no instrument {name}", f"Instruments here: {known}")
