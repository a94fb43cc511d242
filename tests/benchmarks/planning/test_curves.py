"""Pictures of runs: well-formed, with one panel for each problem and one line for each method."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.planning.curves import COLOURS, panels, svg
from benchmarks.planning.gathered import gather
from benchmarks.planning.parts import PARTS
from tests.benchmarks.planning.traces import kept

SVG = "{http://www.w3.org/2000/svg}"


def test_a_panel_holds_the_quartiles_of_each_method(tmp_path: Path) -> None:
    for seed in range(5):
        kept(tmp_path, "branin", "athanor", seed, [1.0 + seed, 0.5])
        kept(tmp_path, "branin", "ax", seed, [1.0 + seed, 1e-9])
        kept(tmp_path, "levy5", "ax", seed, [1.0, 0.25])
    found = gather(tmp_path, PARTS["single"], budget=2)
    first, second = panels(found)
    assert first.title == "branin (5 seeds)" and [s.method for s in first.series] == ["athanor", "ax"]
    assert first.series[0].y == pytest.approx(np.array([[2.0, 3.0, 4.0], [0.5, 0.5, 0.5]]))
    assert [s.method for s in second.series] == ["ax"]
    tree = ElementTree.fromstring(svg(found))
    lines = tree.findall(f".//{SVG}polyline")
    assert [line.findtext(f"{SVG}title") for line in lines] == ["ax", "athanor", "ax"]
    assert lines[1].get("stroke") == COLOURS[0] and len(tree.findall(f"{SVG}g")) == 2
    box = [float(v) for v in tree.get("viewBox", "").split()[2:]]
    for line in lines:
        points = np.array([list(map(float, pair.split(","))) for pair in line.get("points", "").split()])
        assert points.shape == (2, 2) and (points >= 0.0).all() and (points <= box).all()
        assert points[0, 1] < points[1, 1]  # less is lower


def test_seconds_grow_along_the_known_points(tmp_path: Path) -> None:
    for size in (10, 100):
        kept(tmp_path, f"branin~{size}", "athanor", 0, [1.0] * 4, seconds=size / 100.0)
    [panel] = panels(gather(tmp_path, PARTS["latency"]))
    assert panel.title == "branin" and panel.series[0].x.tolist() == [10.0, 100.0]
    assert panel.series[0].y[:, 1].tolist() == [0.1, 1.0]
    ElementTree.fromstring(svg(gather(tmp_path, PARTS["latency"])))


def test_without_runs_there_is_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run sparse"):
        svg(gather(tmp_path, PARTS["sparse"]))
