"""The live view: one panel that follows a campaign, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from athanor.console import overview, wording
from athanor.console.cli import asking, context, look, output

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import RenderableType

    from athanor.console.overview import HypothesisLine, Overview
    from athanor.instruments.station import Sheet
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Experiment

SPARKS = "▁▂▃▄▅▆▇█"


GRACE = timedelta(seconds=3)


class Follower:
    """Follows one campaign in the ledger and shows it, redrawing when the ledger has changed.

    Use as a context manager in the main thread and call `update` a few times a second.
    """

    def __init__(self, ledger: Ledger, campaign_id: str, *, quiet: bool = False) -> None:
        self._ledger = ledger
        self._id = campaign_id
        self._quiet = quiet
        from athanor.console.looks import Looks

        self._looks = Looks(ledger)
        self._changes = -1
        self._drawn = 0.0
        self._not_before = 0.0
        self._view: Overview | None = None
        self._said: set[str] = set()
        self._note: str | None = None
        self._console = output.console(stderr=True)
        self._live: Any = None

    def __enter__(self) -> Follower:
        if self._console.is_terminal and not self._quiet:
            from rich.live import Live

            self._live = Live(console=self._console, auto_refresh=False, transient=False)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.update(force=True)
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def note(self, text: str | None) -> None:
        """Show a line about what the command itself is doing, such as pausing."""
        self._note = text
        if text and self._live is None and not self._quiet:
            self._line(text)

    def update(self, *, force: bool = False) -> None:
        """Show the campaign as it is now, if anything has changed since or a second has passed."""
        changes = self._ledger.changes()
        now = time.monotonic()
        if not force and (changes == self._changes or now < self._not_before) and now - self._drawn < 1.0:
            return
        if changes != self._changes or self._view is None:
            view = self._looks.at(self._id)
            self._changes = changes
            # A long record takes longer to read: spend at most a tenth of the time on looking.
            self._not_before = time.monotonic() + 9 * (time.monotonic() - now)
            if view is self._view and not force and now - self._drawn < 1.0:
                return  # it was another campaign's change
            self._view = view
        self._drawn = now
        if self._live is not None:
            flag = context.ledger_flag(self._ledger)
            sheet = asking.waiting(self._ledger, self._view.campaign)
            halt = context.halt(self._view.campaign, self._ledger)
            self._live.update(panel(self._view, self._note, flag, sheet, halt), refresh=True)
        elif not self._quiet:
            self._say_news(self._view)

    def _say_news(self, view: Overview) -> None:
        """Without a terminal: one line per experiment finished, verdict drawn, or decision wanted."""
        used = 0
        for item in view.experiments:
            used += item.state in overview.SPENT
            if item.state in ("completed", "failed", "aborted", "stopped_early", "refused", "rejected", "in_doubt"):
                observed = view.observed.get(item.id)
                key = f"{item.id} {item.state}"
                if key in self._said or (item.state == "completed" and observed is None):
                    continue
                results = ", ".join(
                    f"{name} {wording.measured(mean, sem, view.problem.unit(name))}"
                    for name, (mean, sem) in (observed or {}).items()
                )
                text = f"{item.id} {item.state.replace('_', ' ')}: {results or item.reason or ''}"
                self._once(key, f"[{used}/{view.budget}] {text}")
        for one in view.by_hand:
            results = ", ".join(
                f"{name} {wording.measured(outcome['mean'], outcome['sem'], view.problem.unit(name))}"
                for name, outcome in one.outcomes.items()
            )
            self._once(one.id, f"{one.id} by hand: {results}")
        for line in view.hypotheses:
            if line.state in ("registered", "supported", "refuted", "inconclusive", "void"):
                self._once(f"{line.id} {line.state}", f"{line.id} {line.state}: {line.statement}")
        for level in view.stocks:
            if level.is_low:
                self._once(f"stock {level.consumable.id}", overview.low_text(level))
        for item in wants_person(view):
            typed = look.actions(item, context.ledger_flag(self._ledger))[0]
            self._once(f"{item.id} waits {item.state}", f"{item.id} is waiting: {typed}")
        if (halt := context.halt(view.campaign, self._ledger)) is not None:
            self._once(halt.text, f"{halt.text}: {halt.way_on}")
        if (sheet := asking.waiting(self._ledger, view.campaign)) is not None:
            typed = asking.command(sheet, context.ledger_flag(self._ledger))
            text = f"{sheet.run.experiment} is waiting for a person at the bench: {asking.line(sheet)}: {typed}"
            self._once(" ".join(one.id for one in sheet.questions), text)

    def _once(self, key: str, text: str) -> None:
        if key not in self._said:
            self._said.add(key)
            self._line(text)

    def _line(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def wants_person(view: Overview, now: datetime | None = None) -> list[Experiment]:
    """Return the experiments that only a person can move on: not those that a grant is about to approve.

    What has waited for longer than `GRACE` no grant covers: it lies outside its ranges, or the grant has ended.
    """
    alone = view.campaign.autonomy != "auto_within_limits"
    late = (now or datetime.now(UTC)) - GRACE
    return [
        item
        for item in view.waiting
        if alone or item.source == "operator" or item.state == "in_doubt" or item.created_at < late
    ]


def panel(
    view: Overview,
    note: str | None = None,
    ledger: str | None = None,
    sheet: Sheet | None = None,
    halt: context.Halt | None = None,
) -> RenderableType:
    """Return the whole live view of a campaign.

    `ledger` is the --ledger value that printed commands need; `sheet` what a person at the bench is waited for; `halt`
    why nothing may start on the instrument.
    """
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="quiet", min_width=10)
    grid.add_column(ratio=1, overflow="fold")
    grid.add_row("progress", _progress(view))
    for index, row in enumerate(_best(view)):
        grid.add_row("best" if index == 0 else "", row)
    grid.add_row("hypothesis", _hypothesis(view.current))
    grid.add_row("now", _now(view))
    if halt is not None:
        grid.add_row("halted", f"[bad]{output.plain(halt.text)}[/]\n[command]{output.plain(halt.way_on)}[/]")
    if sheet is not None:
        asked = f"[warn]for a person at the bench:[/] {output.plain(asking.line(sheet))}"
        grid.add_row("waiting", f"{asked}\n[command]{output.plain(asking.command(sheet, ledger))}[/]")
    for text in view.low:
        grid.add_row("stock", f"[warn]{output.plain(text)}[/]")
    if waiting := wants_person(view):
        grid.add_row("waiting", _waiting(waiting, view, ledger))
    for index, text in enumerate(view.recent):
        grid.add_row("last" if index == 0 else "", f"[quiet]{output.plain(text)}[/]")
    parts: list[Any] = [grid]
    if note:
        parts.append(f"\n[warn]{output.plain(note)}[/]")
    title = f"[ember]●[/] [name]{view.campaign.id}[/]  {output.plain(view.campaign.name)}"
    kind = "[warn]simulated[/] · " if view.campaign.simulated else ""
    keys = "" if view.is_finished or view.campaign.state == "paused" else "Ctrl-C pauses cleanly · "
    return Panel(
        Group(*parts),
        title=title,
        title_align="left",
        subtitle=f"{kind}[quiet]{keys}Stop All is `athanor stop-all`, and no safety system[/]",
        subtitle_align="left",
        border_style="quiet",
        padding=(1, 2),
    )


def bar(share: float, width: int = 28, style: str = "ember") -> str:
    """Return a bar as markup, filled to a share of 0..1."""
    filled = round(min(max(share, 0.0), 1.0) * width)
    return f"[{style}]{'━' * filled}[/][quiet]{'━' * (width - filled)}[/]"


def _progress(view: Overview) -> str:
    share = view.used / view.budget if view.budget else 0.0
    parts = [f"{bar(share)} {view.used}/{view.budget} experiments"]
    if view.failures:
        parts.append(f"[bad]{view.failures} failed[/]")
    left = time_left(view)
    if view.campaign.state == "running" and left is not None:
        parts.append(f"about {wording.duration(left)} left")
    elif view.is_finished:
        parts.append(f"{output.state(view.campaign.state)} after {wording.duration(view.elapsed_s)}")
    return "  ".join(parts)


def time_left(view: Overview) -> float | None:
    """Estimate the seconds left: at the pace so far, and no more than the wall time allows."""
    if view.used < 2:
        return None
    pace = view.elapsed_s / view.used * max(view.budget - view.used, 0)
    return pace if view.deadline_s is None else min(pace, max(view.deadline_s - view.elapsed_s, 0.0))


def _best(view: Overview) -> list[str]:
    if not view.best:
        return ["[quiet]nothing measured yet[/]"]
    if len(view.problem.objectives) > 1:
        return [output.plain(overview.best_text(view)), *filter(None, [_spark(view)])]
    rows = [f"[good]{output.plain(overview.best_text(view))}[/]  {_spark(view)}"]
    rows.append(f"[quiet]{output.plain(wording.settings(view.best[0].values, view.problem))}[/]")
    return rows


def _spark(view: Overview) -> str:
    """Return the best so far, experiment by experiment, as a tiny line of blocks."""
    values = view.trace[-40:]
    if len(values) < 2 or max(values) <= min(values):
        return ""
    low, high = min(values), max(values)
    marks = "".join(SPARKS[int((value - low) / (high - low) * (len(SPARKS) - 1))] for value in values)
    return f"[quiet]{marks}[/]"


def _hypothesis(line: HypothesisLine | None) -> str:
    if line is None:
        return "[quiet]none yet: first a few spread-out experiments[/]"
    text = (
        f"{output.state(line.state)}  {output.plain(line.statement)}  [quiet]prior {wording.number(line.prior, 2)}[/]"
    )
    sides = (
        (line.log_e_support, line.log_threshold_support, "for", "good"),
        (line.log_e_refute, line.log_threshold_refute, "against", "bad"),
    )
    shares = [(e / limit, e, limit, side, style) for e, limit, side, style in sides if e is not None and limit]
    if not shares:
        return text
    share, log_e, limit, side, style = max(shares)
    blocks = wording.count(line.blocks, "block")
    return (
        f"{text}\n{bar(share, 16, style)} e {wording.e_value(log_e)} {side}, {wording.e_value(limit)} needed, {blocks}"
    )


def _now(view: Overview) -> str:
    if view.is_finished or view.campaign.state == "paused":
        return output.standing(view.campaign.state, view.campaign.reason)
    if not view.underway and wants_person(view):
        return "[warn]waiting for a person's decision[/]"
    if not view.underway:
        return "[quiet]choosing the next experiment[/]"
    item = view.underway[0]
    verb = {"approved": "approved", "dispatched": "starting", "running": "running"}[item.state]
    return f"{verb} [name]{item.id}[/]  {output.plain(wording.settings(item.values, view.problem))}"


def _waiting(waiting: list[Experiment], view: Overview, ledger: str | None) -> str:
    rows = []
    for item in waiting[:3]:
        rows.append(f"[warn]{item.id}[/] {output.plain(wording.settings(item.values, view.problem))}")
        rows.append(f"[command]{output.plain(look.actions(item, ledger)[0])}[/]")
    if len(waiting) > 3:
        rows.append(f"[quiet]and {len(waiting) - 3} more: athanor show {view.campaign.id}[/]")
    return "\n".join(rows)
