"""Fixtures for every test: a home of its own, no network beyond loopback, no process left behind."""

from __future__ import annotations

import gc
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["LANGSMITH_TRACING"] = "false"

pytest_plugins = ["tests.bench"]

LOOPBACK = ("127.", "::1", "localhost")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: begun last, one of them would keep a single process busy at the end."""
    items.sort(key=lambda item: item.path.parent.name != "system")


@pytest.fixture(autouse=True, scope="session")
def loopback_only() -> Iterator[None]:
    """Refuse every connection beyond this machine in the test process; children are watched by the system tests."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])  # type: ignore[index]
            if not host.startswith(LOOPBACK):
                raise AssertionError(f"a test tried to reach {host}")
        return connect(self, address)  # type: ignore[arg-type]

    socket.socket.connect = guarded  # type: ignore[method-assign,assignment]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


@pytest.fixture(autouse=True, scope="module")
def nothing_forgotten() -> Iterator[None]:
    """Find what the tests of a file forgot (open sockets and files, processes) while it is still this file's doing."""
    yield
    gc.collect()


def end_processes(*folders: Path) -> None:
    """Kill every process that left a pid file below the folders."""
    for folder in folders:
        for file in folder.rglob("*.pid"):
            try:
                os.kill(int(file.read_text().split()[0]), signal.SIGKILL)
            except (ProcessLookupError, ValueError, IndexError, FileNotFoundError):
                continue


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A private data folder, key folder and (short) socket folder, for this test and its children."""
    place = tmp_path / "home"
    place.mkdir()
    # Unix socket paths are limited to about 100 bytes, and pytest's folders can be longer than that.
    runtime = Path(tempfile.mkdtemp(prefix="ath-"))
    monkeypatch.setenv("ATHANOR_HOME", str(place))
    monkeypatch.setenv("ATHANOR_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("ATHANOR_RUNTIME", str(runtime))
    monkeypatch.setenv("ATHANOR_WORKER_IDLE_S", "60")
    for name in ("ATHANOR_LEDGER", "ATHANOR_MODEL", "ATHANOR_MODEL_BASE_URL", "ATHANOR_MODEL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield place
    end_processes(runtime, tmp_path)
    for path in sorted(runtime.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    runtime.rmdir()
