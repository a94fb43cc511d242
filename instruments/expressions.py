"""The small language in which an interlock says what must hold: comparisons over live signals, and nothing that acts.

`pressure < 2 and (door_closed or 10 <= temperature <= 40)`: numbers are in each signal's own unit. There are `and`,
`or`, `not`, comparisons, `+ - * /`, parentheses, numbers, words in quotes and names of signals; no calls and no
attributes, nothing that Python would run. What cannot be worked out (a division by zero, a number too large) is
`Unknown`.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Value = float | bool | str
Kind = Literal["number", "truth", "word"]

LONGEST = 500
"""Characters of the longest expression."""
DEEPEST = 24
"""Levels of the deepest one."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(
    r" +|(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])|[A-Za-z_][A-Za-z0-9_]*(?![\"'])"
    r"|\"[^\"\\\n]*\"|'[^'\\\n]*'|<=|>=|==|!=|[-+*/()<>]",
    re.ASCII,
)
_ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Value, Value], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ONLY = "write comparisons of signals with numbers, joined by and, or, not"


class BadExpression(ValueError):
    """Text that is no expression of this language; `remedy` says what would be."""

    def __init__(self, detail: str, remedy: str = _ONLY) -> None:
        self.detail = detail
        self.remedy = remedy
        super().__init__(f"{detail}; {remedy}")


class Unknown(ArithmeticError):
    """Nobody can say whether it holds."""


@dataclass(frozen=True)
class Expression:
    """A condition. `names` are the signals that it speaks of, each once, in order."""

    text: str
    names: tuple[str, ...]
    _root: ast.expr

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Read an expression. Raises `BadExpression`."""
        if len(text) > LONGEST:
            raise BadExpression(f"it has {len(text)} characters", f"say it in at most {LONGEST}, or make two of it")
        flat = re.sub(r"[\r\n\t]", " ", text).strip(" ")
        position = 0
        while position < len(flat):
            token = _TOKEN.match(flat, position)
            if token is None:
                raise BadExpression(f"{flat[position : position + 20]!r} is not understood")
            position = token.end()
        try:
            root = ast.parse(flat, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            said = error.msg if isinstance(error, SyntaxError) else "it is nested too deeply"
            raise BadExpression(f"it makes no sense: {said}") from error
        _allow(root, DEEPEST)
        names = dict.fromkeys(node.id for node in _nodes(root) if isinstance(node, ast.Name))
        if not names:
            raise BadExpression("it speaks of no signal")
        return cls(flat, tuple(names), root)

    def check(self, kinds: Mapping[str, Kind], wanted: Kind = "truth") -> None:
        """Raise `BadExpression` when it names a signal that is not in `kinds`, or takes one for what it is not.

        `wanted` is what the whole of it is to be: a condition, unless a number is asked for.
        """
        for name in self.names:
            if name not in kinds:
                raise BadExpression(f"there is no live signal {name!r}", f"use one of: {', '.join(kinds) or 'none'}")
        found = _kind(self._root, kinds)
        if found != wanted and wanted != "truth":
            raise BadExpression(f"{_said(self._root)} is a {found}, where a {wanted} is needed", f"write a {wanted}")
        if found != wanted:
            raise BadExpression(f"{_said(self._root)} is neither true nor false", "compare it with something")

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Whether it is true of these values. Raises `Unknown` when it cannot be worked out."""
        return bool(_value(self._root, values))

    def number(self, values: Mapping[str, Value]) -> float:
        """What it comes to with these values. Raises `Unknown` when it cannot be worked out."""
        return _as_number(_value(self._root, values))


def _allow(node: ast.AST, depth: int) -> None:
    if depth == 0:
        raise BadExpression("it is nested too deeply", f"use at most {DEEPEST} levels, or make two interlocks of it")
    match node:
        case ast.Name() if node.id in ("true", "false"):
            raise BadExpression(f"{node.id} is not needed", "write the signal alone, or `not` before it")
        case ast.Constant(value=bool() | None as constant):
            raise BadExpression(f"{constant} is not needed", "write the signal alone, or `not` before it")
        case ast.Constant(value=int() | float()):
            _number(node)
        case ast.Name() | ast.Constant(value=str()):
            pass
        case ast.BoolOp(values=parts):
            for part in parts:
                _allow(part, depth - 1)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=part):
            _allow(part, depth - 1)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), right=right):
            _allow(left, depth - 1)
            _allow(right, depth - 1)
        case ast.Compare(left=left, ops=ops, comparators=rest) if all(type(op) in _COMPARISONS for op in ops):
            for part in (left, *rest):
                _allow(part, depth - 1)
        case _:
            raise BadExpression(f"{_said(node)} has no place in an interlock")


def _number(node: ast.Constant) -> float:
    assert isinstance(node.value, int | float)
    try:
        number = float(node.value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadExpression("a number is too large to be one", "give a finite number")
    return number


def _nodes(root: ast.expr) -> Iterator[ast.AST]:
    """Every node from left to right."""
    yield root
    for child in ast.iter_child_nodes(root):
        if isinstance(child, ast.expr):
            yield from _nodes(child)


def _said(node: ast.AST) -> str:
    try:
        text = ast.unparse(node)
    except (ValueError, RecursionError):
        text = type(node).__name__
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _kind(node: ast.expr, kinds: Mapping[str, Kind]) -> Kind:
    """What a part is: a number, a truth or a word. Raises `BadExpression` where the kinds do not fit."""

    def need(part: ast.expr, kind: Kind) -> None:
        found = _kind(part, kinds)
        if found != kind:
            raise BadExpression(f"{_said(part)} is a {found}, where a {kind} is needed")

    match node:
        case ast.Name(id=name):
            return kinds[name]
        case ast.Constant(value=str()):
            return "word"
        case ast.Constant():
            return "number"
        case ast.BoolOp(values=parts):
            for part in parts:
                need(part, "truth")
            return "truth"
        case ast.UnaryOp(op=sign, operand=part):
            kind: Kind = "truth" if isinstance(sign, ast.Not) else "number"
            need(part, kind)
            return kind
        case ast.BinOp(left=left, right=right):
            need(left, "number")
            need(right, "number")
            return "number"
        case ast.Compare(left=left, ops=ops, comparators=rest):
            first = _kind(left, kinds)
            if first == "truth":
                raise BadExpression(f"{_said(left)} is true or false already", "write it alone, or `not` before it")
            for op, part in zip(ops, rest, strict=True):
                need(part, first)
                if first == "word" and not isinstance(op, ast.Eq | ast.NotEq):
                    raise BadExpression(f"words have no order in {_said(node)}", "compare them with == or !=")
            return "truth"
    raise BadExpression(f"{_said(node)} has no place in an interlock")


def _value(node: ast.expr, values: Mapping[str, Value]) -> Value:
    match node:
        case ast.Name(id=name):
            return _known(name, values)
        case ast.Constant(value=str() as word):
            return word
        case ast.Constant():
            return _number(node)
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_value(part, values) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_value(part, values) for part in parts)
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return not _value(part, values)
        case ast.UnaryOp(op=sign, operand=part):
            number = _as_number(_value(part, values))
            return -number if isinstance(sign, ast.USub) else number
        case ast.BinOp(left=left, op=operation, right=right):
            first, second = _as_number(_value(left, values)), _as_number(_value(right, values))
            return _worked_out(node, _ARITHMETIC[type(operation)], first, second)
        case ast.Compare(left=left, ops=ops, comparators=rest):
            here = _value(left, values)
            for comparison, part in zip(ops, rest, strict=True):
                there = _value(part, values)
                if isinstance(here, str) != isinstance(there, str):
                    raise Unknown(f"{_said(node)} compares a word with a number")
                if not _COMPARISONS[type(comparison)](here, there):
                    return False
                here = there
            return True
    raise Unknown(f"{_said(node)} has no value")


def _known(name: str, values: Mapping[str, Value]) -> Value:
    value = values.get(name)
    if value is None:
        raise Unknown(f"{name} is not known")
    if isinstance(value, bool | str):
        return value
    if not math.isfinite(value):
        raise Unknown(f"{name} is {value}")
    return value


def _as_number(value: Value) -> float:
    if isinstance(value, bool | str):
        raise Unknown(f"{value!r} is not a number")
    return value


def _worked_out(node: ast.expr, operation: Callable[[float, float], float], first: float, second: float) -> float:
    try:
        result = operation(first, second)
    except (ZeroDivisionError, OverflowError) as error:
        raise Unknown(f"{_said(node)} cannot be worked out: {error}") from error
    if not math.isfinite(result):
        raise Unknown(f"{_said(node)} cannot be worked out: the result is {result}")
    return result
