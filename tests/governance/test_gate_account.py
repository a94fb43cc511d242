"""The gate under an account of its own: nobody else can mint a decision."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from athanor.memory import decisions
from athanor.memory.ledger import Ledger
from athanor.memory.records import Campaign, Experiment, revision_of
from athanor.memory.signing import GateKey
from athanor.memory.verify import verify
from tests.accounts import can_be_another

NOBODY = 65534

# Modules are imported before the account is given up, since it may not read where they are installed.
INTRUDER = """
import os, sys
from pathlib import Path
from athanor.governance.gate import Gate
from athanor.memory import decisions
from athanor.memory.ledger import Ledger
from athanor.memory.records import now
from athanor.memory.signing import GateKey, KeyProblem, load_public
Ledger.open(sys.argv[1], anchor=None, keys=Path(sys.argv[3])).close()
os.setgroups([]); os.setgid(int(sys.argv[4])); os.setuid(int(sys.argv[4]))

url, gate_folder, keys = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
public = load_public(gate_folder / "gate.pub")
try:
    (gate_folder / "gate.key").read_bytes()
    print("read the key")
except PermissionError:
    print("key refused")
try:
    GateKey.load_or_create(gate_folder)
    print("loaded the key")
except KeyProblem:
    print("gate refused")
try:
    (gate_folder / "gate.pub").write_bytes(b"")
    print("replaced the public key")
except PermissionError:
    print("public key kept")

# What is left: a key of its own, and the ledger, which it may write as any campaign may.
ledger = Ledger.open(url, keys=keys)
mine = Gate(ledger, GateKey.load_or_create(keys), "Mallory")
experiment = ledger.experiment("c1.1")
decision = mine.approve(experiment.id, experiment.revision, 0)
try:
    decisions.check(decision, public)
    print("minted")
except decisions.ForgedDecision as error:
    print("forged")
"""


@pytest.mark.skipif(not can_be_another(), reason="no process may be started under another account here")
def test_another_account_cannot_mint_a_decision() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        (place / "shared").mkdir()
        gate_folder = place / "gate"
        gate = GateKey.load_or_create(gate_folder)
        gate_folder.chmod(0o755)
        values: dict[str, float | int | str] = {"t": 1.0}
        revision = revision_of(
            campaign="c1", ordinal=1, values=values, purpose="explore", registration_id=None, block=None, arm=None,
            replicates=1, problem_hash="h",
        )  # fmt: skip
        path = place / "shared" / "ledger.db"
        with Ledger.create(path, keys=place / "keys") as ledger:
            ledger.add_campaign(
                Campaign(
                    id="c1", name="n", question="q", spec={}, problem={}, problem_hash="h", laboratory="bench",
                    instrument="reactor", simulated=True, seed=1, autonomy="approve_each",
                )
            )  # fmt: skip
            ledger.add_experiment(Experiment(id="c1.1", campaign_id="c1", ordinal=1, values=values, revision=revision))
        for shared in (place / "shared", path):
            os.chown(shared, NOBODY, NOBODY)
        own = place / "own"
        own.mkdir()
        os.chown(own, NOBODY, NOBODY)
        shown = subprocess.run(
            [sys.executable, "-c", INTRUDER, str(path), str(gate_folder), str(own), str(NOBODY)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.split("\n")[:-1] == ["key refused", "gate refused", "public key kept", "forged"]
        with Ledger.open(path, anchor=None, keys=place / "keys") as ledger:
            [minted] = ledger.decisions("c1")
            with pytest.raises(decisions.ForgedDecision):
                decisions.check(minted, gate.public)
            report = verify(ledger, gate=gate.public)
            assert [problem.kind for problem in report.problems] == ["decision"]
            # What the other account wrote is beyond the heads that this one signed.
            assert {note.kind for note in report.notes} == {"unanchored"}
