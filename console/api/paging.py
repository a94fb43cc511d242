"""Long lists in pages: `limit` items after the one whose id is `after`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel

from athanor.console.api.problems import Denied

R = TypeVar("R")
T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
After = Annotated[str | None, Query(max_length=200, description="The id of the last one of the page before.")]


class Page(BaseModel, Generic[T]):
    """Some of a list. `next` is what to give as `after` for the following page; None when this is the last."""

    items: list[T]
    next: str | None = None


def part(found: Sequence[R], limit: int, show: Callable[[R], T], identity: Callable[[R], str]) -> Page[T]:
    """Make a page of what was read from the ledger: one more than `limit`, where there are so many."""
    shown = [show(item) for item in found[:limit]]
    return Page(items=shown, next=identity(found[limit - 1]) if len(found) > limit else None)


def page(items: Sequence[T], limit: int, after: str | None, identity: Callable[[T], str]) -> Page[T]:
    """Cut a page. Raises `Denied` where `after` is none of them."""
    start = 0
    if after is not None:
        places = {identity(item): index for index, item in enumerate(items)}
        if after not in places:
            raise Denied(422, "page.unknown", f"after: there is no {after!r} in this list", "begin without `after`")
        start = places[after] + 1
    cut = list(items[start : start + limit])
    is_last = start + limit >= len(items)
    return Page(items=cut, next=None if is_last or not cut else identity(cut[-1]))
