"""The report as a page: self-contained, escaped, complete, and whole in light and dark."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from athanor.console.report.data import ReportData
from athanor.console.report.markup import join, tag
from athanor.console.report.page import render
from athanor.console.wording import prose

from .conftest import made_up

VOID = {"meta", "br", "hr", "link", "img", "col"}


class Reader(HTMLParser):
    """Checks that every element is closed in order, and collects what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.fetched: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset")]
        if tag not in VOID and tag != "wbr":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


@pytest.mark.parametrize("objectives", [1, 2])
def test_the_page_is_whole_and_fetches_nothing(objectives: int) -> None:
    page = render(made_up(objectives=objectives))
    reader = read(page)
    assert reader.fetched == []
    assert "script" not in reader.seen
    assert not re.search(r"url\(|@import|https?://(?!127\.0\.0\.1)", page)
    assert len(page) < 5_000_000


def test_nothing_in_a_record_becomes_markup(report: ReportData) -> None:
    hostile = report.model_copy(update={"question": "<script>alert(1)</script>", "name": '"><img src=x onerror=1>'})
    reader = read(render(hostile))
    assert not {"script", "img", "b"} & set(reader.seen)
    assert "<script>alert(1)</script>" in "".join(reader.text)
    assert "<b>blocked</b>" in "".join(reader.text)


def test_every_part_the_reader_needs_is_there(report: ReportData) -> None:
    words = " ".join(" ".join(read(render(report)).text).split())
    for heading in (
        "Best trade-offs",
        "Progress, beside chance",
        "Hypotheses and their tests",
        "Can the model be trusted?",
        "What each parameter does",
        "Which parameters matter",
        "Two parameters at a time",
        "The problem",
        "Every experiment",
        "Language models",
        "Provenance",
    ):
        assert heading in words
    assert "Simulated." in words
    assert report.question in words
    for card in report.hypotheses:
        assert prose(card.statement) in words
    for row in report.experiments:
        assert row.run is None or row.run[:8] in words
    assert "no product left the column" in words
    assert "the solvent has run out" in words
    assert report.provenance.problem_hash in words
    assert report.provenance.head_hash is not None
    assert report.provenance.head_hash in words
    assert "+0.61" in words


def test_what_speaks_against_the_model_is_said_in_words(report: ReportData) -> None:
    assert report.model is not None
    words = " ".join(" ".join(read(render(report)).text).split())
    assert "Do not go by the model of pressure yet." in words
    for item in report.model.health.findings:
        assert prose(item.seen) in words and prose(item.means) in words and prose(item.remedy) in words
        assert item.severity in words
    assert "feasible points are known" in words  # a check that was quiet
    assert "in 37% of all settings; each as surely as asked for in 21%" in words
    assert "residence_time and concentration, 14% of sty" in words


def test_a_map_has_its_units_its_bands_and_nothing_where_nothing_is_allowed(report: ReportData) -> None:
    assert report.model is not None and report.model.landscape is not None
    page = render(report)
    one = report.model.landscape.maps[0]
    assert "↑ concentration [mol/L]" in page and "residence_time [min]" in page
    closed = one.model_copy(update={"allowed": tuple(tuple(False for _ in row) for row in one.allowed)})
    landscape = report.model.landscape.model_copy(update={"maps": (closed,)})
    shut = render(report.model_copy(update={"model": report.model.model_copy(update={"landscape": landscape})}))
    assert page.count('class="heat"') > shut.count('class="heat"') == 0


def test_a_left_out_measurement_is_named_by_its_experiment(report: ReportData) -> None:
    assert report.model is not None
    off = report.model.calibrations[0].points[8]
    row = next(row for row in report.experiments if row.values == off.values)
    assert f"#{row.ordinal}: measured " in render(report)


def test_without_a_model_the_report_says_nothing_of_one(report: ReportData) -> None:
    page = render(report.model_copy(update={"model": None}))
    assert "Can the model be trusted?" not in page and "Two parameters at a time" not in page


def test_a_real_instrument_has_no_banner_and_no_claimed_advantage(report: ReportData) -> None:
    progress = report.progress.model_copy(
        update={"median": [], "low": [], "high": [], "arms": 0, "reference": None, "missing": "no randomised arm"}
    )
    page = render(report.model_copy(update={"simulated": False, "advantage": None, "progress": progress}))
    words = " ".join("".join(read(page).text).split())
    assert "Simulated." not in words
    assert "not measured" in words


def test_a_campaign_that_found_nothing_still_has_a_report(report: ReportData) -> None:
    progress = report.progress.model_copy(update={"campaign": [None, None], "marks": ["failed", "failed"]})
    empty = report.model_copy(
        update={"best": [], "advantage": None, "hypotheses": [], "experiments": [], "calls": [], "progress": progress}
    )
    words = " ".join("".join(read(render(empty)).text).split())
    assert "No feasible point was measured" in words


def test_report_data_survives_json(report: ReportData) -> None:
    assert ReportData.model_validate_json(report.model_dump_json()) == report


def test_markup_escapes_children_and_attributes() -> None:
    assert tag("p", "a < b", title='say "hi"') == '<p title="say &quot;hi&quot;">a &lt; b</p>'
    assert join(tag("i", "x"), "<", None, [1, "&"]) == "<i>x</i>&lt;1&amp;"
    assert tag("line", x1=1.0, hidden=True, class_=None) == '<line x1="1" hidden></line>'
