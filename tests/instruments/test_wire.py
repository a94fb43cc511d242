"""The worker's line: answers, refusals, events, death and silence."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from athanor.instruments.line import Line
from athanor.instruments.wire import BEAT_S, Client, Connection, Message, Server, WorkerLost
from athanor.instruments.words import Refused


@pytest.fixture
def path(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from athanor.memory.places import runtime_dir

    return runtime_dir() / "w.sock"


def answer(connection: Connection, message: Message) -> Message | None:
    match message.get("verb"):
        case "echo":
            return {"said": message["text"]}
        case "later":
            threading.Timer(0.05, connection.send, [{"id": message["id"], "ok": True, "late": 1}]).start()
            return None
        case "break":
            raise KeyError("inside")
        case "drop":
            connection.close()
            return None
        case _:
            raise Refused("request.verb", "no such verb")


@pytest.fixture
def server(path: Path) -> Iterator[Server]:
    server = Server(path, answer)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.02):
            server.broadcast({"event": "heartbeat", "state": "idle"})

    thread = threading.Thread(target=beat)
    thread.start()
    yield server
    stop.set()
    thread.join()
    server.close()


def test_answers_refusals_and_events(server: Server, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    client = Client(path)
    assert client.call("echo", text="é")["said"] == "é"
    assert client.call("later")["late"] == 1
    for verb, code in (("fly", "request.verb"), ("break", "request.malformed")):
        with pytest.raises(Refused) as caught:
            client.call(verb)
        assert caught.value.code == code
    server.broadcast({"event": "stored", "experiment": "camp.1"})
    seen: list[dict[str, Any]] = []
    deadline = time.monotonic() + 5
    while not any(event.get("event") == "stored" for event in seen):
        seen += client.wait(0.1)
        assert time.monotonic() < deadline
    assert client.heartbeat["state"] == "idle"
    client.close()


def test_rubbish_is_refused_and_the_line_stays(server: Server, path: Path) -> None:
    with Line.connect(path) as line:
        for rubbish in (b"not json\n", b"[1]\n", b'{"verb": "echo"}\n', b"\xff\xfe\n"):
            line.sock.sendall(rubbish)
            while "ok" not in (message := line.receive(time.monotonic() + 5)):
                pass
            assert (message["ok"], message["code"]) == (False, "request.malformed")
        line.send({"id": 1, "verb": "echo", "text": "still here"})
        while "said" not in (message := line.receive(time.monotonic() + 5)):
            pass


def test_death_is_seen_at_once(server: Server, path: Path) -> None:
    client = Client(path)
    client.call("echo", text="")
    began = time.monotonic()
    with pytest.raises(WorkerLost, match="dead") as caught:
        client.call("drop")
    assert time.monotonic() - began < BEAT_S and not caught.value.hung
    with pytest.raises(WorkerLost):
        while True:
            client.wait(0.1)


def test_nobody_there(path: Path) -> None:
    with pytest.raises(WorkerLost, match="no worker answers"):
        Client(path)


def test_silence_is_hanging(path: Path) -> None:
    server = Server(path, answer)
    client = Client(path)
    began = time.monotonic()
    with pytest.raises(WorkerLost, match="hangs") as caught:
        while True:
            client.wait(5.0)
    assert caught.value.hung
    assert 0.9 < time.monotonic() - began < 3.0
    client.close()
    server.close()


def test_who_does_not_read_is_cut_off_and_blocks_nobody(path: Path) -> None:
    server = Server(path, answer)
    deaf = socket.socket(socket.AF_UNIX)
    deaf.connect(str(path))
    deadline = time.monotonic() + 10
    while not server.connections:
        assert time.monotonic() < deadline
    began = time.monotonic()
    while server.connections:
        server.broadcast({"event": "x", "data": "y" * 10_000})
        assert time.monotonic() < deadline
    assert time.monotonic() - began < 5
    deaf.close()
    other = Client(path)
    assert other.call("echo", text="1")["said"] == "1"
    other.close()
    server.close()
