"""What a SIGKILL did, by the controller's own log: when it struck, and whether a run was lost, repeated or made up."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

STAGES = (
    "while resuming",
    "before intent",
    "between intent and start",
    "in motion",
    "measuring",
    "before stop document",
    "after stop document",
)
"""Where a run was when its process was killed, in order."""

ENDED = ("completed", "failed", "aborted", "stopped_early")


@dataclass
class Story:
    """One experiment that was handed over: moments (Unix seconds) and ends by the ledger and by the controller's log.

    `measured` are readings that the controller gave, `due` those that were ordered; `answer` is what the operator said
    when it was in doubt, `outcomes` what the ledger has, and `expected` what the laboratory gives at these settings.
    """

    experiment: str
    intent: str
    intent_at: float
    state: str
    reason: str | None
    due: int = 1
    starts: int = 0
    run_at: float | None = None
    trigger_at: float | None = None
    reading_at: float | None = None
    stopped_at: float | None = None
    closed_at: float | None = None
    """When its observation was stored or, where there is nothing to observe, it was known not to have run."""
    is_observed: bool = False
    measured: int = 0
    repeated_readings: int = 0
    answer: str | None = None
    is_elsewhere: bool = False
    """Whether it was measured at other positions than those that were approved."""
    outcomes: Mapping[str, float] = field(default_factory=dict)
    expected: Mapping[str, float] = field(default_factory=dict)

    def stage(self, at: float) -> str | None:
        """Where this run was at a moment; None before its intent and after it was closed."""
        if at < self.intent_at or (self.closed_at is not None and at >= self.closed_at):
            return None
        for name, moment in (
            ("between intent and start", self.run_at),
            ("in motion", self.trigger_at),
            ("measuring", self.reading_at),
            ("before stop document", self.stopped_at),
        ):
            if moment is None or at < moment:
                return name
        return "after stop document"


@dataclass
class Kill:
    """One SIGKILL: of what, when (Unix seconds), and how long until it was seen."""

    process: str
    front: str
    at: float
    is_resuming: bool
    holder: str | None = None
    """Who held the campaign."""
    seen_s: float | None = None
    seen_as: str = ""
    stage: str = ""
    experiment: str | None = None
    end: str = ""
    """What became of the experiment in hand; empty when there was none."""


def stories(log: Iterable[Mapping[str, Any]], found: Sequence[Story]) -> list[Story]:
    """Fill in what the controller's log says of each experiment."""
    by_intent = {story.intent: story for story in found}
    replicates: Counter[tuple[str, str, int]] = Counter()
    for line in log:
        story = by_intent.get(str(line.get("intent")))
        if story is None:
            continue
        if line["kind"] == "run":
            story.starts += 1
            story.run_at = story.run_at or line["t"]
        elif line["kind"] == "trigger":
            story.trigger_at = story.trigger_at or line["t"]
            key = (story.intent, line["detector"], line["replicate"])
            story.repeated_readings += key in replicates
            replicates[key] += 1
        elif line["kind"] == "reading":
            story.reading_at = line["t"]
            story.measured += 1
    return list(found)


def place(kill: Kill, found: Sequence[Story]) -> None:
    """Say at which stage of which experiment a kill struck, and what became of that experiment."""
    for story in reversed(found):
        if (stage := story.stage(kill.at)) is None:
            continue
        kill.experiment = story.experiment
        kill.stage = "while resuming" if kill.is_resuming else stage
        kill.end = "in doubt" if story.answer is not None else story.state
        return
    kill.stage = "while resuming" if kill.is_resuming else "before intent"


def faults(log: Iterable[Mapping[str, Any]], found: Sequence[Story]) -> dict[str, list[str]]:
    """What must not be: `lost`, `repeated`, and `silent`: an end that the instrument did not give or nobody told of."""
    lost, repeated, silent = [], [], []
    known = {story.intent for story in found}
    for line in log:
        if line["kind"] == "run" and line["intent"] not in known:
            silent.append(f"{line['intent']}: the controller ran what the ledger does not have")
    for story in found:
        name = story.experiment
        if story.starts > 1:
            repeated.append(f"{name}: started {story.starts} times")
        if story.repeated_readings:
            repeated.append(f"{name}: {story.repeated_readings} readings taken again")
        if story.state in ("dispatched", "running", "in_doubt"):
            lost.append(f"{name}: left {story.state}")
        elif story.state in ENDED and not story.is_observed:
            lost.append(f"{name}: {story.state}, without an observation")
        elif story.state != "completed" and story.measured >= story.due and story.answer is None:
            lost.append(f"{name}: measured, but {story.state} ({story.reason}) and never in doubt")
        if story.state in ("failed", "aborted", "stopped_early", "refused") and not story.reason:
            silent.append(f"{name}: {story.state} without a cause")
        if story.state in ("refused", "not_started") and story.starts:
            silent.append(f"{name}: {story.state}, and the controller has run it")
        if story.state == "completed":
            silent += [f"{name}: completed, but {why}" for why in _not_measured(story)]
    return {"lost": lost, "repeated": repeated, "silent": silent}


def _not_measured(story: Story) -> list[str]:
    """Why a completed experiment is not what the controller measured."""
    found = []
    if story.measured < story.due:
        found.append(f"the controller gave {story.measured} of {story.due} readings")
    if story.is_elsewhere:
        found.append("it was measured elsewhere")
    for name, value in story.expected.items():
        got = story.outcomes.get(name)
        if got is None or not math.isclose(got, value, rel_tol=1e-9, abs_tol=1e-12):
            found.append(f"{name} is {got}, and the laboratory gives {value}")
    return found
