"""What a manual station asks of a person, as a page, a line or plain data: the same on every screen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from athanor.console import wording
from athanor.console.cli import context, output
from athanor.console.commands.station import open_questions

if TYPE_CHECKING:
    from athanor.instruments.station import AnyQuestion, SetQuestion, Sheet, Station
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Campaign


def waiting(ledger: Ledger, campaign: Campaign) -> Sheet | None:
    """What a person is asked for this campaign now, None when nobody is."""
    from athanor.instruments.station import Station, StationError

    found = Station(context.instrument_place(campaign, ledger))
    try:
        sheet = found.sheet()
        if sheet is None or sheet.run.campaign != campaign.id or found.standing(sheet) != "waiting":
            return None
    except (OSError, StationError):  # the station's own command says what is wrong with it
        return None
    return sheet


def line(sheet: Sheet) -> str:
    """All that is asked, in one line: `set ph to 7.2, temperature to 40 °C (since 3 min, until 17:20)`."""
    settings = [f"{one.device} to {amount(one.shown, one.unit)}" for one in sheet.questions if one.kind == "set"]
    signals = [name for one in sheet.questions if one.kind == "measure" for name in one.signals]
    parts = [f"set {', '.join(settings)}"] if settings else []
    parts += [f"measure {', '.join(signals)}"] if signals else []
    since = min(one.since for one in sheet.questions)
    until = min(one.until for one in sheet.questions)
    return f"{', and '.join(parts)} (since {wording.duration(_age(since))}, until {clock(until)})"


def command(sheet: Sheet, ledger: str | None) -> str:
    """The command that shows and answers it; `ledger` is the --ledger value that printed commands need."""
    return context.command("station", sheet.instrument, ledger=ledger)


def amount(value: float | int | str, unit: str | None) -> str:
    """A value as a person sets it, with all its digits, and its unit."""
    text = value if isinstance(value, str) else f"{value:.12g}".replace("-", "−")
    return f"{text} {wording.pretty_unit(unit)}".rstrip()


def clock(moment: datetime) -> str:
    """A time of day as the person's own clock shows it, with the day when that is another."""
    here = moment.astimezone()
    return f"{here:%H:%M}" if here.date() == datetime.now().astimezone().date() else f"{here:%a %d %b, %H:%M}"


def _age(moment: datetime) -> float:
    return (datetime.now(UTC) - moment).total_seconds()


def as_dict(found: Station, sheet: Sheet | None) -> dict[str, Any]:
    """What is asked, as plain data."""
    standing = found.standing(sheet)
    body: dict[str, Any] = {"instrument": found.name, "standing": standing, "questions": []}
    if sheet is not None and standing != "nothing":
        body |= {"experiment": sheet.run.experiment, "why": sheet.why}
        body["questions"] = [one.model_dump(mode="json") for one in sheet.questions]
    return body


def page(found: Station, sheet: Sheet | None) -> str:
    """What is asked, as markup, with the commands that answer it."""
    standing = found.standing(sheet)
    if sheet is None or standing == "nothing":
        return f"Nothing is waiting for a person at [name]{output.plain(found.name)}[/]."
    questions = open_questions(found, sheet)
    if standing == "orphan" and not questions:
        return "\n".join([*head(found, sheet), "Everything that was asked is answered."])
    lines = [*head(found, sheet), *body(questions)]
    if standing == "withdrawn":
        return "\n".join([*lines, "", "Nothing is asked any more. Do not go on."])
    return "\n".join([*lines, "", *_commands(found, sheet)])


def head(found: Station, sheet: Sheet) -> list[str]:
    """Which run asks, and by when."""
    title = (
        f"[ember]●[/] [name]{output.plain(found.name)}[/] asks you, for experiment {output.plain(sheet.run.experiment)}"
    )
    standing = found.standing(sheet)
    if standing == "withdrawn":
        return [
            f"[bad]■[/] [name]{output.plain(found.name)}[/] asks no more: {output.plain(sheet.why)}. It asked last:",
            "",
        ]
    if standing == "orphan":
        gone = (
            "[warn]The worker that asked is gone: the experiment is in doubt. What you enter is kept, and counts if the"
        )
        return [title, gone, "experiment is settled as completed.[/]", ""]
    until = min(one.until for one in sheet.questions)
    left = wording.duration(max(0.0, -_age(until)))
    return [title, f"[quiet]It waits until {clock(until)}, {left} from now; then the run fails.[/]", ""]


def body(questions: tuple[AnyQuestion, ...]) -> list[str]:
    """The questions themselves: settings first."""
    lines: list[str] = []
    settings = [one for one in questions if one.kind == "set"]
    if settings:
        lines.append("[name]Please set[/]")
        width = max(len(one.device) for one in settings)
        for one in settings:
            lines.append(
                f"  {one.device:<{width}}  [ember]{output.plain(amount(one.shown, one.unit))}[/]{_changes(one)}"
            )
            lines += _text(one, width + 4)
    for asked in questions:
        if asked.kind != "measure":
            continue
        number = f", reading {asked.reading} of {asked.of}" if asked.of > 1 else ""
        lines += ["", f"[name]Please measure[/]: {output.plain(asked.device)}{number}"]
        lines += _text(asked, 2)
        width = max(len(name) for name in asked.signals)
        for name, signal in asked.signals.items():
            unit = wording.pretty_unit(signal.unit) or "no unit"
            lines.append(
                f"  [ember]{output.plain(name):<{width}}[/]  {output.plain(unit)}{_range(signal.low, signal.high)}"
            )
    return lines[1:] if lines and not lines[0] else lines


def _changes(one: SetQuestion) -> str:
    within = f"[quiet] ± {one.tolerance:g}[/]" if one.tolerance else ""
    if one.was is None:
        return within
    is_same = one.was == one.shown if isinstance(one.was, str) else one.was == one.value or one.was == one.shown
    return within + (
        " [quiet](as it is)[/]" if is_same else f" [quiet](from {output.plain(amount(one.was, one.unit))})[/]"
    )


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [quiet]between {low:g} and {high:g}[/]"


def _text(one: AnyQuestion, indent: int) -> list[str]:
    lines = [" " * indent + output.plain(one.text)] if one.text else []
    if one.refused:
        lines.append(" " * indent + f"[bad]The last answer was refused:[/] {output.plain(one.refused)}")
    return lines


def _commands(found: Station, sheet: Sheet) -> list[str]:
    rows: Mapping[str, str]
    rows = {}
    if any(one.kind == "set" for one in sheet.questions):
        rows["when it is set"] = context.command("station", found.name, "--done")
    if signals := [name for one in sheet.questions if one.kind == "measure" for name in one.signals]:
        rows["what you measured"] = context.command(
            "station", found.name, "--enter", *(f"{name}=…" for name in signals)
        )
        rows["from a file"] = context.command("station", found.name, "--csv", "FILE")
    rows["if you cannot"] = context.command("station", found.name, "--cannot", "why")
    return [f"  [quiet]{name + ':':<18}[/] [command]{output.plain(typed)}[/]" for name, typed in rows.items()]
