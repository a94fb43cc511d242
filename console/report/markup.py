"""HTML and SVG built from Python, escaped unless it is markup already: nothing in a record can become a tag."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child: TypeAlias = "Markup | str | int | float | Iterable[Child] | None"

_VOID = frozenset({"br", "hr", "img", "meta", "link", "col"})


def _join(children: Iterable[Child]) -> str:
    parts = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            parts.append(str(child))
        elif isinstance(child, str | int | float):
            parts.append(escape(str(child)))
        else:
            parts.append(_join(child))
    return "".join(parts)


def join(*children: Child) -> Markup:
    """Return children one after the other, escaped where they are not markup."""
    return Markup(_join(children))


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """Return an element. `class_` is the class; `_` in names becomes `-`; None and False leave an attribute out."""
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        word = key.rstrip("_").replace("_", "-")
        if isinstance(value, float):
            value = f"{value:.2f}".rstrip("0").rstrip(".")
        words.append(word if value is True else f'{word}="{escape(str(value))}"')
    start = f"<{' '.join(words)}>"
    return Markup(start if name in _VOID else f"{start}{_join(children)}</{name}>")
