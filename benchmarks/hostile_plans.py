"""Hostile plans given to the engine of a real controller process; its own log has no set outside the limits.

    python -m benchmarks hostile_plans --plans 100000

Each is a whole plan: several axes (or strangers), each value mostly wrong (not finite, of another type or unit,
outside, too far, too fast, not among the allowed). Half come as an approved experiment comes: through the record, the
worker's checks and the look at the steps, with the interlock's live signal sometimes moved by somebody else after
that and before the start. The other half are started without any check, as if everything before the engine were
broken or forged: then the axes' own guards are all there is.

Exit status 1 when the controller has seen one set outside the limits, or while the interlock was open.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from athanor.instruments import checks
from athanor.instruments.config import settle_control_layer
from athanor.instruments.engine import Engine, Job
from athanor.instruments.laboratory import RunContext, load
from athanor.instruments.limits import Limit
from athanor.instruments.profile import Profile
from athanor.instruments.spool import Backlog, Ending, Header, RunSpool
from athanor.instruments.words import Refused
from athanor.memory.places import InstrumentPlace
from athanor.memory.records import Experiment
from athanor.sandbox.link import Link
from athanor.sandbox.witness import read_witness
from tests.system.hostile import INTERLOCK, STRANGERS, hostile_value, judge

FREE = "concentration"
"""The axis that somebody else moves at the panel; no plan names it."""
OPEN, CLOSED = 0.4, 0.2
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "temperature": {"largest_step": 25.0},
    "residence_time": {"largest_rate": 5.0, "timeout_s": 2.0},
    "equivalents": {"allowed": [1, 2, 3, 4.5], "minimum": None, "maximum": None},
}
OVER_S = 60.0


class Attack:
    """One instrument under attack.

    Args:
        folder: Where its files are kept.
        seed: Decides every plan.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.laboratory: Any = load("snar-flow")
        found = self.laboratory.profile().model_dump(mode="json")
        for name, changes in CHANGES.items():
            found["axes"][name] |= changes
        self.profile = Profile.model_validate({**found, "interlocks": [INTERLOCK]})
        settle_control_layer(self.profile)
        self.limits = self.profile.limits()
        self.place = InstrumentPlace.of(self.profile.name, folder)
        options = {"time_scale": 0, "noise": 0.0, "timeout_s": 30.0}
        self.laboratory.start(self.place, options)
        self.engine = Engine(self.profile, lambda state: None, lambda: None)
        self.devices = self.laboratory.connect(self.place, options)
        self.engine.attach(self.devices)
        self.panel = Link(self.place.sockets / "controller.sock", client="panel")
        self.ends: Counter[str] = Counter()
        self.flips = 0
        self.is_open = True
        self.turn(False)

    def turn(self, is_open: bool) -> None:
        """Have somebody at the panel open or close the interlock."""
        if is_open != self.is_open:
            self.panel.move(FREE, OPEN if is_open else CLOSED).result(30)
            self.is_open = is_open

    def plan(self) -> dict[str, Any]:
        """Some axes and where they are to go; one in thirty is harmless."""
        rng = self.rng
        names = [name for name in self.profile.axes if name != FREE]
        chosen = rng.sample(names, rng.randint(1, len(names)))
        if rng.random() < 1 / 30:
            return {name: self._harmless(name) for name in chosen}
        values = {
            name: self._harmless(name) if rng.random() < 0.3 else hostile_value(rng, self.limits[name])
            for name in chosen
        }
        if rng.random() < 0.08:
            values[rng.choice(STRANGERS)] = 1.0
        return {} if rng.random() < 0.01 else values

    def _harmless(self, name: str) -> float:
        """Inside, though perhaps too far or too fast from where it stands."""
        limit: Limit = self.limits[name]
        if limit.allowed is not None:
            return float(self.rng.choice([value for value in limit.allowed if not isinstance(value, str)]))
        assert limit.minimum is not None and limit.maximum is not None
        return self.rng.uniform(float(limit.minimum), float(limit.maximum))

    def run(self, plans: int) -> None:
        """Give it so many plans."""
        for number in range(1, plans + 1):
            is_forced = self.rng.random() < 0.5
            end = self._give(number, self.plan(), is_forced)
            self.ends[f"{'forced' if is_forced else 'approved'}: {end}"] += 1
            if self.is_open and self.rng.random() < 0.7:
                self.turn(False)

    def _give(self, number: int, values: dict[str, Any], is_forced: bool) -> str:
        """Approve, check and start one plan, or only start it; how it ended."""
        if not is_forced:
            try:
                # As a row of the ledger: what cannot be one is never approved.
                Experiment(
                    id=f"c.{number}",
                    campaign_id="c",
                    ordinal=number,
                    revision="0" * 64,
                    values=values,
                    state="approved",
                )
            except ValueError:
                return "no record"
            try:
                checks._check_values(values, self.profile)
                self.engine.check_steps(values, 30.0)
            except Refused as refusal:
                return f"refused, {refusal.code}"
        if self.rng.random() < 0.1:
            self.flips += 1
            self.turn(not self.is_open)
        ending = self._start(number, values)
        reason = ending.reason or ""
        return f"{ending.state}{', ' + _code(reason) if reason else ''}"

    def _start(self, number: int, values: dict[str, Any]) -> Ending:
        header = Header(f"i{number}", f"c.{number}", "c", "nonce", self.profile.name, True)
        path = self.place.directory / "attack" / f"{number}.jsonl"
        spool = RunSpool(path, header, Backlog())
        endings: list[Ending] = []
        context = RunContext(header.intent, header.experiment, number, 1, 1)
        job = Job(context, values, {}, spool, lambda *_: None, lambda _, ending: endings.append(ending))
        self.engine.start(job, self.engine.count_aborts())
        if not job.over.wait(OVER_S):
            raise TimeoutError(f"plan {number} does not end: {values!r}")
        path.unlink()
        return endings[0]

    def close(self) -> None:
        """End it; the log is whole then."""
        self.panel.close()
        self.devices.close()
        self.laboratory.shutdown(self.place)


def _code(reason: str) -> str:
    """The stable code that a reason begins with, or the kind of error."""
    words = reason.removeprefix("nothing was moved: ").removeprefix("aborted: ")
    head = words.split(":")[0].split()
    return head[0] if head else "?"


def run(plans: int, seed: int, folder: Path) -> dict[str, Any]:
    """Attack once, and judge."""
    began = time.monotonic()
    attack = Attack(folder, seed)
    try:
        attack.run(plans)
    finally:
        attack.close()
    seen, wrong = judge(read_witness(attack.place.directory / "controller.jsonl"), attack.limits)
    return {
        "plans": plans,
        "seed": seed,
        "ends": dict(attack.ends.most_common()),
        "completed": sum(count for end, count in attack.ends.items() if end.endswith(": completed")),
        "flips": attack.flips,
        "sets": seen,
        "outside": wrong,
        "seconds": time.monotonic() - began,
    }


def main(argv: list[str]) -> int:
    """Attack, judge and print; 1 when a set was seen that must not have been."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks hostile_plans",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--plans", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    for name in ("athanor", "bluesky", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # every one of them fails, and is counted
    # In memory where there is such a folder: that every document is on the disk first is tested elsewhere, and slow.
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="ath-h", dir=where) as text:
        os.environ.update(ATHANOR_HOME=f"{text}/home", ATHANOR_RUNTIME=f"{text}/run", ATHANOR_KEYS=f"{text}/keys")
        result = run(options.plans, options.seed, Path(text))
    if options.json:
        print(json.dumps(result))
    else:
        for end, count in result["ends"].items():
            print(f"  {count:8} {end}")
        each = 1000 * result["seconds"] / result["plans"]
        print(
            f"{result['plans']} plans, {result['completed']} completed, {result['flips']} flips of the interlock "
            f"between approval and start: {result['sets']} sets seen by the controller, "
            f"{len(result['outside'])} outside ({result['seconds']:.0f} s, {each:.1f} ms each)"
        )
        for item in result["outside"][:20]:
            print(f"OUTSIDE: {item}")
    sys.stdout.flush()
    return int(bool(result["outside"]))


if __name__ == "__main__":
    code = main(sys.argv[1:])
    # The engine's threads wait for ever.
    os._exit(code)
