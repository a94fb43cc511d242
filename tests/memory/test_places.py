from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from athanor.memory import places


def test_environment_names_every_folder(home: Path, tmp_path: Path) -> None:
    assert places.home() == home
    assert places.keys_dir() == tmp_path / "keys"
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_without_environment_the_user_s_folders_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ATHANOR_HOME", "ATHANOR_KEYS", "ATHANOR_RUNTIME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    assert places.home() == tmp_path / "data" / "athanor"
    assert places.keys_dir() == tmp_path / "config" / "athanor" / "keys"
    assert places.runtime_dir() == tmp_path / "run" / "athanor"


def test_a_shared_runtime_folder_that_others_can_enter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ATHANOR_RUNTIME", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(places.tempfile, "gettempdir", lambda: str(tmp_path))
    mine = places.runtime_dir()
    mine.chmod(0o777)
    with pytest.raises(places.PlaceError, match="ATHANOR_RUNTIME"):
        places.runtime_dir()


def test_two_bases_are_two_instruments(home: Path, tmp_path: Path) -> None:
    one = places.InstrumentPlace.of("reactor")
    other = places.InstrumentPlace.of("reactor", tmp_path)
    assert one.directory == home / "instruments" / "reactor"
    assert one.sockets != other.sockets
    assert one == places.InstrumentPlace.of("reactor", home)
    assert len(str(one.sockets / "controller.sock")) < 104


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "x" * 65, "a\n"])
def test_a_name_that_is_no_folder_is_refused(home: Path, name: str) -> None:
    with pytest.raises(places.PlaceError):
        places.InstrumentPlace.of(name)


def test_places_needs_the_standard_library_only() -> None:
    code = (
        "import sys, athanor.memory, athanor.memory.places as p\n"
        "outside = {m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(m for m in outside if not m.startswith(('_', 'athanor'))))"
    )
    clean = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; print(sorted({m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before = {name for name in eval(clean.stdout) if not name.startswith("_")}  # noqa: S307
    assert set(eval(shown.stdout)) <= before  # noqa: S307
