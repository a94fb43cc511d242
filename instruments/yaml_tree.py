"""What a file that a person wrote contains, and on which line: the trees of the YAML reader as plain Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plain(node: Any) -> Any:
    """Return a tree without the reader's own types; what JSON does not have, such as a date, becomes text."""
    if isinstance(node, Mapping):
        return {str(key): plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [plain(value) for value in node]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return str(node)


def line_of(node: Any, path: tuple[int | str, ...]) -> int | None:
    """Return the line, counted from 1, of the deepest part of `path` that the tree has; None for plain values."""
    root = getattr(node, "lc", None)
    line: int | None = None if root is None else root.line + 1
    for key in path:
        position = getattr(node, "lc", None)
        if position is None:
            break
        try:
            line = (position.key(key) if isinstance(node, Mapping) else position.item(key))[0] + 1
            node = node[key]
        except (KeyError, IndexError, TypeError):
            break
    return line
