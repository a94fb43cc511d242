"""The language of interlocks: what it says is what it means, and nothing in it ever acts."""

from __future__ import annotations

import ast
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from athanor.instruments.expressions import DEEPEST, LONGEST, BadExpression, Expression, Unknown

KINDS: dict[str, Any] = {"a": "number", "b": "number", "open": "truth", "solvent": "word"}
VALUES: dict[str, Any] = {"a": 4.0, "b": -2.5, "open": False, "solvent": "EtOH"}


def judge(text: str, **values: Any) -> bool:
    expression = Expression.parse(text)
    expression.check(KINDS)
    return expression.holds({**VALUES, **values})


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("a < 5", True),
        ("a<4", False),
        ("a <= 4 and b >= -2.5", True),
        ("3 < a < 4", False),
        ("-3 < b < a <= 4e0", True),
        ("not open", True),
        ("open or a > 1", True),
        ("not (open or a > 1)", False),
        ("a + 2 * b == -1", True),
        ("(a - b) / 2 > 3.25", False),
        ("solvent == 'EtOH'", True),
        ('solvent != "MeCN" and\n  a != .5', True),
        ("solvent == 'EtOH  96 %'", False),
        ("open and 1 / (a - 4) > 0", False),
    ],
)
def test_it_means_what_it_says(text: str, holds: bool) -> None:
    assert judge(text) is holds


def test_it_names_its_signals_once_and_in_order() -> None:
    assert Expression.parse("b < a and (open or b > 2)").names == ("b", "a", "open")


HOSTILE = [
    "", "   ", "a", "open + 1 > 0", "1 < 2", "a < 'x'", "solvent < 'x'", "not a", "a and b", "open < 1", "open == open",
    "__import__('os').system('true')", "a < len('x')", "open()", "a.real < 1", "a[0] < 1", "solvent.upper() == 'X'",
    "f'{a}' == solvent", "f\"{__import__('os')}\" == solvent", "r'x' == solvent", "b'x' == solvent", "'a' 'b' == 'ab'",
    "(x := a) < 1", "[a for a in b] == b", "{a: b} == b", "{a} == b", "(a, b) < (1, 2)", "lambda: open",
    "a if open else b", "*a", "a < 1; b < 2", "a < 1\nimport os", "a < 1 # yes", "yield a", "await a",
    "a ** 9 ** 9 < 1", "a // 2 < 1",
    "a % 2 < 1", "a << 9 < 1", "a | b < 1", "~a < 1", "a @ b < 1", "a is b", "a in b", "a not in b", "open is not True",
    "True", "not False", "None", "open == true", "a < ...", "a < 1j", "a < 1_000", "a < 0x10", "a < 1e999", "a < nan",
    "a < inf", "a < -inf", "a < 1" + "0" * 400, "a < 1if open else 2", "a < 1and b < 2", "a < 1.5.2", "a <> 1",
    "a =< 1", "a = 1", "a && b", "!open", "a < £3", "ａ < 1", "a < ٣", "а < 1", "a\u00a0< 1", "a < 1\u2028",
    "a < \x001",
    "a < 1\\\n", "a < 'x", "missing < 1", "flow-rate < 1", "_ < 1", "__builtins__ < 1", "__class__ == solvent",
    "(" * 300 + "a" + ")" * 300 + " < 1", "not " * 200 + "open", "-" * 400 + "a < 1", "a < 1 and " * 60 + "a < 1",
    "a" * 600 + " < 1", "+".join(["a"] * 100) + " < 1", "open or " * 2000 + "open",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_everything_else_is_refused_before_it_can_do_anything(text: str) -> None:
    with pytest.raises(BadExpression) as caught:
        Expression.parse(text).check(KINDS)
    assert caught.value.remedy in str(caught.value)
    assert len(str(caught.value)) < 400


def test_length_and_depth_are_bounded() -> None:
    with pytest.raises(BadExpression, match=str(LONGEST)):
        Expression.parse("a < 1 " + "and a < 1 " * 60)
    Expression.parse("(" * 60 + "a < 1" + ")" * 60)  # parentheses alone nest nothing
    with pytest.raises(BadExpression, match=str(DEEPEST)):
        Expression.parse("not " * DEEPEST + "open")


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("a < 5", {"a": math.nan}),
        ("not a < 5", {"a": math.nan}),
        ("a < 5", {"a": math.inf}),
        ("a != 5", {"a": None}),
        ("a / (b + 2.5) < 1", {}),
        ("a * a > 1", {"a": 1e300}),
        ("a - b < 0", {"a": -1e308, "b": 1e308}),
        ("a + 1 < 5", {"a": "4"}),
        ("a < 5", {"a": "4"}),
        ("solvent == 'EtOH'", {"solvent": 3.0}),
    ],
)
def test_what_cannot_be_worked_out_is_unknown_and_never_true(text: str, changes: dict[str, Any]) -> None:
    with pytest.raises(Unknown):
        judge(text, **changes)


def texts(kind: str, depth: int) -> st.SearchStrategy[str]:
    """Random sentences of the language."""
    if kind == "number":
        atoms = st.sampled_from(["a", "b"]) | st.floats(0, 1e6).map(lambda x: format(x, ".6g"))
        if depth == 0:
            return atoms
        part = texts("number", depth - 1)
        return (
            atoms
            | st.tuples(part, st.sampled_from("+-*/"), part).map(lambda p: f"({p[0]} {p[1]} {p[2]})")
            | part.map(lambda p: f"-{p}")
        )
    number = texts("number", max(0, depth - 1))
    compared = st.tuples(number, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), number).map(" ".join)
    if depth == 0:
        return compared | st.just("open")
    part = texts("truth", depth - 1)
    return (
        compared
        | st.tuples(part, st.sampled_from(["and", "or"]), part).map(lambda p: f"({p[0]} {p[1]} {p[2]})")
        | part.map(lambda p: f"not ({p})")
    )


@given(text=texts("truth", 3), a=st.floats(), b=st.floats(), is_open=st.booleans())
@settings(max_examples=300, deadline=None)
def test_it_agrees_with_python_or_says_that_it_does_not_know(text: str, a: float, b: float, is_open: bool) -> None:
    try:
        expression = Expression.parse(text)
    except BadExpression as error:
        assert "signal" in str(error) or "characters" in str(error), text
        return
    expression.check(KINDS)
    values = {"a": a, "b": b, "open": is_open, "solvent": "EtOH"}
    try:
        found = expression.holds(values)
    except Unknown:
        return
    code = compile(ast.parse(text, mode="eval"), "text", "eval")
    assert found is bool(eval(code, {"__builtins__": {}}, values))  # noqa: S307 - our own sentences


@given(text=st.text(max_size=80) | st.text("ab<>=!()+-*/ .'\"0123456789eandortf_[]{}:,\n", max_size=60))
@settings(max_examples=500, deadline=None)
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    try:
        Expression.parse(text).check(KINDS)
    except BadExpression:
        pass
