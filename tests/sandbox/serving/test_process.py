"""The command that serves: what it refuses, what it writes, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from athanor.instruments.profile import load_profile, parse_profile
from athanor.sandbox.serving import process
from athanor.sandbox.serving.profile import HEAD
from tests.sandbox.conftest import ALL, eventually
from tests.sandbox.serving.served import PROTOCOLS, Served


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert process.main(["snar-flow", "--protocol", "scpi", *words]) == 1
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "192.0.2.1"], "can be reached from other hosts"),
        (["--host", "0.0.0.0"], "every interface"),
        (["--host", "::"], "every interface"),
        (["--host", "example.org"], "is no IP address"),
        (["--fault", "{kind: dropot}"], "did you mean 'dropout'"),
        (["--fault", "{kind: dropout"], "write it like"),
        (["--noise", "-1"], "noise: must be >= 0"),
        (["--profile", "/nowhere/here.yaml"], "there is no folder /nowhere"),
    ],
)
def test_it_says_what_it_cannot_do(words: list[str], said: str, capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert said in refused(capsys, *words)
    assert not (home / "served").exists()


def test_an_unknown_laboratory_and_a_real_one_are_refused(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert process.main(["snar-flo", "--protocol", "scpi"]) == 1
    assert "installed: ald-window" in capsys.readouterr().err
    assert process.main(["wired", "--protocol", "scpi"]) == 1
    assert "no simulated laboratory" in capsys.readouterr().err


def test_a_missing_library_is_named_with_its_extra(
    capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "caproto", None)
    monkeypatch.delitem(sys.modules, "athanor.sandbox.serving.channel_access", raising=False)
    assert process.main(["snar-flow", "--protocol", "channel-access"]) == 1
    assert "pip install 'athanor-lab[serve]'" in capsys.readouterr().err


def test_a_file_of_somebody_else_is_not_overwritten(
    capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\n")
    assert "was not written by this command" in refused(capsys, "--profile", str(mine))
    assert mine.read_text() == "name: mine\n"


def test_one_folder_serves_one_process(capsys: pytest.CaptureFixture[str], home: Path, tmp_path: Path) -> None:
    served = Served(tmp_path, "scpi")
    try:
        assert "another process serves from" in refused(capsys, "--folder", str(served.folder))
    finally:
        assert served.end(signal.SIGTERM)[0] == 0
    again = Served(tmp_path, "scpi")  # over the profile that it wrote itself
    again.kill()
    third = Served(tmp_path, "scpi")  # a killed one holds nothing
    third.kill()


@pytest.mark.parametrize(
    ("laboratory", "protocol"), [*((name, "scpi") for name in ALL), *(("qubit-readout", p) for p in PROTOCOLS[:2])]
)
def test_the_profile_that_is_printed_is_the_one_that_is_written(
    laboratory: str, protocol: str, home: Path, tmp_path: Path
) -> None:
    from athanor.instruments.laboratory import load

    path = tmp_path / "instrument.yaml"
    command = [sys.executable, "-m", "athanor.sandbox.serving", laboratory, "--protocol", protocol]
    command += ["--profile", str(path), "--timeout", "7", "--folder", str(tmp_path / "log")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: path.exists() or server.poll() is not None, "it is served", 60.0)
        server.send_signal(signal.SIGINT)
        printed, said = server.communicate(timeout=30)
    finally:
        server.kill()
        server.wait()
    assert server.returncode == 0, said
    assert printed == path.read_text() and printed.startswith(HEAD)
    profile, own = load_profile(path), load(laboratory).profile()
    assert (profile.name, profile.laboratory, profile.simulated) == (f"{laboratory}-{protocol}", "wired", True)
    assert profile.axes == {name: axis.model_copy(update={"timeout_s": 7.0}) for name, axis in own.axes.items()}
    assert profile.outcomes.keys() == own.outcomes.keys()
    told = [str(part.value) for part in profile.prepare]
    assert told == ["{intent}", "{experiment}", "{ordinal}", "{seed}", "{replicates}", "1"]
    assert parse_profile(printed) == profile
