"""What the command line prints: results on standard output, everything said to the person on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

OK, FAILED, USAGE, PAUSED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes: done; refused or failed, with the reason; used wrongly; the campaign is paused; stopped by Ctrl-C."""

THEME = {
    "good": "green",
    "bad": "red",
    "warn": "yellow",
    "quiet": "bright_black",
    "name": "bold",
    "ember": "rgb(224,103,52)",
    "command": "cyan",
}


def console(*, stderr: bool = False) -> Console:
    """Return a Rich console with our theme on standard output, or on standard error."""
    from rich.console import Console
    from rich.theme import Theme

    return Console(stderr=stderr, theme=Theme(THEME), highlight=False, soft_wrap=False)


def say(text: RenderableType = "", *, style: str | None = None) -> None:
    """Say something to the person, on standard error. Text may carry Rich markup."""
    console(stderr=True).print(text, style=style, soft_wrap=isinstance(text, str))


def show(item: RenderableType) -> None:
    """Print a result for people, on standard output. In a file or a pipe a table is as wide as it needs to be."""
    target = console()
    if not isinstance(item, str) and not target.is_terminal:
        from rich.measure import Measurement

        unbounded = target.options.update(max_width=2000)
        target.width = max(target.width, Measurement.get(target, unbounded, item).maximum)
    target.print(item, soft_wrap=isinstance(item, str))


def plain(text: str) -> str:
    """Return text that Rich prints as it stands: nothing in it is markup."""
    from rich.markup import escape

    return escape(text)


def emit(result: Any) -> None:
    """Print one JSON object, and nothing else, on standard output."""
    from athanor.memory.canonical import canonical

    sys.stdout.write(canonical(result) + "\n")
    sys.stdout.flush()


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = (), whole: Sequence[str] = ()
) -> RenderableType:
    """Return a quiet table: no boxes, bold heads, the columns `right` to the right, those in `whole` never broken."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    result = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    for column in columns:
        result.add_column(
            column, justify="right" if column in right else "left", overflow="fold", no_wrap=column in whole
        )
    for row in rows:
        result.add_row(*row)
    return result


STATE_STYLE = {
    "queued": "quiet",
    "running": "ember",
    "paused": "warn",
    "succeeded": "good",
    "failed": "bad",
    "cancelled": "quiet",
    "proposed": "warn",
    "approved": "ember",
    "dispatched": "ember",
    "completed": "good",
    "in_doubt": "bad",
    "aborted": "bad",
    "refused": "bad",
    "supported": "good",
    "refuted": "bad",
    "testing": "ember",
    "registered": "ember",
    "inconclusive": "quiet",
    "void": "quiet",
}


def state(word: str) -> str:
    """Return a state as coloured markup; the word alone carries the meaning."""
    return f"[{STATE_STYLE.get(word, 'default')}]{word.replace('_', ' ')}[/]"


def standing(word: str, reason: str | None) -> str:
    """Return a state with its reason as markup, the state said once though many reasons begin with it."""
    said = (reason or "").removeprefix(word).lstrip(": ")
    return f"{state(word)}: {plain(said)}" if said else state(word)
