from __future__ import annotations

import asyncio

import pytest

from athanor.instruments.protocols.cancelling import cancellable
from tests.instruments.protocols.conformance import play


def test_the_result_and_the_error_are_passed_on() -> None:
    async def body() -> None:
        assert await cancellable(asyncio.sleep(0, "done")) == "done"
        failing: asyncio.Future[None] = asyncio.Future()
        failing.set_exception(ConnectionResetError("gone"))
        with pytest.raises(ConnectionResetError, match="gone"):
            await cancellable(failing)

    play(body)


@pytest.mark.parametrize("outcome", ["result", "error"])
def test_a_cancellation_that_meets_the_outcome_is_not_lost(outcome: str) -> None:
    async def body() -> None:
        answer: asyncio.Future[int] = asyncio.Future()
        task = asyncio.create_task(cancellable(asyncio.wait_for(answer, 60.0)))
        for _ in range(3):
            await asyncio.sleep(0)
        if outcome == "result":
            answer.set_result(1)
        else:
            answer.set_exception(ConnectionResetError("gone"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    play(body)


def test_what_was_awaited_has_ended_when_the_cancellation_is_heard() -> None:
    async def body() -> None:
        ended = False

        async def work() -> None:
            nonlocal ended
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended = True

        task = asyncio.create_task(cancellable(work()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended

    play(body)
