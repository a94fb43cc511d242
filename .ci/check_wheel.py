"""Build the wheel, check that it holds every package of the tree, and type-check what it installs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("agents", "console", "governance", "instruments", "memory", "planners", "sandbox")
DATA = {".yaml", ".html", ".css", ".js", ".md", ".mako", ".typed"}


def main() -> int:
    """Return 0 when the wheel is whole and its types are right."""
    with tempfile.TemporaryDirectory() as folder:
        build = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
        subprocess.run([sys.executable, *build, "-w", folder, str(ROOT)], check=True)
        wheel = next(Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            inside = set(archive.namelist())
            archive.extractall(Path(folder) / "site")
        tree = {
            f"athanor/{path.relative_to(ROOT).as_posix()}"
            for room in ROOMS
            for path in (ROOT / room).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and (path.suffix == ".py" or path.suffix in DATA)
        }
        if missing := sorted(tree - inside):
            print("Not in the wheel; add the package to [tool.setuptools] in pyproject.toml:", file=sys.stderr)
            print("\n".join(f"  {name}" for name in missing), file=sys.stderr)
            return 1
        print(f"wheel: all {len(tree)} files of {len(ROOMS)} rooms are inside")
        types = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "-p", "athanor"]
        site = str(Path(folder) / "site")
        cache = str(ROOT / ".mypy_cache")
        return subprocess.run(
            [*types, "--cache-dir", cache], check=False, cwd=folder, env={**os.environ, "MYPYPATH": site}
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
