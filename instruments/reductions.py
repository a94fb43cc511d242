"""Reductions: named functions from a run's documents to outcomes with their standard errors.

A reduction is found through the entry point group ``athanor.reductions`` and has the signature
``reduction(documents, outcomes) -> {outcome: (mean, sem or None)}``. It runs outside the RunEngine, and the hash of its
code is stored with what it gives.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from athanor.instruments.profile import OutcomeSpec

GROUP = "athanor.reductions"

Documents = Sequence[tuple[str, Mapping[str, Any]]]
Outcomes = dict[str, tuple[float, float | None]]
Reduction = Callable[[Documents, Mapping[str, OutcomeSpec]], Outcomes]


class UnknownReduction(LookupError):
    """No reduction of that name is installed."""

    def __init__(self, name: str, known: list[str]) -> None:
        self.name = name
        self.known = known
        super().__init__(f"unknown reduction {name!r}; installed: {', '.join(known) or 'none'}")


class ReductionFailed(ValueError):
    """The documents cannot be reduced; the message names the outcome, the signal and what is wrong with it."""


@dataclass(frozen=True)
class Reduced:
    """The outcomes of a run as (mean, sem), the reduction's name and the SHA-256 of its code."""

    outcomes: Outcomes
    name: str
    code_hash: str


def readings(documents: Documents, signal: str) -> list[Any]:
    """The readings of `signal` in the primary stream, in order of their sequence number.

    The signal's key is its own name, or the detector's name and the signal's joined by ``-`` or ``_``. Of readings
    taken again after a pause the last counts. Raises `ReductionFailed` when there is none.
    """
    keys: dict[str, str] = {}
    for name, body in documents:
        if name == "descriptor" and body.get("name") == "primary":
            found = _key(body, signal)
            if found is None:
                known = ", ".join(sorted(body["data_keys"]))
                raise ReductionFailed(f"the run has no signal {signal!r}, only {known}")
            keys[body["uid"]] = found
    last: dict[int, Any] = {}
    for body in _events(documents):
        if body["descriptor"] in keys:
            last[body["seq_num"]] = body["data"][keys[body["descriptor"]]]
    if not last:
        raise ReductionFailed(f"the run has no reading of {signal!r}")
    return [last[number] for number in sorted(last)]


def _events(documents: Documents) -> list[Mapping[str, Any]]:
    """The event documents, those in pages taken apart."""
    events: list[Mapping[str, Any]] = []
    for name, body in documents:
        if name == "event":
            events.append(body)
        elif name == "event_page":
            for row, number in enumerate(body["seq_num"]):
                data = {key: column[row] for key, column in body["data"].items()}
                events.append({"descriptor": body["descriptor"], "seq_num": number, "data": data})
    return events


def _key(descriptor: Mapping[str, Any], signal: str) -> str | None:
    data_keys = descriptor["data_keys"]
    if signal in data_keys:
        return signal
    for device, keys in descriptor.get("object_keys", {}).items():
        for key in keys:
            if key in (f"{device}-{signal}", f"{device}_{signal}"):
                return str(key)
    return None


def mean(documents: Documents, outcomes: Mapping[str, OutcomeSpec]) -> Outcomes:
    """Mean over the replicates of each outcome's signal; sem is the sample's sd over √n, None for a single reading.

    Raises `ReductionFailed` for a reading that is missing, not finite or not a number.
    """
    reduced: Outcomes = {}
    for name, outcome in outcomes.items():
        numbers_read: list[float] = []
        for position, value in enumerate(readings(documents, outcome.signal), start=1):
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise ReductionFailed(f"{name}: reading {position} of {outcome.signal} is not a number: {value!r:.60}")
            if not math.isfinite(value):
                raise ReductionFailed(f"{name}: reading {position} of {outcome.signal} is {float(value)}")
            numbers_read.append(float(value))
        reduced[name] = mean_and_sem(numbers_read)
    return reduced


def mean_and_sem(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean of one or more numbers, and its standard error where there are at least two."""
    count = len(values)
    centre = math.fsum(values) / count
    if count < 2:
        return centre, None
    variance = math.fsum((value - centre) ** 2 for value in values) / (count - 1)
    return centre, math.sqrt(variance / count)


def names() -> list[str]:
    """The names of all installed reductions, sorted."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


@cache
def load(name: str) -> Reduction:
    """The reduction installed under `name`; raises `UnknownReduction` listing those that exist."""
    for entry in entry_points(group=GROUP, name=name):
        reduction: Reduction = entry.load()
        return reduction
    raise UnknownReduction(name, names())


@cache
def code_hash(name: str) -> str:
    """SHA-256 (hex) over the source of the module that holds the reduction, and of this one, which it may call."""
    hashed = hashlib.sha256(Path(__file__).read_bytes())
    source = inspect.getsourcefile(load(name))
    if source is not None and Path(source) != Path(__file__):
        hashed.update(Path(source).read_bytes())
    return hashed.hexdigest()


def reduce(name: str, documents: Documents, outcomes: Mapping[str, OutcomeSpec]) -> Reduced:
    """Reduce a run's documents with the named reduction.

    Raises `UnknownReduction`, or `ReductionFailed` when the reduction raises anything, leaves an outcome out, or gives
    a number that is not finite.
    """
    reduction = load(name)
    try:
        given = reduction(documents, outcomes)
    except ReductionFailed:
        raise
    except Exception as error:
        raise ReductionFailed(f"reduction {name} raised {type(error).__name__}: {error}") from error
    checked: Outcomes = {}
    for outcome in outcomes:
        if outcome not in given:
            raise ReductionFailed(f"reduction {name} gave no {outcome}")
        centre, sem = given[outcome]
        if not math.isfinite(centre) or not (sem is None or (math.isfinite(sem) and sem >= 0)):
            raise ReductionFailed(f"reduction {name} gave {outcome} = {centre} ± {sem}")
        checked[outcome] = (float(centre), None if sem is None else float(sem))
    return Reduced(checked, name, code_hash(name))
