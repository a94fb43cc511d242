"""A campaign's file read for somebody who is still writing it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from athanor.agents.reading import LONGEST, MOST_PARTS, read
from athanor.agents.spec import parse
from athanor.instruments.laboratory import load

READY = load("snar-flow").campaign_file().read_text()  # type: ignore[attr-defined]


def fields(text: str) -> list[str]:
    return [problem.field for problem in read(text, ()).problems]


def test_what_can_run_reads_as_the_command_line_reads_it() -> None:
    found = read(READY, ())
    assert found.spec == parse(READY) and found.profile is not None and not found.problems


def test_shape_and_fit_are_told_together_in_the_order_of_lines() -> None:
    wrong = READY.replace("unit: degC", "unit: K").replace("budget:", "buget:") + "colour: red\n"
    found = read(wrong, ())
    assert fields(wrong) == ["budget", "parameters.temperature.unit", "buget", "colour"]
    assert found.spec is None and found.document is not None and found.document["colour"] == "red"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("low: 30, high: 120", "low: 130, high: 120", ["parameters.temperature"]),
        ("high: 120", "high: 1200", ["parameters.temperature"]),
        ("goal: minimize", "goal: lower", ["objectives.e_factor.goal"]),
        ("name: snar-flow", "name: nowhere", ["laboratory"]),
        ("noise: 0.02", "noise: loud", ["laboratory.options"]),
    ],
)
def test_one_fault_is_told_once_and_makes_no_others(old: str, new: str, told: list[str]) -> None:
    assert old in READY
    assert fields(READY.replace(old, new)) == told


def test_what_is_left_out_does_not_count_as_missing_elsewhere() -> None:
    text = READY.replace("high: 5.0", "high: 0.5") + "constraints: [{sum: {equivalents: 1.0}, upper: 4.0}]\n"
    assert fields(text) == ["parameters.equivalents"]


def test_earlier_data_that_are_wrong_do_not_hide_the_other_faults() -> None:
    unknown = "transfer: [{campaign: old, held: {colour: 1}}]\n"
    assert fields(READY.replace("unit: degC", "unit: K") + unknown) == ["parameters.temperature.unit", "transfer"]
    left_out = READY.replace("high: 5.0", "high: 0.5").replace("unit: degC", "unit: K")
    told = ["parameters.equivalents", "parameters.temperature.unit"]
    assert fields(left_out + "transfer: [{campaign: old, held: {equivalents: 2}}]\n") == told


def test_profiles_outside_the_site_s_folders_are_not_looked_for(tmp_path: Path) -> None:
    inside, outside = tmp_path / "site", tmp_path / "secret"
    inside.mkdir()
    outside.mkdir()
    (outside / "p.yaml").write_text("password: 1")
    (inside / "link.yaml").symlink_to(outside / "p.yaml")
    for given_ in (str(outside / "p.yaml"), "../secret/p.yaml", "link.yaml", "none.yaml", str(inside)):
        text = READY.replace("{name: snar-flow, options: {noise: 0.02}}", f"{{profile: {given_}}}")
        [problem] = read(text, (inside,)).problems
        assert problem.field == "laboratory.profile" and "folders of this site" in problem.message
        assert "password" not in str(problem)


def test_texts_that_would_take_everything_are_not_looked_at() -> None:
    assert fields("x" * (LONGEST + 1)) == ["file"]
    assert fields("a: &a [x]\nb: *a\n") == ["YAML"]
    assert fields("{a: " * 100) == ["YAML"]


def test_a_file_of_too_many_parts_is_given_up_before_anything_is_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import ruamel.yaml

    made: list[int] = []
    load = ruamel.yaml.YAML.load
    monkeypatch.setattr(ruamel.yaml.YAML, "load", lambda self, text: made.append(len(text)) or load(self, text))
    text = READY + f"notes: [{'1,' * (MOST_PARTS + 1)}]\n"
    assert len(text) < LONGEST
    [problem] = read(text, ()).problems
    assert "parts" in problem.message and problem.remedy and not made
    assert read(READY, ()).spec is not None and len(made) == 1, "a file is read once"


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("9" * 20_000, None),
        ("0x" + "f" * 20_000, "seed"),
        ("!!set {? 0x" + "f" * 20_000 + "}", "seed"),
        ("2024-99-99", ""),
    ],
)
def test_values_that_nothing_can_hold_are_faults(value: str, line: str | None) -> None:
    text = READY.replace("seed: 1\n", "") + f"seed: {value}\n"
    found = read(text, ())
    assert found.spec is None and found.problems and len(str(found.problems)) < 2000
    if line:
        assert found.problems[0].line == len(text.splitlines())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(READY) - 1), st.integers(0, 30), st.text(max_size=12))
def test_it_never_fails_whatever_is_typed(start: int, length: int, typed: str) -> None:
    found = read(READY[:start] + typed + READY[start + length :], ())
    assert (found.spec is None) == bool(found.problems)


def test_a_pool_is_looked_for_in_the_site_s_folders_alone_and_only_its_header_is_read(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    head = "residence_time [min],equivalents,concentration [mol/L],temperature [degC]\n"
    (site / "pool.csv").write_text(head + "not,one,number,here\n")
    (site / "short.csv").write_text("residence_time [min]\n")
    (site / "notes.txt").write_text(head)
    (tmp_path / "secret.csv").write_text(head)
    text = READY + "reasoner: none\npool: "
    found = read(text + "pool.csv", (site,))
    assert found.spec is not None and found.spec.pool is not None
    assert found.spec.pool.file == str(site / "pool.csv")
    [problem] = read(text + "short.csv", (site,)).problems
    assert problem.field == "pool" and "short.csv:1: no column for equivalents" in problem.message
    assert str(site) not in problem.message
    for elsewhere in ("../secret.csv", str(tmp_path / "secret.csv"), "notes.txt", "none.csv"):
        [problem] = read(text + elsewhere, (site,)).problems
        assert problem.message == f"there is no file {elsewhere} in the folders of this site"
