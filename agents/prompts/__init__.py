"""The texts a language model is given: rules from a file, the situation as JSON with units and citable ids."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from athanor.agents.reasoners.protocol import Situation
    from athanor.planners.problem import Problem

NEWEST = 60
"""Observations shown at most, the newest last; effects summarise the rest."""

NOTE_LENGTH = 500


@cache
def rules() -> str:
    """The rules of proposing, as the system message."""
    return resources.files("athanor.agents.prompts").joinpath("propose.md").read_text(encoding="utf-8")


def situation_text(situation: Situation, problem: Problem, limit: int, schema: dict[str, Any]) -> str:
    """The situation as the user message: JSON, so that no foreign text can pass for ours."""
    shown = {
        "question": situation.question,
        "propose_at_most": limit,
        "parameters": [parameter.model_dump(mode="json") for parameter in problem.parameters],
        "objectives": [item.model_dump(mode="json", exclude_none=True) for item in problem.objectives],
        "constraints": [str(item) for item in (*problem.linear_constraints, *problem.input_constraints)]
        + [item.model_dump(mode="json", exclude_none=True) for item in problem.outcome_constraints],
        "base_point": situation.base_point,
        "noise_of_one_run": situation.noise,
        "effects_seen_by_the_surrogate": situation.effects,
        "observations": [
            {"id": item.id, "values": item.values, "outcomes": item.outcomes, "status": item.status}
            for item in situation.observations[-NEWEST:]
        ],
        "hypotheses_so_far": [
            {"id": item.id, "claim": item.claim, "state": item.state} for item in situation.hypotheses
        ],
        "settled_elsewhere": [
            {"id": item.id, "claim": item.claim, "verdict": item.verdict}
            for item in situation.memory
            if not item.tainted
        ],
        "untrusted": {
            "notes_of_the_instrument": [note[:NOTE_LENGTH] for note in situation.instrument_notes],
            "memory": [{"id": item.id, "text": item.text[:NOTE_LENGTH]} for item in situation.memory],
            **_remarks(situation),
        },
        "answer_schema": schema,
    }
    return json.dumps(shown, ensure_ascii=True, indent=1)


def _remarks(situation: Situation) -> dict[str, Any]:
    """What people said about experiments; nothing where nobody did."""
    if not situation.remarks:
        return {}
    said = [{"experiment": one.experiment, "text": one.text[:NOTE_LENGTH]} for one in situation.remarks]
    return {"remarks_of_people": said}


def repair_text(problem: str) -> str:
    """The message that sends an invalid answer back."""
    return (
        f"Your answer was refused: {problem}\nAnswer again with one JSON object that follows the rules and the schema."
    )
