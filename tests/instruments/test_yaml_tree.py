"""Trees of the YAML reader: plain values out of them, and the lines on which they stand."""

from __future__ import annotations

from typing import Any

import pytest
from ruamel.yaml import YAML

from athanor.instruments.yaml_tree import line_of, plain

TEXT = """\
name: "quoted"
numbers: [1, 2.5, 0x10, 1e3, .inf, true, null]
since: 2026-01-31
axes:
  2: {low: 1}
  b:
    - one
    - {deep: 'two'}
"""


@pytest.fixture(scope="module")
def tree() -> Any:
    return YAML(typ="rt").load(TEXT)


def types_in(node: Any) -> set[type]:
    if isinstance(node, dict):
        return {dict}.union(*(types_in(key) | types_in(value) for key, value in node.items()))
    return {list}.union(*map(types_in, node)) if isinstance(node, list) else {type(node)}


def test_nothing_of_the_reader_is_left(tree: Any) -> None:
    found = plain(tree)
    assert types_in(found) == {dict, list, str, int, float, bool, type(None)}
    assert found == {
        "name": "quoted",
        "numbers": [1, 2.5, 16, 1000.0, float("inf"), True, None],
        "since": "2026-01-31",
        "axes": {"2": {"low": 1}, "b": ["one", {"deep": "two"}]},
    }


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 1),
        (("nothing",), 1),
        (("name",), 1),
        (("name", "further"), 1),
        (("numbers", 3), 2),
        (("numbers", 99), 2),
        (("axes", "b"), 6),
        (("axes", "b", 1, "deep"), 8),
        (("axes", "c", 1), 4),
    ],
)
def test_a_place_has_the_line_of_its_deepest_part(tree: Any, path: tuple[int | str, ...], line: int | None) -> None:
    assert line_of(tree, path) == line


def test_plain_values_have_no_lines() -> None:
    assert line_of({"a": 1}, ("a",)) is None
    assert line_of(3, ("a",)) is None
