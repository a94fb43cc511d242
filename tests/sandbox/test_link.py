"""The client of a controller, against a real one and against one that misbehaves."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from athanor.instruments.laboratory import InstrumentLost
from athanor.sandbox.link import Link, NoController
from tests.freezing import freeze

from .conftest import Bench, eventually, run_fields

Make = Callable[[str], Bench]


@pytest.fixture
def listener(home: Path) -> Iterator[tuple[Path, socket.socket]]:
    """A socket on which a test plays the controller."""
    path = Path(os.environ["ATHANOR_RUNTIME"]) / "played.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        yield path, server


def play(server: socket.socket, *answers: bytes, requests: int = 1) -> threading.Thread:
    """Answer the hello of one client, take so many requests, then send the answers and hang up."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b'{"id": 1, "ok": true, "laboratory": "played", "pid": 1}\n')
            received = b""
            while received.count(b"\n") < requests and (more := connection.recv(4096)):
                received += more
            for answer in answers:
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_nothing_there_is_said_with_the_path(home: Path) -> None:
    with pytest.raises(NoController, match=r"nowhere\.sock"):
        Link(home / "nowhere.sock")


def test_a_dropped_connection_fails_everything_that_waits(listener: tuple[Path, socket.socket]) -> None:
    path, server = listener
    thread = play(server, b'{"id": 2, "ok": true, "move": 7}\n', requests=2)
    link = Link(path)
    motion, question = link.move("x", 1.0), link.request("read")
    for future in (motion, question):
        with pytest.raises(InstrumentLost):
            future.result(5)
    assert not link.is_open()
    with pytest.raises(InstrumentLost):
        link.request("read")
    thread.join(5)
    link.close()


@pytest.mark.parametrize("rubbish", [b"rubbish\n", b"[1]\n", b'{"id": 2, "ok": true'])
def test_rubbish_ends_the_connection(listener: tuple[Path, socket.socket], rubbish: bytes) -> None:
    path, server = listener
    thread = play(server, rubbish)
    link = Link(path)
    with pytest.raises(InstrumentLost):
        link.call("read", timeout_s=5)
    thread.join(5)
    link.close()


def test_the_end_of_a_motion_right_behind_its_acceptance_is_not_lost(listener: tuple[Path, socket.socket]) -> None:
    path, server = listener
    both = b'{"id":2,"ok":true,"move":7}\n{"event":"done","axis":"x","move":7,"position":1.0,"reached":true}\n'
    thread = play(server, both)
    link = Link(path)
    assert link.move("x", 1.0).result(5)["reached"]
    thread.join(5)
    link.close()


def test_a_late_answer_to_a_question_given_up_changes_nothing(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start(time_scale=0.2)
    link = lab.link()
    link.call("prepare", **run_fields())
    with pytest.raises(TimeoutError, match="'trigger' within"):
        link.call("trigger", timeout_s=0.05)
    link.call("prepare", **run_fields(ordinal=1))
    assert link.call("trigger")["readings"]["sty"] > 0


def test_a_frozen_controller_is_open_but_does_not_answer(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start()
    link = lab.link()
    freeze(lab.pid())
    try:
        with pytest.raises(TimeoutError):
            link.call("read", timeout_s=0.2)
        assert link.is_open()
    finally:
        os.kill(lab.pid(), signal.SIGCONT)
    assert link.call("read")["moving"] == []


def test_loss_is_seen_within_a_second(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start()
    link = lab.link()
    os.kill(lab.pid(), signal.SIGKILL)
    killed = time.monotonic()
    eventually(lambda: not link.is_open(), "the loss is seen")
    assert time.monotonic() - killed < 1.0


def test_many_threads_share_one_link(bench: Make) -> None:
    lab = bench("snar-flow")
    lab.start()
    link = lab.link()
    axes = list(lab.rest())
    seen: list[bool] = []

    def work(axis: str) -> None:
        for step in range(20):
            seen.append(link.move(axis, float(step)).result(10)["position"] == float(step))

    threads = [threading.Thread(target=work, args=(axis,)) for axis in axes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [True] * 20 * len(axes)
