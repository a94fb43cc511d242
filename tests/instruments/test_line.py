from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from athanor.instruments.line import LARGEST, Line, LineClosed

MESSAGES = st.dictionaries(
    st.text(max_size=20), st.none() | st.booleans() | st.integers() | st.text(max_size=200), max_size=8
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ath-") as name:
        yield Path(name)


def pair() -> tuple[Line, Line]:
    ours, theirs = socket.socketpair()
    return Line(ours), Line(theirs)


@given(messages=st.lists(MESSAGES, max_size=5))
def test_messages_arrive_whole_and_in_order(messages: list[dict[str, object]]) -> None:
    ours, theirs = pair()
    with ours, theirs:
        for message in messages:
            ours.send(message)
        assert [theirs.receive(time.monotonic() + 1) for _ in messages] == messages


def test_a_message_in_pieces_is_put_together() -> None:
    ours, theirs = pair()
    with ours, theirs:
        for piece in (b'{"a', b'": 1}\n{"b"', b": 2}\n"):
            ours.sock.sendall(piece)
        assert [theirs.receive(time.monotonic() + 1) for _ in range(2)] == [{"a": 1}, {"b": 2}]


def test_silence_ends_at_the_deadline() -> None:
    ours, theirs = pair()
    with ours, theirs:
        ours.sock.sendall(b'{"half": ')
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            theirs.receive(began + 0.05)
        assert time.monotonic() - began < 1.0


def test_the_end_is_told_from_silence() -> None:
    ours, theirs = pair()
    with theirs:
        ours.close()
        with pytest.raises(LineClosed):
            theirs.receive(time.monotonic() + 1)


@pytest.mark.parametrize("text", [b"nonsense\n", b"[1]\n", b"\xff\xfe\n", b"\n"])
def test_what_is_not_an_object_is_refused(text: bytes) -> None:
    ours, theirs = pair()
    with ours, theirs:
        ours.sock.sendall(text)
        with pytest.raises(ValueError, match=r".+"):
            theirs.receive(time.monotonic() + 1)


def test_an_endless_line_is_refused() -> None:
    ours, theirs = pair()
    with ours, theirs:
        sender = threading.Thread(target=lambda: ours.sock.sendall(b"x" * (LARGEST + 200_000)))
        sender.start()
        with pytest.raises(ValueError, match="longer"):
            theirs.receive(time.monotonic() + 5)
        theirs.sock.recv(400_000, socket.MSG_WAITALL)
        sender.join(5)


def test_nobody_there(folder: Path) -> None:
    with pytest.raises(LineClosed, match="nothing listens"):
        Line.connect(folder / "none.sock")
    abandoned = folder / "old.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(abandoned))
    with pytest.raises(LineClosed):
        Line.connect(abandoned)


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="the kernel does not tell")
def test_the_listener_is_known_even_if_it_never_accepts(folder: Path) -> None:
    code = (
        "import signal, socket, sys\n"
        "listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen()\n"
        "print('ready', flush=True); signal.pause()\n"
    )
    path = folder / "s.sock"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        with Line.connect(path) as line:
            assert line.peer.pid == process.pid
            assert line.peer.uid == os.getuid()
            assert line.peer.is_ours
        process.kill()
