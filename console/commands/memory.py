"""Searching what was done before, and comparing campaigns: only what can be compared, and said of the rest why not."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from athanor.console import overview, wording
from athanor.instruments.units import NONE, same_unit, unit_of
from athanor.memory import finding
from athanor.memory.finding import Hit, Range

if TYPE_CHECKING:
    from athanor.console.looks import Looks
    from athanor.console.overview import Overview
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Campaign
    from athanor.planners.problem import Objective, Problem

_NUMBER = r"[+\-−]?(?:\d+\.?\d*|\.\d+)(?:[eE][+\-−]?\d+)?"
_BOUNDS = re.compile(rf"\s*(?P<low>{_NUMBER})?\s*\.\.\s*(?P<high>{_NUMBER})?\s*(?P<unit>.*?)\s*")
_EXACT = re.compile(rf"\s*(?P<value>{_NUMBER})\s*(?P<unit>.*?)\s*")
SHORTEST_STEM = 4
ENDED = ("completed", "failed", "aborted", "stopped_early")


class RangeError(ValueError):
    """A range that cannot be read; the message says how one is written."""

    remedy = "write NAME:LOW..HIGH UNIT, such as `temperature:60..80 degC`, with either end left out if it is open"


@dataclass(frozen=True)
class Piece:
    """A part of a text, and whether it is what was looked for."""

    text: str
    is_match: bool


@dataclass(frozen=True)
class Remembered:
    """Something that was found, with what is shown of it.

    Attributes:
        texts: its texts by name, in pieces.
        units: units of `values` and `observed`, where they have one.
    """

    kind: finding.Kind
    id: str
    campaign: Campaign
    state: str
    at: Any
    who: str | None
    texts: dict[str, list[Piece]]
    values: dict[str, Any] = field(default_factory=dict)
    observed: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    tainted: bool = False


# -- ranges -----------------------------------------------------------------------------------------------------------


def ranges(ledger: Ledger, parameters: Iterable[str], outcomes: Iterable[str]) -> tuple[tuple[Range, ...], list[str]]:
    """Read ranges as a person writes them, for every problem of the ledger in its own unit.

    Returns them, and notes: of which campaigns nothing can be said, and why. Raises `RangeError`.
    """
    asked = [("parameter", text) for text in parameters] + [("outcome", text) for text in outcomes]
    if not asked:
        return (), []
    known = {key: found for key, body in finding.problems(ledger).items() if (found := _problem(body)) is not None}
    notes: list[str] = []
    return tuple(_range(of, text, known, notes) for of, text in asked), notes  # type: ignore[arg-type]


def _problem(body: Mapping[str, Any]) -> Problem | None:
    from athanor.planners.problem import Problem

    try:
        return Problem.model_validate(body)
    except ValueError:  # of another release, or not one of ours
        return None


def _range(of: Literal["parameter", "outcome"], text: str, problems: Mapping[str, Problem], notes: list[str]) -> Range:
    name, colon, rest = text.rpartition(":")
    name = name.strip()
    if not colon or not name:
        raise RangeError(f"{text!r} is no range of a{'n' if of == 'outcome' else ''} {of}")
    having = {key: one for key, one in problems.items() if name in (one.names if of == "parameter" else one.outcomes)}
    if not having:
        notes.append(f"no campaign has the {of} {name}")
    low, high, unit, level = _read(text, rest)
    if level is not None and of == "outcome":
        raise RangeError(f"{text!r}: an outcome is a number")
    bounds: dict[str, tuple[float | None, float | None]] = {}
    own_units = {one.unit(name) for one in having.values()}
    if unit is None and level is None and len(own_units) > 1:
        shown = ", ".join(sorted(wording.pretty_unit(own) or "no unit" for own in own_units))
        notes.append(f"campaigns have {name} in different units ({shown}): each is held against the range in its own")
    for key, one in having.items():
        own = one.unit(name)
        try:
            bounds[key] = tuple(None if end is None else convert(end, unit, own) for end in (low, high))  # type: ignore[assignment]
        except ValueError as error:
            notes.append(f"campaigns with {name} in {wording.pretty_unit(own) or 'no unit'} are left out: {error}")
    return Range(of, name, bounds, level)


def _read(text: str, rest: str) -> tuple[float | None, float | None, str | None, str | None]:
    """Lower end, upper end and unit; or the level of a categorical parameter."""
    if (found := _BOUNDS.fullmatch(rest)) is not None:
        low, high = (None if end is None else _number(end) for end in (found["low"], found["high"]))
        if low is not None and high is not None and low > high:
            raise RangeError(f"{text!r} begins above its end")
        return low, high, found["unit"] or None, None
    if (found := _EXACT.fullmatch(rest)) is not None:
        value = _number(found["value"])
        return value, value, found["unit"] or None, None
    if not rest.strip():
        raise RangeError(f"{text!r} names no range")
    return None, None, None, rest.strip()


def _number(text: str) -> float:
    value = float(text.replace("−", "-"))
    if not math.isfinite(value):
        raise RangeError(f"{text} is too large")
    return value


def convert(value: float, given: str | None, own: str | None) -> float:
    """Convert a value to the unit that a campaign has; a value without a unit is in that unit already.

    Raises:
        ValueError: it cannot be converted, or there is no such unit.
    """
    if given is None or given == own:
        return value
    if same_unit(given, own):
        return value
    if own is None or own in NONE:
        raise ValueError(f"{given} is asked for")
    wanted, theirs = unit_of(given), unit_of(own)
    import pint

    try:
        found = float(pint.get_application_registry().Quantity(value, wanted).to(theirs).magnitude)
    except (pint.PintError, ArithmeticError, ValueError) as error:
        raise ValueError(f"{given} is not {own}: {error}") from error
    if not math.isfinite(found):
        raise ValueError(f"{value:g} {given} is no finite number of {own}")
    return found


# -- searching --------------------------------------------------------------------------------------------------------


def remembered(ledger: Ledger, hits: Sequence[Hit], words: Sequence[str]) -> list[Remembered]:
    """Return what is shown of hits, with the words in their texts marked."""
    campaigns: dict[str, Campaign] = {}

    def campaign(identity: str) -> Campaign:
        if identity not in campaigns:
            campaigns[identity] = ledger.campaign(identity)
        return campaigns[identity]

    experiments = {item.id: item for item in ledger.these_experiments([h.id for h in hits if h.kind == "experiment"])}
    observed = ledger.newest_observations(list(experiments))
    made = []
    for hit in hits:
        if hit.kind == "campaign":
            one = campaign(hit.id)
            texts = {"name": one.name, "question": one.question, "reason": one.reason}
            made.append(Remembered("campaign", one.id, one, one.state, one.created_at, None, _marked(texts, words)))
        elif hit.kind == "hypothesis":
            claim = ledger.hypothesis(hit.id)
            texts = {"statement": claim.statement, "rationale": claim.rationale, "reason": claim.reason}
            made.append(
                Remembered(
                    "hypothesis",
                    claim.id,
                    campaign(claim.campaign_id),
                    claim.state,
                    claim.created_at,
                    claim.proposer,
                    _marked(texts, words),
                    tainted=claim.tainted,
                )
            )
        elif (item := experiments.get(hit.id)) is not None:
            of = campaign(item.campaign_id)
            seen = observed.get(item.id)
            outcomes = {} if seen is None else overview.outcomes_of(seen)
            texts = {"why": overview.why(item), "reason": item.reason}
            made.append(
                Remembered(
                    "experiment",
                    item.id,
                    of,
                    item.state,
                    item.created_at,
                    None,
                    _marked(texts, words),
                    values=dict(item.values),
                    observed=outcomes,
                    units=_units(of.problem, [*item.values, *outcomes]),
                )
            )
    return made


def _units(body: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    problem = _problem(body)
    return {} if problem is None else {name: unit for name in names if (unit := problem.unit(name))}


def _marked(texts: Mapping[str, str | None], words: Sequence[str]) -> dict[str, list[Piece]]:
    return {name: marked(text, words) for name, text in texts.items() if text}


def marked(text: str, words: Sequence[str]) -> list[Piece]:
    """Cut a text into pieces at the words that were looked for, as beginnings; also where only their stem occurs."""
    stems = [stem for word in words if (stem := _stem(text, word)) is not None]
    if not stems:
        return [Piece(text, False)]
    pattern = re.compile("|".join(rf"\b{re.escape(stem)}\w*" for stem in sorted(stems, key=len, reverse=True)), re.I)
    pieces, end = [], 0
    for found in pattern.finditer(text):
        if found.start() > end:
            pieces.append(Piece(text[end : found.start()], False))
        pieces.append(Piece(found[0], True))
        end = found.end()
    if end < len(text):
        pieces.append(Piece(text[end:], False))
    return pieces


def _stem(text: str, word: str) -> str | None:
    """The longest beginning of a word that words of the text begin with; the index finds `heated` for `heating`."""
    for length in range(len(word), max(min(SHORTEST_STEM, len(word)), len(word) - 4) - 1, -1):
        if re.search(rf"\b{re.escape(word[:length])}", text, re.I):
            return word[:length]
    return None


# -- comparing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Campaigns side by side.

    Attributes:
        views: how each stands.
        curves: the best so far after each experiment that used the instrument, as steps (experiment, value), of those
            that can be compared; in the unit `unit`, and so that `merit` says what it is.
        shared: names of the parameters that all have, with the unit each has it in.
        notes: what cannot be compared, and why.
    """

    views: list[Overview]
    is_same_problem: bool
    merit: str | None
    unit: str | None
    curves: dict[str, list[tuple[int, float]]]
    shared: dict[str, list[str | None]]
    notes: list[str]


def compare(looks: Looks, ids: Sequence[str]) -> Comparison:
    """Compare campaigns, the first one being the one that the others are held against. Raises `NotFound`."""
    from athanor.console.report.build import merit_words

    views = [looks.at(identity) for identity in ids]
    first = views[0]
    notes: list[str] = []
    comparable = [first]
    for view in views[1:]:
        if whys := _differences(first.problem, view.problem):
            notes.append(
                f"the best so far of {view.campaign.id} cannot be held against that of "
                f"{first.campaign.id}: {'; '.join(whys)}"
            )
        else:
            comparable.append(view)
            if first.campaign.problem_hash != view.campaign.problem_hash:
                notes += [f"{view.campaign.id}: {why}" for why in _cautions(first.problem, view.problem)]
    if len({view.campaign.laboratory for view in views}) > 1:
        shown = ", ".join(f"{view.campaign.id} on {view.campaign.laboratory}" for view in views)
        notes.append(f"they were measured in different laboratories ({shown})")
    if len({view.campaign.simulated for view in views}) > 1:
        notes.append("some are simulated and some are real")
    words, unit, scale, _ = merit_words(first.problem, None)
    is_open = len(first.problem.objectives) > 1 and any(o.reference is None for o in first.problem.objectives)
    if is_open:
        notes.append(
            "the best so far is shown of none: with several objectives it is a hypervolume, and the problem gives no "
            "reference values to count it from"
        )
    drawn = [] if is_open else [(view.campaign.id, _steps(view, scale)) for view in comparable]
    curves = {name: steps for name, steps in drawn if steps}
    names = [name for name in first.problem.names if all(name in view.problem.names for view in views)]
    shared = {name: [view.problem.unit(name) for view in views] for name in names}
    for name, units in shared.items():
        if not all(same_unit(units[0], unit) for unit in units):
            shown = ", ".join(wording.pretty_unit(unit) or "no unit" for unit in units)
            notes.append(f"{name} is in different units: {shown}")
    if not names:
        notes.append("they share no parameter")
    is_same = len({view.campaign.problem_hash for view in views}) == 1
    return Comparison(views, is_same, words if curves else None, unit if curves else None, curves, shared, notes)


def _differences(one: Problem, other: Problem) -> list[str]:
    """Why the merits of two problems are not the same quantity; nothing where they are."""
    theirs = {objective.name: objective for objective in other.objectives}
    whys = []
    for objective in one.objectives:
        found = theirs.pop(objective.name, None)
        if found is None:
            whys.append(f"it does not aim at {objective.name}")
        else:
            whys += _of_objective(objective, found)
    return whys + [f"it aims at {name} too" for name in theirs]


def _of_objective(one: Objective, other: Objective) -> list[str]:
    whys = []
    if (one.goal, one.target) != (other.goal, other.target):
        whys.append(f"it wants {one.name} {_goal(other)}, not {_goal(one)}")
    if not same_unit(one.unit, other.unit):
        units = [wording.pretty_unit(unit) or "no unit" for unit in (other.unit, one.unit)]
        whys.append(f"it has {one.name} in {units[0]}, not in {units[1]}")
    if one.reference != other.reference:
        whys.append(f"it counts {one.name} from another reference")
    return whys


def _goal(objective: Objective) -> str:
    if objective.target is not None:
        return f"at {wording.number(objective.target)}"
    return "large" if objective.goal == "maximize" else "small"


def _cautions(one: Problem, other: Problem) -> list[str]:
    """What to bear in mind of two problems with the same aim."""
    whys = []
    ours, theirs = set(one.names), set(other.names)
    if ours != theirs:
        more, fewer = sorted(theirs - ours), sorted(ours - theirs)
        said = [f"also varies {', '.join(more)}"] if more else []
        said += [f"does not vary {', '.join(fewer)}"] if fewer else []
        whys.append("it " + " and ".join(said))
    for parameter in one.parameters:
        if parameter.name in theirs and parameter != other.parameter(parameter.name):
            whys.append(f"it looks for {parameter.name} in another range")
    if one.constraints != other.constraints:
        whys.append("its constraints are others, so what counts as feasible differs")
    return whys


def _steps(view: Overview, scale: float) -> list[tuple[int, float]]:
    """The best so far after each experiment that used the instrument, where it changes, and at its end."""
    from athanor.console.merit import Merit

    merit, steps = Merit(view.problem), list[tuple[int, float]]()
    number, value = 0, None
    for item in view.experiments:
        if item.state not in ENDED:
            continue
        number += 1
        seen = view.observed.get(item.id, {}) if item.state == "completed" else {}
        before, value = value, merit.add({name: mean for name, (mean, _) in seen.items()})
        if value is not None and value != before:
            steps.append((number, value * scale))
    if value is not None and steps[-1][0] != number:
        steps.append((number, value * scale))
    return steps
