"""`athanor console` and `athanor people`, as a person starts them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from athanor.console.api.door import CSRF
from athanor.console.cli.app import run
from athanor.console.cli.console import _bound, _hosts
from tests.console.serving import PASSWORD, free_port, serving


def test_the_first_start_makes_an_owner_and_a_killed_console_loses_nothing(home: Path, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    base = f"http://127.0.0.1:{port}"
    with serving(port, log) as process, httpx.Client(base_url=base) as client:
        [given] = re.findall(r"password\s+(\S+)", log.read_text())
        signed = client.post("/api/v1/session", json={"login": "owner", "password": given})
        client.headers[CSRF] = signed.json()["csrf"]
        changed = client.post("/api/v1/session/password", json={"old": given, "new": PASSWORD})
        assert changed.status_code == 204, changed.text
        second = subprocess.run(
            [sys.executable, "-m", "athanor.console", "console", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 1 and "cannot be listened on" in second.stderr and "--port" in second.stderr
        os.kill(process.pid, signal.SIGKILL)
    log.write_text("")
    with serving(port, log) as process, httpx.Client(base_url=base, cookies=client.cookies) as again:
        assert "password" not in log.read_text(), "it is shown once"
        assert again.get("/api/v1/session").json()["person"]["must_change"] is False, "still signed in"
        assert again.get("/api/v1/campaigns").json() == {"items": [], "next": None}
        assert httpx.get(f"http://127.0.0.1:{port}/", headers={"Host": "evil.example"}).status_code == 400
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "lab.example"])
def test_without_a_certificate_it_listens_here_alone(host: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["console", "--host", host]) == 1
    assert "--tls-certificate" in capsys.readouterr().err


def test_a_certificate_needs_its_key(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cert.pem"
    file.write_text("x")
    assert run(["console", "--tls-certificate", str(file)]) == 1
    assert "--tls-key" in capsys.readouterr().err


def test_a_missing_library_names_what_to_install(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run(["console"]) == 1
    assert "athanor-lab[console]" in capsys.readouterr().err


def test_the_hosts_it_answers_to() -> None:
    assert _hosts("127.0.0.1", 8765, [], "http") == {"127.0.0.1:8765", "localhost:8765", "[::1]:8765"}
    assert _hosts("192.0.2.1", 443, ["Lab.example"], "https") == {
        "192.0.2.1:443",
        "192.0.2.1",
        "lab.example:443",
        "lab.example",
    }


def test_small_answers_do_not_wait_for_an_acknowledgement() -> None:
    """asyncio turns Nagle's algorithm off where a socket says that it is TCP, and nowhere else."""

    async def answered() -> int:
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            told.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(accepted, sock=_bound("127.0.0.1", 0)) as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            found = await told
            writer.close()
            await writer.wait_closed()
            return found

    assert asyncio.run(answered()) == 1


def test_accounts_from_the_command_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["people", "list"]) == 0
    assert "Nobody has an account" in capsys.readouterr().err
    assert run(["people", "add", "ada", "Ada Lovelace", "operator", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert run(["people", "add", "ada", "Ada", "operator"]) == 1
    assert "already" in capsys.readouterr().err
    assert run(["people", "add", "bob", "Bob", "king"]) == 1
    assert "observer, scientist" in capsys.readouterr().err
    for words in (["role", "ada", "steward"], ["close", "ada"], ["open", "ada"], ["without-second-factor", "ada"]):
        assert run(["people", *words]) == 0
    assert run(["people", "password", "ada", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["password"] != first["password"]
    assert run(["people", "list", "--json"]) == 0
    [person] = json.loads(capsys.readouterr().out)["people"]
    assert (person["login"], person["role"], person["is_active"]) == ("ada", "steward", True)
    assert run(["people", "list"]) == 0
    assert "Ada Lovelace" in capsys.readouterr().err
    assert run(["people", "role", "eve", "owner"]) == 1
    assert "there is no eve" in capsys.readouterr().err
