"""The small language of nonlinear constraints: arithmetic over parameters, read by a whitelist and never run as Python.

`x**2 + y**2`, `catalyst * log10(time) / max(temperature - 20, 1)`: numbers are in each parameter's own unit. There are
`+ - * / **`, parentheses, numbers, names, and sqrt exp log log10 sin cos abs min max. Where any part of an expression
has no finite value (a division by zero, the logarithm of a negative number) the whole has none.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

LONGEST = 1_000
"""Characters of the longest expression."""
DEEPEST = 200
"""Levels of the deepest one; every term of a sum is a level."""

_TOKEN = re.compile(
    r"\s+|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])|[A-Za-z_][A-Za-z0-9_]*|\*\*|[-+*/(),]", re.ASCII
)
_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_CALLS: Mapping[str, Callable[..., float]] = {
    **{name: getattr(math, name) for name in ("sqrt", "exp", "log", "log10", "sin", "cos")},
    **{"abs": abs, "min": min, "max": max},
}
FUNCTIONS = tuple(_CALLS)
_ONLY = f"write parameters and numbers joined by + - * / **, with parentheses and {', '.join(FUNCTIONS)}"


class BadExpression(ValueError):
    """Text that is no expression of this language; names what is wrong with it and what would be right."""

    def __init__(self, detail: str, remedy: str = _ONLY) -> None:
        self.detail, self.remedy = detail, remedy
        super().__init__(f"{detail}; {remedy}")


@dataclass(frozen=True)
class Expression:
    """A formula. `names` are the parameters in it, each once, in order."""

    text: str
    names: tuple[str, ...]
    _root: ast.expr

    @staticmethod
    @lru_cache(maxsize=256)
    def parse(text: str) -> Expression:
        """Read an expression.

        Raises:
            BadExpression: naming what is not understood, and what would be.
        """
        if len(text) > LONGEST:
            raise BadExpression(f"it has {len(text)} characters", f"say it in at most {LONGEST}")
        position = 0
        while position < len(text):
            token = _TOKEN.match(text, position)
            if token is None:
                rest = text[position : position + 20]
                raise BadExpression(f"{rest!r} is not understood", "write ** for a power" if rest[0] == "^" else _ONLY)
            position = token.end()
        flat = " ".join(text.split())
        try:
            root = ast.parse(flat, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            said = error.msg if isinstance(error, SyntaxError) else "it is nested too deeply"
            raise BadExpression(f"{flat!r} makes no sense: {said}") from error
        _allow(root, DEEPEST)
        names = dict.fromkeys(_names(root))
        if not names:
            raise BadExpression(f"{flat!r} has no parameter in it")
        return Expression(flat, tuple(names), root)

    def value(self, values: Mapping[str, float]) -> float | None:
        """Return what it comes to at a point; None where any part has no finite value."""
        try:
            return _scalar(self._root, values)
        except (ArithmeticError, ValueError):
            return None

    def size(self, values: Mapping[str, float]) -> float:
        """Return the largest of the terms that it adds up, in absolute terms: what its rounding errors scale with."""
        found = [Expression("", (), term).value(values) for term in _terms(self._root)]
        return max((abs(term) for term in found if term is not None), default=0.0)

    def evaluate(self, columns: Mapping[str, Any], numbers: Any) -> tuple[Any, Any]:
        """Return values (n,) and whether every part of each is finite (n,), from one array (n,) per parameter.

        `numbers` is the module of the arrays, `numpy` or `torch`; tensors keep their gradients.
        """
        return _Elementwise(columns, numbers).all_of(self._root)


def _allow(node: ast.AST, depth: int) -> None:
    if depth == 0:
        raise BadExpression("it is nested too deeply", f"use at most {DEEPEST} levels, or make two constraints of it")
    match node:
        case ast.Constant(value=bool() as truth):
            raise BadExpression(f"{truth} is no number")
        case ast.Constant(value=int() | float()):
            _constant(node)
        case ast.Name():
            pass
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=part):
            _allow(part, depth - 1)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() | ast.Pow(), right=right):
            _allow(left, depth - 1)
            _allow(right, depth - 1)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            many = name in ("min", "max")
            if (len(args) < 2) if many else (len(args) != 1):
                raise BadExpression(f"{name} takes {'two values or more' if many else 'one value'}, not {len(args)}")
            for part in args:
                _allow(part, depth - 1)
        case _:
            raise BadExpression(f"{_said(node)} has no place in it")


def _constant(node: ast.Constant) -> float:
    assert isinstance(node.value, int | float)
    try:
        number = float(node.value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadExpression("a number is too large to be one", "give a finite number")
    return number


def _said(node: ast.AST) -> str:
    try:
        text = ast.unparse(node)
    except (ValueError, RecursionError):
        text = type(node).__name__
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _names(node: ast.AST) -> Iterator[str]:
    """Every parameter from left to right; the name of a function is none."""
    if isinstance(node, ast.Name):
        yield node.id
    for child in node.args if isinstance(node, ast.Call) else ast.iter_child_nodes(node):
        yield from _names(child)


def _terms(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub(), right=right):
            yield from _terms(left)
            yield from _terms(right)
        case ast.UnaryOp(operand=part):
            yield from _terms(part)
        case _:
            yield node


def _scalar(node: ast.AST, values: Mapping[str, float]) -> float:
    match node:
        case ast.Constant():
            number = _constant(node)
        case ast.Name(id=name):
            number = float(values[name])
        case ast.UnaryOp(op=sign, operand=part):
            number = -_scalar(part, values) if isinstance(sign, ast.USub) else _scalar(part, values)
        case ast.BinOp(left=left, op=operation, right=right):
            apply = math.pow if isinstance(operation, ast.Pow) else _OPERATORS[type(operation)]
            number = apply(_scalar(left, values), _scalar(right, values))
        case ast.Call(func=ast.Name(id=name), args=args):
            found = [_scalar(part, values) for part in args]
            number = _CALLS[name](*found)
        case _:
            raise ValueError(f"{_said(node)} has no value")
    if not math.isfinite(number):
        raise ValueError(f"{_said(node)} is not finite")
    return number


class _Elementwise:
    """Works an expression out for arrays of numpy or torch, and notes where a part of it is not finite."""

    def __init__(self, columns: Mapping[str, Any], numbers: Any) -> None:
        self._columns, self._numbers = columns, numbers
        self._like = next(iter(columns.values()))
        self._finite = numbers.isfinite(self._like)

    def all_of(self, root: ast.expr) -> tuple[Any, Any]:
        found = self._part(root)
        return found, self._finite

    def _part(self, node: ast.AST) -> Any:
        found = self._worked_out(node)
        self._finite = self._finite & self._numbers.isfinite(found)
        return found

    def _worked_out(self, node: ast.AST) -> Any:
        match node:
            case ast.Constant():
                return self._numbers.full_like(self._like, _constant(node))
            case ast.Name(id=name):
                return self._columns[name]
            case ast.UnaryOp(op=sign, operand=part):
                return -self._part(part) if isinstance(sign, ast.USub) else self._part(part)
            case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant() as exponent):
                # Not as an array: the derivative by an exponent that does not move is no one's business.
                return self._part(left) ** _constant(exponent)
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                return self._part(left) ** self._part(right)
            case ast.BinOp(left=left, op=operation, right=right):
                return _OPERATORS[type(operation)](self._part(left), self._part(right))
            case ast.Call(func=ast.Name(id="min" | "max" as name), args=[first, *rest]):
                total = self._part(first)
                for part in rest:
                    total = getattr(self._numbers, name + "imum")(total, self._part(part))
                return total
            case ast.Call(func=ast.Name(id=name), args=[part]):
                return getattr(self._numbers, name)(self._part(part))
        raise ValueError(f"{_said(node)} has no value")
