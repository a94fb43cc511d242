"""The command line as people use it: in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "bluesky", "ophyd", "langgraph", "pandas", "scipy", "sqlalchemy", "numpy", "openai", "plotly")

COMMANDS = [
    *("demo", "new", "check", "run", "resume"),
    *("approve", "edit", "reject", "propose", "reconcile", "settle", "pause", "stop-after-step", "cancel"),
    *("samples", "stock"),
    *("stop-all", "reset-stop"),
    *("list", "show", "results", "report", "explain", "challenges", "ledger"),
]


def athanor(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command and wait for it."""
    return subprocess.run(
        [sys.executable, "-m", "athanor.console", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
    )


def modules_after(code: str) -> list[str]:
    """The top-level modules loaded once `code` has run."""
    program = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\n" + (
        "sys.stdout.write('\\n' + ' '.join(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return run.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["ledger", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = f"sys.argv = ['athanor', *{words!r}]; from athanor.console.cli import main; main()"
    assert not set(HEAVY) & set(modules_after(code))


def test_stop_all_loads_no_command_line_library() -> None:
    code = "sys.argv = ['athanor', 'stop-all', '--help']; from athanor.console.cli import main; main()"
    assert not {*HEAVY, "typer", "click", "rich", "pydantic"} & set(modules_after(code))


def test_every_command_has_help_that_says_something(home: Path) -> None:
    overview = athanor("--help").stdout
    for panel in ("Start", "Supervise", "Safety", "Look", "Ledger", "Exit codes"):
        assert panel in overview
    for command in COMMANDS:
        assert command in overview
    for command in ("approve", "settle", "stop-all"):
        shown = athanor(command, "--help")
        assert shown.returncode == 0
        assert len(shown.stdout.splitlines()) > 5


def test_stop_all_help_says_it_is_no_safety_system(home: Path) -> None:
    assert "not a safety system" in athanor("stop-all", "--help").stdout.lower().replace("\n", " ")


def test_a_missing_ledger_is_refused_with_the_remedy(home: Path) -> None:
    run = athanor("show", "any")
    assert run.returncode == 1
    assert str(home / "ledger.db") in run.stderr
    assert "ATHANOR_LEDGER" in run.stderr
    assert "Traceback" not in run.stderr


def test_debug_shows_the_traceback_wherever_it_stands(home: Path) -> None:
    assert "Traceback" in athanor("show", "any", "--debug").stderr
    assert "Traceback" in athanor("--debug", "show", "any").stderr


def test_a_first_list_finds_nothing_and_says_how_to_begin(home: Path) -> None:
    run = athanor("list", "--json")
    assert run.returncode == 0
    assert json.loads(run.stdout)["campaigns"] == []
    assert "athanor new" in run.stderr
    assert not (home / "ledger.db").exists()


def test_wrong_usage_is_another_exit_code(home: Path) -> None:
    assert athanor("settle", "x.1", "--as", "fine", "--reason", "r").returncode == 2
    assert athanor("no-such-command").returncode == 2


def test_new_then_check(home: Path, tmp_path: Path) -> None:
    assert athanor("new", "mine.yaml", cwd=tmp_path).returncode == 0
    again = athanor("new", "mine.yaml", cwd=tmp_path)
    assert again.returncode == 1
    assert "--force" in again.stderr
    checked = athanor("check", "mine.yaml", "--json", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["ok"] is True
    assert not home.joinpath("ledger.db").exists()


def test_new_from_a_profile_can_be_checked(home: Path, tmp_path: Path) -> None:
    from athanor.instruments import laboratory

    source = next(Path(laboratory.load("snar-flow").campaign_file()).parent.glob("snar_flow.profile.yaml"))  # type: ignore[attr-defined]
    (tmp_path / "bench.yaml").write_text(source.read_text())
    assert athanor("new", "mine.yaml", "--profile", "bench.yaml", cwd=tmp_path).returncode == 0
    checked = athanor("check", "mine.yaml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr


def test_a_bad_file_is_refused_with_line_field_and_remedy(home: Path, tmp_path: Path) -> None:
    athanor("new", "mine.yaml", cwd=tmp_path)
    text = (tmp_path / "mine.yaml").read_text()
    line = next(n for n, row in enumerate(text.splitlines(), 1) if row.strip().startswith("temperature:"))
    (tmp_path / "mine.yaml").write_text(text.replace("high: 120, unit: degC", "high: 900, unit: degC"))
    for command in ("check", "run"):
        refused = athanor(command, "mine.yaml", cwd=tmp_path)
        assert refused.returncode == 1
        assert f"mine.yaml:{line}: parameters.temperature" in refused.stderr
        assert "narrow it" in refused.stderr
    assert not home.joinpath("ledger.db").exists()


def test_challenges_as_json(home: Path) -> None:
    listed = json.loads(athanor("challenges", "--json").stdout)["challenges"]
    assert {entry["name"] for entry in listed} >= {"snar-flow", "ald-window", "rare-earth-extraction", "qubit-readout"}
    assert all(entry["knobs"] and entry["objectives"] and entry["area"] for entry in listed)


def test_ledger_commands(home: Path, tmp_path: Path) -> None:
    from athanor.memory.ledger import Ledger

    Ledger.create(home / "ledger.db").close()
    verified = athanor("ledger", "verify", "--json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["ok"] is True
    assert json.loads(verified.stdout)["notes"] == []
    (home / "ledger.db").chmod(0o666)
    noted = athanor("ledger", "verify")
    assert noted.returncode == 0
    assert "writable: every account" in " ".join(noted.stderr.split())
    assert "as they were written" in noted.stderr
    copy = tmp_path / "copy.db"
    assert athanor("ledger", "backup", str(copy)).returncode == 0
    assert copy.exists()
    assert athanor("ledger", "backup", str(copy)).returncode == 1
    assert athanor("ledger", "upgrade").returncode == 0


def test_verify_names_a_row_changed_by_hand(home: Path) -> None:
    import sqlite3
    from contextlib import closing

    from athanor.memory.ledger import Ledger

    with Ledger.create(home / "ledger.db") as ledger:
        for number in range(3):
            ledger.add_event(None, "note", {"number": number})
    with closing(sqlite3.connect(home / "ledger.db")) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = on")
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type='trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{trigger}"')
        connection.execute("UPDATE journal SET body = replace(body, '1', '7') WHERE seq = 3")
    run = athanor("ledger", "verify", "--json")
    assert run.returncode == 1
    found = json.loads(run.stdout)
    assert found["ok"] is False
    assert any(problem["seq"] == 3 for problem in found["problems"])
