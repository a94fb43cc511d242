"""Pool files: read with their units, refused with the line that is wrong, known by their digest."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from athanor.agents import pools
from athanor.agents.planning import NothingLeft, PlannerProcess, answer
from athanor.agents.pool_spec import PoolSpec
from athanor.agents.pools import PoolChanged, PoolFileError, check_unchanged, glance, read_pool
from athanor.planners.problem import Categorical, Continuous, Integer, LinearConstraint, Objective, Ordinal, Problem

PROBLEM = Problem(
    [
        Continuous("temperature", 20, 80, unit="degC"),
        Integer("cycles", 1, 9),
        Ordinal("dose", [1, 2.5]),
        Categorical("solvent", ["EtOH", "MeCN"]),
    ],
    [Objective("f", "maximize")],
    [LinearConstraint({"temperature": 1, "cycles": 1}, upper=85)],
)
HEAD = "vial,temperature [K],cycles,dose,solvent,supplier\n"
GOOD = HEAD + 'A1,293.15,1,1,EtOH,x\n\n"B ""2""",333.15,3,2.50,MeCN,\nC3,353.15,2,1,EtOH,y\n'


def put(folder: Path, text: str | bytes = GOOD, **more: Any) -> PoolSpec:
    path = folder / "pool.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return PoolSpec(file=str(path), label="vial", **more)


def test_a_pool_is_read_with_units_labels_and_lines(tmp_path: Path) -> None:
    pool = read_pool(put(tmp_path), PROBLEM)
    assert [pool.label(row) for row in range(len(pool))] == ["A1", 'B "2"', "C3"]
    assert pool.values(0) == {"temperature": 20.0, "cycles": 1, "dose": 1, "solvent": "EtOH"}
    assert pool.values(2)["temperature"] == 80.0, "a hair beyond the bound after its conversion"
    assert pool.values(1) == {"temperature": pytest.approx(60.0), "cycles": 3, "dose": 2.5, "solvent": "MeCN"}
    assert pool.said(1) == 'B "2" (line 4 of the pool)'
    assert pool.sha256 == hashlib.sha256(GOOD.encode()).hexdigest()
    assert not pool.repeats
    assert read_pool(put(tmp_path, repeats="allowed"), PROBLEM).repeats


def test_what_a_spreadsheet_adds_does_not_matter(tmp_path: Path) -> None:
    text = "﻿" + GOOD.replace("\n", "\r\n")
    pool = read_pool(put(tmp_path, text), PROBLEM)
    assert [pool.label(row) for row in range(3)] == ["A1", 'B "2"', "C3"]
    assert pool.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_numbers_are_read_to_their_last_digit_through_many_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("athanor.agents.pools.BLOCK", 7)
    problem = Problem([Continuous("x", 0, 1)], [Objective("f", "maximize")])
    values = np.random.default_rng(0).random(40)
    path = tmp_path / "pool.csv"
    path.write_text("x\n" + "\n".join(map(repr, values.tolist())))
    pool = read_pool(PoolSpec(file=str(path)), problem)
    assert [pool.values(row)["x"] for row in range(40)] == values.tolist()
    assert [pool.find({"x": float(v)}) for v in values] == list(range(40))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty; the first line names the columns"),
        (HEAD, "holds no candidate"),
        (GOOD.replace("cycles", "rounds"), r"pool.csv:1: no column for cycles; found vial, temperature, rounds"),
        (GOOD.replace("vial", "sample"), r":1: no column for vial"),
        (GOOD.replace("supplier", "dose"), r":1: column dose is there twice"),
        (GOOD.replace(" [K]", ""), r":1: column temperature states no unit; write 'temperature \[degC\]'"),
        (GOOD.replace("[K]", "[bar]"), r":1: column temperature: cannot convert bar to degC"),
        (GOOD.replace("333.15", "400"), r":4: temperature = 126.85.*: is above the bounds. Give a value in 20..80"),
        (GOOD.replace("333.15", "warm"), r":4: temperature: 'warm' is not a number"),
        (GOOD.replace("333.15", ""), r":4: temperature: the cell is empty"),
        (GOOD.replace("333.15", "nan"), r":4: temperature = nan: is not finite"),
        (GOOD.replace("2.50", "2"), r":4: dose = 2.0: is not one of the listed values. Give one of \[1, 2.5\]"),
        (GOOD.replace("MeCN", "ether"), r":4: solvent = 'ether': is not one of the listed values"),
        (GOOD.replace("C3,353.15,2,1", "C3,353.15,2.5,1"), r":5: cycles = 2.5: is not a whole number"),
        (GOOD.replace("C3,353.15,2", "C3,353.15,6"), r":5: temperature.cycles = '86': violates .* leave the row out"),
        (GOOD.replace("C3,353.15,2", "C3,293.15,1"), r":5: it is the same point as line 2; leave one of them out"),
        (GOOD.replace("C3,", ","), r":5: vial: the cell is empty"),
        (GOOD.replace(",EtOH,y", ",EtOH"), r":5: 5 cells in a row, 6 in the header"),
        (GOOD.encode() + b"\xff\xfe,1", "cannot be read as CSV"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line_and_remedy(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(PoolFileError, match=words):
        read_pool(put(tmp_path, text), PROBLEM)


def test_a_file_that_is_not_there_or_no_csv_is_said(tmp_path: Path) -> None:
    for read in (read_pool, glance):
        with pytest.raises(PoolFileError, match="does not exist; put the pool there"):
            read(PoolSpec(file=str(tmp_path / "none.csv")), PROBLEM)
        (tmp_path / "pool.parquet").write_text("PAR1")
        with pytest.raises(PoolFileError, match="a pool is a CSV file; export it as one"):
            read(PoolSpec(file=str(tmp_path / "pool.parquet")), PROBLEM)


def test_a_glance_sees_the_header_alone(tmp_path: Path) -> None:
    glance(put(tmp_path, HEAD + "not,even,nearly\n"), PROBLEM)
    with pytest.raises(PoolFileError, match="no column for solvent"):
        glance(put(tmp_path, HEAD.replace("solvent", "s")), PROBLEM)


def test_a_changed_file_is_another_pool(tmp_path: Path) -> None:
    spec = put(tmp_path)
    known = spec.model_copy(update={"sha256": read_pool(spec, PROBLEM).sha256})
    check_unchanged(known)
    assert len(read_pool(known, PROBLEM)) == 3
    put(tmp_path, GOOD.replace("supplier", "made by"))
    for use in (check_unchanged, lambda spec: read_pool(spec, PROBLEM)):
        with pytest.raises(PoolChanged, match=r"pool.csv is not the file .* put the file back as it was, or start"):
            use(known)
    Path(spec.file).unlink()
    with pytest.raises(PoolChanged, match="cannot be read any more"):
        check_unchanged(known)


def test_the_planners_process_suggests_rows_and_says_when_none_is_left(tmp_path: Path) -> None:
    spec = put(tmp_path)
    request: dict[str, Any] = {
        "op": "suggest",
        "planner": "random",
        "problem": PROBLEM.model_dump(mode="json"),
        "pool": spec.model_dump(mode="json"),
        "seed": 1,
        "number": 1,
        "observations": [],
    }
    labels = []
    for number in (1, 2, 3):
        candidate = answer({**request, "number": number})["candidate"]
        labels.append(candidate["label"])
        known = {"candidate_id": candidate["id"], "values": candidate["values"], "outcomes": {"f": 1.0}}
        request["observations"] = [*request["observations"], {**known, "status": "completed"}]
    assert sorted(labels) == ["A1", 'B "2"', "C3"]
    process = PlannerProcess()
    try:
        with pytest.raises(NothingLeft, match="every row of the pool has been tried: of its 3 rows 3 measured"):
            process.ask({**request, "number": 4})
    finally:
        process.close()


def test_a_quote_that_is_not_closed_swallows_no_rows(tmp_path: Path) -> None:
    text = HEAD + 'A1,293.15,1,1,EtOH,x\nB2,333.15,3,2.50,MeCN,"y\nC3,353.15,2,1,EtOH,z\n'
    with pytest.raises(PoolFileError, match=r"pool.csv:3: .*quote"):
        read_pool(put(tmp_path, text), PROBLEM)
    with pytest.raises(PoolFileError, match=r"pool.csv:3: .*field limit"):
        read_pool(put(tmp_path, text + "D4,293.15,1,1,EtOH,x\n" * 10_000), PROBLEM)


def test_a_file_without_line_ends_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("athanor.agents.pools.LONGEST_LINE", 30_000)
    for text in ("x" * 200_000, HEAD + "y" * 200_000):
        spec, taken = put(tmp_path, text), 0
        hashing = pools._Hashing.readinto

        def counted(self: pools._Hashing, buffer: Any, inner: Any = hashing) -> int:
            nonlocal taken
            count: int = inner(self, buffer)
            taken += count
            return count

        with monkeypatch.context() as patch:
            patch.setattr(pools._Hashing, "readinto", counted)
            for read in (read_pool, glance) if text[0] == "x" else (read_pool,):
                taken = 0
                with pytest.raises(PoolFileError, match="line has more than 30,000 bytes"):
                    read(spec, PROBLEM)
                assert taken <= 30_000


def test_more_rows_than_may_be_are_not_all_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("athanor.agents.pools.BLOCK", 2)
    monkeypatch.setattr("athanor.planners.pool.MOST_ROWS", 3)
    text = HEAD + "".join(f"A{k},300,{k},1,EtOH,\n" for k in range(1, 7)) + "B,wrong,1,1,EtOH,\n"
    with pytest.raises(PoolFileError, match="more than 3 rows; leave out"):
        read_pool(put(tmp_path, text), PROBLEM)


def test_a_path_that_no_file_can_have_is_no_pool() -> None:
    with pytest.raises(ValueError, match="file"):
        PoolSpec(file="a\0b.csv")
