"""A laboratory served in a process of its own, as `athanor sandbox serve` does."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from athanor.instruments.laboratory import RunContext
from athanor.instruments.profile import Profile, load_profile
from athanor.sandbox.witness import read_witness
from tests.sandbox.conftest import eventually

PROTOCOLS = ("channel-access", "opcua", "scpi")
START_S = 60.0


class Served:
    """One server, with its profile and its witness log."""

    def __init__(self, folder: Path, protocol: str, laboratory: str = "snar-flow", *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.protocol = protocol
        self.path = folder / f"{protocol}.yaml"
        self.path.unlink(missing_ok=True)
        self.folder = folder / protocol
        command = [sys.executable, "-m", "athanor.sandbox.serving", laboratory, "--protocol", protocol]
        command += ["--folder", str(self.folder), "--profile", str(self.path), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

        def is_ready() -> bool:
            assert self.process.poll() is None, self.end()
            return self.path.exists()

        try:
            eventually(is_ready, f"{laboratory} is served over {protocol}", START_S)
        except BaseException:
            self.kill()
            raise

    def profile(self) -> Profile:
        return load_profile(self.path)

    def witness(self, *kinds: str) -> list[dict[str, Any]]:
        lines = read_witness(self.folder / "controller.jsonl")
        return [line for line in lines if not kinds or line["kind"] in kinds]

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """End it; its exit code and what it said."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        said = self.process.communicate(timeout=30)[1] or ""
        return self.process.returncode, said


def run(ordinal: int, seed: int = 1, replicates: int = 1) -> RunContext:
    return RunContext(f"intent-{ordinal}", f"campaign.{ordinal}", ordinal, seed, replicates)
