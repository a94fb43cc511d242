"""Answers that many ask for: made once, and again when they may be another."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.concurrency import run_in_threadpool

from athanor.console.api.shared import AT_ONCE, MOST, Shared


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


def test_a_value_of_later_is_as_good_and_it_may_tell_for_how_long() -> None:
    now = [0.0]
    shared = Shared(lambda: now[0])
    assert shared.get("key", 5, float, lambda: 2) == 2
    assert shared.get("key", 4, float, lambda: 3) == 2
    now[0] = 2.5
    assert shared.get("key", 4, float, lambda: 3) == 3


def test_who_waits_in_the_event_loop_takes_no_thread() -> None:
    """A hundred who ask at once: one value is made, and threads are left for everybody else."""
    shared, made = Shared(), list[int]()
    began, go = threading.Event(), threading.Event()

    def make() -> int:
        began.set()
        assert go.wait(30)
        made.append(1)
        return len(made)

    async def ask() -> tuple[list[int], int]:
        asked = [asyncio.create_task(shared.wait("key", 1, 60.0, make)) for _ in range(100)]
        await asyncio.to_thread(began.wait, 30)
        other = await run_in_threadpool(lambda: 7)
        asked[0].cancel()  # whoever asked first has gone: the others still get theirs
        go.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        return [one for one in found[1:] if isinstance(one, int)], other

    answers, other = asyncio.run(ask())
    assert answers == [1] * 99 and other == 7 and made == [1]


def test_who_asks_for_something_newer_does_not_get_what_was_begun_before() -> None:
    shared = Shared()
    began, go = threading.Event(), threading.Event()

    def old() -> str:
        began.set()
        assert go.wait(30)
        return "old"

    async def ask() -> list[str]:
        first = asyncio.create_task(shared.wait("key", 1, 60.0, old))
        await asyncio.to_thread(began.wait, 30)
        second = asyncio.create_task(shared.wait("key", 2, 60.0, lambda: "new"))
        await asyncio.sleep(0)
        go.set()
        return [await first, await second]

    assert asyncio.run(ask()) == ["old", "new"]


def test_making_that_takes_longer_than_a_value_is_good_is_not_done_for_each_who_waited() -> None:
    now = [0.0]
    shared, made = Shared(lambda: now[0]), list[int]()
    began, go = threading.Event(), threading.Event()

    def make() -> int:
        made.append(1)
        began.set()
        assert go.wait(30)
        now[0] = 100.0
        return len(made)

    async def ask() -> list[int]:
        asked = [asyncio.create_task(shared.wait("key", 1, 0.5, make)) for _ in range(20)]
        await asyncio.to_thread(began.wait, 30)
        go.set()
        return await asyncio.gather(*asked)

    assert asyncio.run(ask()) == [1] * 20 and made == [1]
    assert shared.get("key", 1, 0.5, lambda: 7) == 7


def test_all_who_wait_for_the_next_making_take_what_it_gives() -> None:
    """Each asks for a later position than the one before; all of them are there before it begins."""
    shared, made = Shared(), list[int]()
    began, go = threading.Event(), threading.Event()

    def make() -> int:
        made.append(1)
        began.set()
        assert go.wait(30)
        return len(made)

    async def ask() -> list[int]:
        first = asyncio.create_task(shared.wait("key", 0, 60.0, make))
        await asyncio.to_thread(began.wait, 30)
        others = [asyncio.create_task(shared.wait("key", position, 60.0, make)) for position in range(1, 11)]
        await asyncio.sleep(0)
        go.set()
        return await asyncio.gather(first, *others)

    assert asyncio.run(ask()) == [1] + [2] * 10 and len(made) == 2


def test_a_failure_is_told_to_who_asked_and_the_next_tries_again() -> None:
    shared = Shared()
    tries: list[int] = []

    def fail_once() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("no")
        return 7

    async def ask() -> list[int | BaseException]:
        return await asyncio.gather(*(shared.wait("key", 1, 60.0, fail_once) for _ in range(3)), return_exceptions=True)

    first, *others = asyncio.run(ask())
    assert isinstance(first, ValueError) and others == [7, 7]


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


def test_so_many_are_made_at_once() -> None:
    guard, going, most = threading.Lock(), 0, 0
    full = threading.Barrier(AT_ONCE)

    def make() -> None:
        nonlocal going, most
        with guard:
            going += 1
            most = max(most, going)
        full.wait(30)  # so many there are, or nobody goes on
        with guard:
            going -= 1

    async def all_ask() -> None:
        shared = Shared()
        await asyncio.gather(*(shared.wait(key, 1, 60.0, make) for key in range(4 * AT_ONCE)))

    asyncio.run(all_ask())
    assert most == AT_ONCE
