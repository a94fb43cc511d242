"""The built wheel, alone in an empty folder: a demo and a ledger migration run from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_wheel_runs_the_demo_in_an_empty_folder(home: Path, tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = tmp_path.glob("athanor_lab-*.whl")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    where = [
        sys.executable,
        "-c",
        "import athanor.agents, athanor.memory.migrations as m; print(athanor.agents.__file__, m.__file__)",
    ]
    found = subprocess.run(where, check=True, capture_output=True, text=True, env=environment, cwd=empty).stdout.split()
    assert all(path.startswith(str(site)) for path in found), found
    demo = [sys.executable, "-m", "athanor.console", "demo", "--budget", "8", "--seed", "1", "--json"]
    done = subprocess.run(demo, capture_output=True, text=True, env=environment, cwd=empty, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["state"] == "succeeded"
    assert len(result["experiments"]) == 8
    assert list(empty.glob("athanor-demo/*.html"))
