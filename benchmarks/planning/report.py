"""Write what was measured into `benchmarks/README.md`, between its marks, and draw the curves beside it."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.planning.curves import svg
from benchmarks.planning.gathered import Gathered
from benchmarks.planning.judge import judge
from benchmarks.planning.table import table


class MarksMissing(ValueError):
    """A README without the place for the figures of a part."""


def block(found: Gathered, picture: str | None) -> str:
    """The figures of a part, as Markdown."""
    part = found.part
    command = f"python -m benchmarks.planning run {part.name}"
    if not any(found.runs.values()):
        return f"Not measured yet: `{command}`."
    pieces = [f"`{command}`, then `python -m benchmarks.planning report`. {part.measured}"]
    pieces += [table(found), "\n".join(map(str, judge(found))), " ".join(found.notes())]
    if picture:
        pieces.append(f"![{part.title}: median and quartiles]({picture})")
    return "\n\n".join(pieces)


def insert(text: str, name: str, content: str) -> str:
    """The README with the figures of a part replaced. Raises `MarksMissing`."""
    first, last = f"<!-- figures: {name} -->", f"<!-- end: {name} -->"
    pattern = re.compile(f"{re.escape(first)}.*?{re.escape(last)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise MarksMissing(f"README: give one line {first!r} and, after it, one line {last!r}")
    return pattern.sub(lambda _: f"{first}\n\n{content}\n\n{last}", text)


def write(readme: Path, curves: Path, gathered: list[Gathered]) -> None:
    """Write the figures of these parts, and their pictures into the folder `curves`."""
    text = readme.read_text()
    for found in gathered:
        picture = None
        if any(found.runs.values()):
            curves.mkdir(parents=True, exist_ok=True)
            path = curves / f"{found.part.name}.svg"
            path.write_text(svg(found))
            picture = path.relative_to(readme.parent).as_posix()
        text = insert(text, found.part.name, block(found, picture))
    readme.write_text(text)
