"""The report of `athanor instruments check` for people: what was found, the capability card, and the two verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from athanor.console.cli import output

if TYPE_CHECKING:
    from athanor.instruments.findings import Finding, Report

MARKS = {
    "ok": "[good]✓ ok[/]",
    "fault": "[bad]✗ fault[/]",
    "not now": "[warn]■ not now[/]",
    "not checked": "[quiet]· not checked[/]",
}


def show(report: Report) -> None:
    """Print it on standard output."""
    if report.card is not None:
        _card(report.card)
    rows = [_row(finding) for finding in report.findings]
    output.show(output.table(["", "step", "what", "found"], rows, whole=["", "step", "what"]))
    output.show("")
    faults, now = report.having("fault"), report.having("not now")
    output.show(_verdict("Alive", report.is_alive, "everything that was asked answered", _silence(report)))
    output.show(_verdict("Can run an experiment now", report.can_run, "nothing is in the way", _count(faults, now)))
    for finding in (*faults, *now):
        output.show(f"  {output.plain(str(finding))}")


def _silence(report: Report) -> str:
    from athanor.instruments.findings import ASKED

    is_asked = any(finding.step in ASKED and finding.status == "fault" for finding in report.findings)
    return "not everything answered as it must" if is_asked else "it could not be asked"


def _count(faults: list[Finding], now: list[Finding]) -> str:
    parts = [f"{len(faults)} fault{'s' * (len(faults) > 1)}"] if faults else []
    parts += [f"{len(now)} in the way now"] if now else []
    return ", ".join(parts) or "it was not reached"


def _verdict(name: str, is_so: bool, good: str, bad: str) -> str:
    return f"[name]{name}[/]: " + (f"[good]yes[/], {good}" if is_so else f"[bad]no[/], {bad}")


def _row(finding: Finding) -> tuple[str, str, str, str]:
    said = finding.reason + (f" → {finding.remedy}" if finding.remedy else "")
    return MARKS[finding.status], finding.step, output.plain(finding.subject), output.plain(said)


def _card(card: Mapping[str, Any]) -> None:
    from athanor.instruments.capabilities import limits_text

    kind = "simulated" if card["simulated"] else "real"
    title = f", {output.plain(card['title'])}" if card["title"] else ""
    output.show(f"[name]{output.plain(card['instrument'])}[/]{title} ([ember]{kind}[/])")
    for name, controller in card["controllers"].items():
        output.show(output.plain(f"  {name}: {controller['protocol']} at {controller['address']}"))
    rows = [
        (
            output.plain(axis["name"]),
            output.plain(axis["unit"] or "–"),
            output.plain(limits_text(axis)),
            _number(axis["largest_step"]) + (" (walks)" if axis["walk"] else ""),
            _number(axis["largest_rate"]),
            f"{axis['tolerance']:g}",
            f"{axis['settle_s']:g} / {axis['timeout_s']:g}",
            output.plain(axis["readback"]),
            output.plain(axis["stop"] or "none"),
            output.plain(axis["reached"] or card["laboratory"]),
        )
        for axis in card["axes"]
    ]
    heads = [
        "axis",
        "unit",
        "limits",
        "step",
        "rate /s",
        "tolerance",
        "settle / timeout s",
        "read-back",
        "stop",
        "through",
    ]
    output.show(output.table(heads, rows, whole=["axis", "limits"]))
    for detector in card["detectors"]:
        signals = ", ".join(name + (f" [{unit}]" if unit else "") for name, unit in detector["signals"].items())
        how = "when triggered" if detector["triggered"] else "at any moment"
        if detector["reached"] == "person":
            ranges = ", ".join(f"{name} {low:g} … {high:g}" for name, (low, high) in detector["plausible"].items())
            how = "read by a person" + (f"; plausible {ranges}" if ranges else "")
        output.show(output.plain(f"  {detector['name']} measures {signals}, {how}"))
    for interlock in card["interlocks"]:
        output.show(output.plain(f"  interlock {interlock['name']}: {interlock['require']} ({interlock['on_trip']})"))
    signals = ", ".join(name + (f" [{one['unit']}]" if one["unit"] else "") for name, one in card["signals"].items())
    if signals:
        output.show(output.plain(f"  live: {signals}"))
    output.show(output.plain(f"  actions: {', '.join(card['actions']) or 'none'}"))
    output.show(output.plain(f"  autonomy allowed: {', '.join(card['autonomy']) or 'none, while there are faults'}"))
    output.show("")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"
