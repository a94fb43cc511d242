"""Answers that many ask for: made once, and again when they may be another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from athanor.console.api.shared import MOST, Shared


def test_a_value_is_made_again_when_the_ledger_or_the_time_has_moved_on() -> None:
    now = [0.0]
    shared = Shared(lambda: now[0])
    made: list[int] = []

    def ask(position: int) -> int:
        return int(shared.get("key", position, 1.0, lambda: made.append(position) or len(made)))

    assert [ask(1), ask(1)] == [1, 1]
    assert ask(2) == 2
    now[0] = 1.5
    assert ask(2) == 3 and made == [1, 2, 2]


def test_who_asks_at_once_waits_for_the_one_that_makes_it() -> None:
    shared, began, go = Shared(), threading.Event(), threading.Event()
    made: list[int] = []

    def make() -> int:
        began.set()
        assert go.wait(30)
        made.append(1)
        return len(made)

    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(shared.get, "key", 1, 60.0, make) for _ in range(8)]
        assert began.wait(30)
        go.set()
        assert [answer.result(30) for answer in answers] == [1] * 8


def test_what_failed_is_not_kept() -> None:
    shared = Shared()

    def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError):
        shared.get("key", 1, 60.0, fail)
    assert shared.get("key", 1, 60.0, lambda: 7) == 7


def test_so_many_are_kept() -> None:
    shared = Shared()
    for key in range(MOST + 50):
        shared.get(key, 1, 60.0, lambda: key)  # noqa: B023
    assert len(shared._slots) == MOST
