"""Stop All and its reset. Stop All itself lives in `athanor.instruments.stop` and imports nothing of ours but that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from athanor.console.cli import context, output, remote
from athanor.console.cli.failures import Refused

if TYPE_CHECKING:
    from athanor.memory.places import InstrumentPlace

PANEL = "Safety"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this panel."""
    app.command(
        "stop-all",
        rich_help_panel=PANEL,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    )(stop_all)
    app.command("reset-stop", rich_help_panel=PANEL)(reset_stop)


def stop_all(ctx: typer.Context) -> None:
    """Stop every instrument now, and latch. Not a safety system.

    With --server URL, or ATHANOR_SERVER: those of that console's site besides.
    """
    from athanor.instruments import stop

    arguments, elsewhere = remote.begin_stop(ctx.args)
    raise typer.Exit(remote.end_stop(stop.main(arguments), elsewhere))


def reset_stop(
    reason: Annotated[str, typer.Option("--reason", help="Why it is safe to go on; it is kept in the record.")],
    instrument: Annotated[
        str | None, typer.Option("--instrument", help="Which instrument; needed when several are latched.")
    ] = None,
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Release the Stop All latch, with a reason.

    Approvals and grants from before the stop stay void.
    """
    if not reason.strip():
        raise typer.BadParameter("say why it is safe to go on", param_hint="--reason")
    latched = {place.name: place for place in known_places(ledger) if _is_engaged(place)}
    if instrument is not None:
        latched = {name: place for name, place in latched.items() if name == instrument}
    if not latched:
        raise Refused("No instrument" + (f" {instrument}" if instrument else "") + " is latched", "Nothing to reset.")
    if len(latched) > 1:
        raise Refused(f"{len(latched)} instruments are latched: {', '.join(latched)}", "Name one with --instrument.")
    from athanor.instruments.latch import Latch

    [(name, place)] = latched.items()
    latch = Latch(place)
    latch.reset(reason, context.person())
    if json:
        output.emit({"instrument": name, "engaged": False, "count": latch.read().count, "reason": reason})
    output.say(f"[good]✓[/] [name]{name}[/] is released. Approvals from before the stop are void; approve again.")


def _is_engaged(place: InstrumentPlace) -> bool:
    from athanor.instruments.latch import Latch

    return bool(Latch(place).read().engaged)


def known_places(ledger: str | None) -> list[InstrumentPlace]:
    """Every instrument we can know of: beside the chosen ledger, in the home, and those that are running."""
    from athanor.memory import places

    bases = {places.home(), context.ledger_path(context.ledger_url(ledger)).resolve().parent}
    for note in places.runtime_dir().glob("*/place.json"):
        bases.add(_directory(note).parent.parent)
    found: dict[str, InstrumentPlace] = {}
    for base in sorted(bases):
        for folder in sorted((base / "instruments").glob("*")):
            if folder.is_dir():
                place = places.InstrumentPlace.of(folder.name, base)
                found[str(place.directory.resolve())] = place
    return list(found.values())


def _directory(note: Path) -> Path:
    import json

    return Path(json.loads(note.read_text(encoding="utf-8"))["directory"])
