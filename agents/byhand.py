"""Measurements that a person made beside the loop: observations with `source=operator` and no experiment behind them.

They cost no budget and ran on nothing, so that they are evidence for no registered test; the planner takes them in with
its next suggestion. The ledger is the only way to the loop: whoever drives the campaign finds them there, in the order
in which they were recorded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from athanor.agents.observing import BY_HAND
from athanor.memory.canonical import digest, digest_text
from athanor.memory.errors import Duplicate
from athanor.memory.records import Campaign, Observation, Outcome, Value
from athanor.planners.problem import InvalidPoint, Problem

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger

OVER = ("succeeded", "failed", "cancelled")
RETRIES = 5
"""Attempts at a free number while somebody else records too."""


class NotAMeasurement(ValueError):
    """What a person gave is no measurement of this campaign; names the offender and the remedy."""

    def __init__(self, detail: str, remedy: str) -> None:
        self.remedy = remedy
        super().__init__(f"{detail}; {remedy}")


def observe(
    ledger: Ledger,
    campaign_id: str,
    values: Mapping[str, Value],
    outcomes: Mapping[str, Outcome],
    *,
    by: str,
    note: str,
    source: str = "command",
) -> Observation:
    """Record one measurement, and who made it. Nothing moves.

    Args:
        ledger: where the campaign is.
        campaign_id: the campaign.
        values: the whole point, in the problem's units.
        outcomes: what was measured there, at least one of the problem's outcomes, in their units.
        by: who measured.
        note: how, in a person's words.
        source: how it came: as a command, or from which file.

    Raises:
        NotAMeasurement: naming what is wrong and what would put it right; nothing is recorded.
    """
    campaign = ledger.campaign(campaign_id)
    checked = check(campaign, values, outcomes)
    if not note.strip():
        raise NotAMeasurement("nothing says how it was measured", "give a note")
    reason = f"{BY_HAND} by {by}: {note.strip()}"
    code = digest({"values": checked, "outcomes": dict(outcomes), "by": by, "note": note, "source": source})
    for _ in range(RETRIES):
        number = 1 + sum(o.id.startswith(f"{campaign_id}/m") for o in ledger.observations(campaign_id))
        found = Observation(
            id=f"{campaign_id}/m{number}",
            campaign_id=campaign_id,
            values=checked,
            outcomes=dict(outcomes),
            source="operator",
            reason=reason,
            reduction=BY_HAND,
            reduction_hash=code,
        )
        try:
            ledger.add_observation(found)
        except Duplicate:  # somebody else took the number meanwhile
            continue
        ledger.add_event(
            campaign_id, "observed_by_hand", {"observation": found.id, "by": by, "note": note.strip(), "source": source}
        )
        return found
    raise Duplicate(f"campaign {campaign_id}: no number was free in {RETRIES} attempts; try again")


def observe_file(ledger: Ledger, campaign_id: str, path: Path, *, by: str, note: str) -> list[Observation]:
    """Record every row of a CSV file; the file counts whole or not at all.

    Raises:
        DataError: naming file, line and column.
        NotAMeasurement: the campaign is over, or nothing says how it was measured.
    """
    from athanor.agents.history import read_measurements

    campaign = ledger.campaign(campaign_id)
    problem = Problem.model_validate(campaign.problem)
    rows = read_measurements(path, problem, {name: problem.unit(name) for name in problem.outcomes})
    for row in rows:
        check(campaign, row.values, row.outcomes)
    sha = digest_text(path.read_text(encoding="utf-8-sig"))
    return [
        observe(
            ledger,
            campaign_id,
            row.values,
            row.outcomes,
            by=by,
            note=note,
            source=f"{path.name}:{row.line} sha256:{sha}",
        )
        for row in rows
    ]


def check(campaign: Campaign, values: Mapping[str, Value], outcomes: Mapping[str, Outcome]) -> dict[str, Value]:
    """The point in the problem's own types, if this is a measurement that the campaign can take.

    Raises:
        NotAMeasurement: naming what is wrong.
    """
    if campaign.state in OVER:
        raise NotAMeasurement(
            f"{campaign.id} is over ({campaign.state})", "give it to the next campaign: athanor run SPEC --data FILE"
        )
    problem = Problem.model_validate(campaign.problem)
    try:
        checked: dict[str, Value] = dict(problem.validate_point(values))
    except InvalidPoint as error:
        raise NotAMeasurement(
            str(error).rstrip("."), "the planner learns only from points inside the problem"
        ) from error
    known = ", ".join(problem.outcomes)
    if not outcomes:
        raise NotAMeasurement("nothing was measured", f"give at least one of: {known}")
    for name, outcome in outcomes.items():
        if name not in problem.outcomes:
            raise NotAMeasurement(f"{name} is no outcome of this campaign", f"its outcomes are {known}")
        if not math.isfinite(outcome["mean"]):
            raise NotAMeasurement(f"{name} = {outcome['mean']} is no measurement", "give a finite number")
        sem = outcome["sem"]
        if sem is not None and not (math.isfinite(sem) and sem >= 0):
            raise NotAMeasurement(f"{name}: {sem} is no standard error", "give a number that is not below 0")
    return checked


def is_by_hand(observation: Observation) -> bool:
    """Whether a person measured it beside the loop: no experiment stands behind it."""
    return observation.source == "operator" and observation.experiment_id is None


def by_hand(ledger: Ledger, campaign_id: str) -> list[dict[str, Any]]:
    """What people measured beside the loop, as plain data, in the order in which it was recorded."""
    said = {e.body["observation"]: e.body for e in ledger.events(campaign_id, kinds=("observed_by_hand",))}
    return [
        {
            "id": o.id,
            "values": o.values,
            "outcomes": o.outcomes,
            "source": o.source,
            "by": said.get(o.id, {}).get("by"),
            "note": said.get(o.id, {}).get("note") or o.reason,
            "at": o.created_at,
        }
        for o in ledger.observations(campaign_id)
        if is_by_hand(o)
    ]
