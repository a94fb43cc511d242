from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from athanor.planners.expressions import BadExpression, Expression

NUMBERS = st.floats(-4, 4).map(lambda x: round(x, 3))


def _binary(parts):
    def made(item):
        (one, f), (other, g), sign = item
        operations = {
            "+": lambda v: f(v) + g(v),
            "-": lambda v: f(v) - g(v),
            "*": lambda v: f(v) * g(v),
            "/": lambda v: f(v) / g(v),
            "**": lambda v: math.pow(f(v), g(v)),
        }
        return f"({one}){sign}({other})", operations[sign]

    return st.tuples(parts, parts, st.sampled_from(["+", "-", "*", "/", "**"])).map(made)


def _calls(parts):
    def one(item):
        (text, f), name = item
        function = abs if name == "abs" else getattr(math, name)
        return f"{name}({text})", lambda v: function(f(v))

    def many(item):
        (a, f), (b, g), name = item
        function = {"min": min, "max": max}[name]
        return f"{name}({a}, {b})", lambda v: function(f(v), g(v))

    names = st.sampled_from(["sqrt", "exp", "log", "log10", "sin", "cos", "abs"])
    return st.tuples(parts, names).map(one) | st.tuples(parts, parts, st.sampled_from(["min", "max"])).map(many)


def _constant(number):
    return f"({number})", lambda v: number


def _name(name):
    return name, lambda v: v[name]


FORMULAS = st.recursive(
    st.sampled_from(["x", "y"]).map(_name) | NUMBERS.map(_constant),
    lambda parts: _binary(parts) | _calls(parts) | parts.map(lambda p: (f"-({p[0]})", lambda v: -p[1](v))),
    max_leaves=8,
).filter(lambda item: "x" in item[0].replace("exp", "").replace("max", "") or "y" in item[0])


@given(FORMULAS, NUMBERS, NUMBERS)
def test_a_formula_is_worth_what_python_says_in_numpy_and_torch_too(formula, x, y):
    text, function = formula
    expression = Expression.parse(text)
    try:
        expected = function({"x": x, "y": y})
    except (ArithmeticError, ValueError):
        expected = math.nan
    found = expression.value({"x": x, "y": y})
    if math.isfinite(expected) and found is not None:
        assert found == pytest.approx(expected, rel=1e-12, abs=0)
    else:
        assert found is None  # somewhere within, if not on the whole, nothing finite came out
    with np.errstate(all="ignore"):
        values, finite = expression.evaluate({"x": np.array([x, 0.5]), "y": np.array([y, 0.5])}, np)
    tensors = {"x": torch.tensor([x, 0.5], dtype=torch.double), "y": torch.tensor([y, 0.5], dtype=torch.double)}
    also, likewise = expression.evaluate(tensors, torch)
    assert bool(finite[0]) == bool(likewise[0]) == (found is not None)
    if found is not None:
        assert values[0] == pytest.approx(found, rel=1e-9, abs=1e-12)
        assert float(also[0]) == pytest.approx(found, rel=1e-9, abs=1e-12)


def test_gradients_are_those_of_the_formula():
    expression = Expression.parse("sqrt(x) * exp(-y/2) + log10(x + y)**2 - min(x, 3*y) / max(cos(x), 0.1) + abs(y - x)")
    at = {"x": torch.tensor([0.7, 1.3]).double(), "y": torch.tensor([0.4, 2.1]).double()}
    for tensor in at.values():
        tensor.requires_grad_()
    value, _ = expression.evaluate(at, torch)
    slopes = torch.autograd.grad(value.sum(), list(at.values()))
    for k in range(2):
        point = {name: float(tensor.detach()[k]) for name, tensor in at.items()}
        for name, slope in zip(at, slopes, strict=True):
            ends = [expression.value({**point, name: point[name] + shift}) for shift in (-1e-6, 1e-6)]
            assert float(slope[k]) == pytest.approx((ends[1] - ends[0]) / 2e-6, rel=1e-5)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1/x", {"x": 0.0}),
        ("log(x)", {"x": -1.0}),
        ("log(x)", {"x": 0.0}),
        ("sqrt(x)", {"x": -0.1}),
        ("x**0.5", {"x": -1.0}),
        ("exp(x)", {"x": 1000.0}),
        ("min(1, 1/x)", {"x": 0.0}),  # the part that has no value is not the one that counts
        ("exp(-1/x**2)", {"x": 0.0}),
    ],
)
def test_a_part_without_a_value_leaves_the_whole_without_one(text, values):
    expression = Expression.parse(text)
    assert expression.value(values) is None
    columns = {name: np.array([value]) for name, value in values.items()}
    with np.errstate(all="ignore"):
        assert not expression.evaluate(columns, np)[1][0]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("x^2", r"write \*\* for a power"),
        ("__import__('os').system('true')", "not understood"),
        ("x.real", "not understood"),
        ("x[0]", "not understood"),
        ("x if y else z", "no place"),
        ("x and y", "no place"),
        ("[x for x in y]", "not understood"),
        ("eval(x)", "no place"),
        ("sqrt(x)(y)", "no place"),
        ("x // y", "no place"),
        ("log(x, 2)", "one value"),
        ("max(x)", "two values"),
        ("True + x", "no number"),
        ("lambda", "no sense"),
        ("(x", "no sense"),
        ("", "no sense"),
        ("1 + 2", "no parameter"),
        ("1e999 * x", "too large"),
        ("9" * 400 + "*x", "too large"),
        ("x" * 1001, "characters"),
        ("-" * 900 + "x", "nested"),
        ("(" * 300 + "x" + ")" * 300, "no sense"),
    ],
)
def test_everything_else_is_refused_in_words(text, match):
    with pytest.raises(BadExpression, match=match):
        Expression.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_refused(text):
    try:
        assert Expression.parse(text).names
    except BadExpression as error:
        assert error.remedy


def test_names_come_once_and_in_order():
    expression = Expression.parse("log(log) + b*a - b\n / a")
    assert expression.names == ("log", "b", "a")
    assert expression.text == "log(log) + b*a - b / a"
