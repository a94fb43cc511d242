"""The control charts of a report, drawn and in words."""

from __future__ import annotations

from athanor.console.report.control import control_chart
from athanor.console.report.data import ReferenceChart, ReferencePoint


def point(value: float, mark: str, chart: int = 0) -> ReferencePoint:
    held = {"centre": 10.0, "low": 9.0, "high": 11.0} if mark in ("in", "out") else {}
    return ReferencePoint(experiment="c.1", value=value, mark=mark, chart=chart, **held)  # type: ignore[arg-type]


def test_each_reading_is_marked_by_what_became_of_it() -> None:
    marks = ["baseline"] * 3 + ["in", "out", "void"]
    points = [point(10.0 + 0.1 * i, mark) for i, mark in enumerate(marks)]
    drawn = str(control_chart(ReferenceChart(outcome="sty", unit="kg/m^3/h", points=points)))
    for class_, count in (("mark-plain", 3), ("mark", 1), ("mark-out", 1), ("mark-void", 1), ("band", 1)):
        assert drawn.count(f'class="{class_}"') == count, class_
    assert "Control chart of sty: 6 references" in drawn
    assert "out of its limits" in drawn
    assert "declared void" in drawn


def test_a_new_baseline_begins_a_new_line() -> None:
    points = [point(10.0, "baseline"), point(10.1, "in"), point(12.0, "baseline", 1), point(12.1, "baseline", 1)]
    drawn = str(control_chart(ReferenceChart(outcome="sty", points=points)))
    assert drawn.count('class="control"') == 2


def test_readings_that_are_all_alike_or_missing_still_draw() -> None:
    assert "<svg" in str(control_chart(ReferenceChart(outcome="sty", points=[point(1.0, "baseline")] * 4)))
    assert "no reference has been measured yet" in str(control_chart(ReferenceChart(outcome="sty", points=[])))
