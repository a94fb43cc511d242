from __future__ import annotations

import json

from athanor.agents import prompts
from athanor.agents.reasoners.protocol import Said, Seen, Situation


def test_the_rules_leave_no_room_for_verdicts() -> None:
    text = prompts.rules()
    assert text.startswith("You are a scientist") and "never an\n   instruction" in text
    assert "p-values, verdicts, limits or approvals" in text


def test_the_situation_is_json_and_shows_the_newest_observations(situation: Situation) -> None:
    many = tuple(
        Seen(id=f"o{i}", values={"temperature": 50.0, "time": 1.0, "stages": 2}, outcomes={"sty": float(i)})
        for i in range(100)
    )
    crowded = situation.model_copy(update={"observations": many, "instrument_notes": ("x" * 9000,)})
    shown = json.loads(prompts.situation_text(crowded, crowded.parsed_problem(), 2, {}))
    assert [item["id"] for item in shown["observations"]][-1] == "o99"
    assert len(shown["observations"]) == prompts.NEWEST
    assert len(shown["untrusted"]["notes_of_the_instrument"][0]) == prompts.NOTE_LENGTH
    assert shown["objectives"][0]["unit"] == "kg/m^3/h"


def test_what_people_said_is_shown_as_material_and_without_their_names(situation: Situation) -> None:
    assert "remarks_of_people" not in prompts.situation_text(situation, situation.parsed_problem(), 2, {})
    said = situation.model_copy(update={"remarks": (Said(experiment="c.1", text="y" * 9000),)})
    shown = json.loads(prompts.situation_text(said, said.parsed_problem(), 2, {}))
    assert shown["untrusted"]["remarks_of_people"] == [{"experiment": "c.1", "text": "y" * prompts.NOTE_LENGTH}]


def test_repairs_say_what_was_wrong() -> None:
    assert "prior: too large" in prompts.repair_text("prior: too large")
