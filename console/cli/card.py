"""An experiment in doubt as one card: what is known of it, from every witness there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from athanor.console import wording
from athanor.console.cli import output

if TYPE_CHECKING:
    from athanor.agents.doubt import Doubt
    from athanor.memory.records import Outcome


def show(doubt: Doubt) -> None:
    """Show everything that is known of one experiment in doubt."""
    e, t = doubt.experiment, doubt.testimony
    output.show(f"[name]{e.id}[/]  {output.state('in_doubt')}: {output.plain(e.reason or 'its run has no end')}")
    lines: list[tuple[str, str]] = [
        ("instrument", f"{doubt.campaign.instrument}{' (simulated)' if doubt.campaign.simulated else ''}")
    ]
    if (approval := doubt.approval) is not None:
        why = f": {approval.reason}" if approval.reason else ""
        verb = "granted" if approval.kind == "grant" else "approved"
        lines.append((verb, f"by {approval.decided_by}, {wording.moment(approval.created_at)}{why}"))
    if doubt.intent is not None:
        lines.append(("intent", f"{doubt.intent.id}, {wording.moment(doubt.intent.created_at)}"))
    lines += _run_lines(doubt)
    lines += _log_lines(doubt)
    for index, axis in enumerate(t.axes):
        unit = f" {wording.pretty_unit(axis.unit)}" if axis.unit else ""
        now = "unknown" if axis.position is None else f"{wording.number(axis.position)}{unit}"
        mark = {True: "there", False: "not there", None: "not known"}[axis.is_there]
        text = f"{axis.name}: target {wording.number(axis.target)}{unit}, now {now} ({mark})"
        lines.append(("device" if index == 0 else "", text))
    if t.is_moving:
        lines.append(("", "it is moving now"))
    if t.trouble is not None:
        lines.append(("", t.trouble))
    gives = doubt.no_outcomes if doubt.outcomes is None else measured(doubt, doubt.outcomes)
    lines += [("documents", f"give {gives}" if doubt.outcomes is not None else f"give no outcomes: {gives}")]
    lines.append(("so far", doubt.hint))
    for label, text in lines:
        output.show(f"  [quiet]{label:<11}[/] {output.plain(text)}")


def _run_lines(doubt: Doubt) -> list[tuple[str, str]]:
    run = doubt.run
    if run is None:
        return [("run", "no document of it has arrived")]
    counts = ", ".join(f"{count} {name}" for name, count in run.counts.items())
    lines = [
        ("run", f"began {wording.moment(run.started_at)}; {counts}; {run.readings} of {run.due} readings"),
    ]
    if run.last_event is not None:
        data = ", ".join(f"{name} {wording.number(_plain(value))}" for name, value in run.last_event.items())
        lines.append(("last event", data))
    return lines


def _log_lines(doubt: Doubt) -> list[tuple[str, str]]:
    account = doubt.testimony.account
    if account is None:
        return []
    if not account.is_known:
        return [("controller", "its log knows nothing of this run")]
    counts = ", ".join(f"{count} {kind}" for kind, count in account.counts.items())
    return [
        (
            "controller",
            f"took the run {wording.moment(account.began_at)}; {counts}; last {wording.moment(account.last)}",
        )
    ]


def _plain(value: Any) -> float | int | str:
    return value if isinstance(value, int | float | str) else str(value)


def measured(doubt: Doubt, outcomes: Mapping[str, Outcome]) -> str:
    """Write outcomes with their units."""
    return ", ".join(
        f"{name} {wording.measured(outcome['mean'], outcome['sem'], doubt.units.get(name))}"
        for name, outcome in outcomes.items()
    )
