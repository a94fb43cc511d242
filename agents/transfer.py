"""Earlier data of a campaign: read once, when it is opened, and kept in its part of the ledger.

What was read is an event `transfer` per source, whole, with where it is from and its hash. A campaign that is resumed
reads those, so that it goes on with the same data, whatever has become of the table or of the other campaign.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from athanor.agents import references
from athanor.agents.history import DataError, MissingColumns, read_measurements, to_unit
from athanor.agents.results import newest
from athanor.agents.spec import Spec, SpecProblem
from athanor.agents.transfer_spec import TransferSpec
from athanor.memory.canonical import digest
from athanor.memory.errors import NotFound
from athanor.planners.problem import Categorical, Problem
from athanor.planners.protocol import Measured
from athanor.planners.source import Source, SourcePoint

if TYPE_CHECKING:
    from athanor.instruments.profile import Profile
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Campaign, Outcome

EVENT = "transfer"

LONGEST = 10_000
"""Points of a source that are kept: all of them are in the ledger, and told to the planner at every suggestion."""

Given = tuple[dict[str, Any], Mapping[str, "Outcome"]]
"""Values and outcomes of one earlier measurement."""


class BadSource(ValueError):
    """Earlier data that cannot be learnt from: what is wrong, in which field, and the remedy."""

    def __init__(self, message: str, remedy: str, field: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.field = field


class TransferLost(RuntimeError):
    """The earlier data that a campaign's file names are not in the ledger."""


def read_sources(
    spec: Spec, profile: Profile, ledger: Ledger | None, line_of: Callable[[tuple[int | str, ...]], int | None]
) -> tuple[list[Source], list[SpecProblem]]:
    """Read all earlier data that a campaign's file names, and say what is wrong with them.

    Args:
        spec: the campaign; paths of tables are taken as they are.
        profile: of its instrument, which says in which units outcomes are.
        ledger: where other campaigns are; None: those are not looked at.
        line_of: the line of the file on which a field stands.
    """
    problem = spec.problem()
    sources: list[Source] = []
    wrong: list[SpecProblem] = []
    units = {name: profile.outcomes[name].unit for name in problem.outcomes if name in profile.outcomes}
    for place, wanted in enumerate(spec.transfer):
        path: tuple[int | str, ...] = ("transfer", place)
        try:
            if wanted.table is not None:
                found = _of_table(wanted, problem, units)
            elif ledger is not None:
                found = _of_campaign(wanted, problem, units, ledger, profile)
            else:
                continue
            if any(found.name == other.name for other in sources):
                raise _twice(wanted, found, spec.transfer[:place])
            sources.append(found)
        except BadSource as error:
            path = (*path, error.field) if error.field else path
            wrong.append(SpecProblem(line_of(path), ".".join(map(str, path)), str(error), error.remedy))
        except DataError as error:
            path = (*path, "table")
            wrong.append(SpecProblem(line_of(path), ".".join(map(str, path)), str(error), "put the table right"))
    return sources, wrong


def store(ledger: Ledger, campaign_id: str, sources: Sequence[Source]) -> None:
    """Write down what was read."""
    for source in sources:
        body = source.model_dump(mode="json")
        ledger.add_event(campaign_id, EVENT, {"source": body, "hash": digest(body)})


def stored(ledger: Ledger, campaign_id: str, expected: int | None = None) -> list[dict[str, Any]]:
    """Return the sources of a campaign as they were written down, in the order of its file.

    Raises:
        TransferLost: there are not as many as expected: the process that opened it ended too early.
    """
    found: list[dict[str, Any]] = [e.body["source"] for e in ledger.events(campaign_id, kinds=(EVENT,))]
    if expected is not None and len(found) != expected:
        raise TransferLost(
            f"{len(found)} of the {expected} sources of earlier data that its file names were stored when it was "
            "opened; open the campaign anew"
        )
    return found


def summary(source: Source, problem: Problem) -> str:
    """Say what was read, in one line."""
    usable, notes = source.usable(problem)
    known = [name for name in problem.outcomes if any(name in point.outcomes for point in usable)]
    return f"{source.origin}: {len(usable)} points of {', '.join(known)}" + "".join(
        f"; {n}" for n in (*notes, *source.notes)
    )


def _of_table(wanted: TransferSpec, problem: Problem, units: Mapping[str, str | None]) -> Source:
    assert wanted.table is not None
    path = Path(wanted.table)
    there = _names(wanted, problem)
    try:
        rows = read_measurements(path, problem, units, only=there)
    except MissingColumns as error:
        raise BadSource(str(error), _MISSING, "table") from error
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    origin = f"table {path.name}, sha256 {content[:12]}"
    return _source(path.name, origin, wanted, problem, [(dict(row.values), row.outcomes) for row in rows])


_MISSING = "name each in held with the value it had, as {name: value}, or in without where nobody knows it"


def _of_campaign(
    wanted: TransferSpec, problem: Problem, units: Mapping[str, str | None], ledger: Ledger, profile: Profile
) -> Source:
    assert wanted.campaign is not None
    campaign = _find(wanted.campaign, ledger)
    other = Problem.model_validate(campaign.problem)
    there = _names(wanted, problem)
    if missing := [name for name in there if name not in other.names]:
        raise BadSource(f"campaign {campaign.id} did not vary {', '.join(missing)}", _MISSING, "campaign")
    outcomes = [name for name in units if name in other.outcomes]
    if not outcomes:
        said = f"campaign {campaign.id} measured {', '.join(other.outcomes)}, none of this campaign's outcomes"
        raise BadSource(said, f"name one that measured {' or '.join(problem.outcomes)}", "campaign")
    convert = {
        name: _converter(name, other.unit(name), problem.unit(name), campaign)
        for name in there
        if not isinstance(problem.parameter(name), Categorical)
    }
    is_same = campaign.instrument == profile.name
    for name in outcomes:
        given = other.unit(name) or (units[name] if is_same else None)
        convert[name] = _converter(name, given, units[name], campaign)
    experiments = ledger.experiments(campaign.id)
    rows: list[Given] = []
    for o in newest(references.without(experiments, ledger.observations(campaign.id))):
        if o.status not in ("completed", "stopped_early"):
            continue
        found = {name: _converted(convert[name], pair) for name, pair in o.outcomes.items() if name in outcomes}
        # What is a word there and a number here is refused with the other values, below.
        values = {
            k: convert[k](float(v)) if k in convert and not isinstance(v, str) else v
            for k, v in o.values.items()
            if k in there
        }
        if found and len(values) == len(there):
            rows.append((values, found))
    if not rows:
        raise BadSource(f"campaign {campaign.id} has no results of {', '.join(outcomes)}", "remove it", "campaign")
    extra = [name for name in other.names if name not in problem.names]
    notes = [f"it varied {', '.join(extra)}, too, which counts as noise here"] if extra else []
    if campaign.simulated and not profile.simulated:
        notes.append("it was simulated")
    origin = f"campaign {campaign.id} ({campaign.name})"
    return _source(campaign.id, origin, wanted, problem, rows, notes)


def _twice(wanted: TransferSpec, found: Source, others: Sequence[TransferSpec]) -> BadSource:
    """Say that a source is called like an earlier one: nobody could tell what was taken from which."""
    if wanted.campaign is not None:
        return BadSource(f"campaign {found.name} is named twice, by its id or its name", "remove one", "campaign")
    if any(wanted.table == other.table for other in others):
        return BadSource(f"{wanted.title} is named twice", "remove one")
    return BadSource(f"two tables are called {found.name}", "rename one of the files", "table")


def _find(asked: str, ledger: Ledger) -> Campaign:
    try:
        return ledger.campaign(asked)
    except NotFound:
        named = [c for c in ledger.campaigns() if c.name == asked]
    if len(named) == 1:
        return named[0]
    if named:
        ids = ", ".join(c.id for c in named)
        raise BadSource(f"{len(named)} campaigns are called {asked!r}", f"give the id of one: {ids}", "campaign")
    raise BadSource(f"there is no campaign {asked!r} in the ledger", "`athanor list` says which there are", "campaign")


def _names(wanted: TransferSpec, problem: Problem) -> list[str]:
    """The parameters that the data must have: all that are not said to be held or unknown."""
    there = [name for name in problem.names if name not in wanted.held and name not in wanted.without]
    if not there and not wanted.held:
        raise BadSource("no parameter is left to learn about", "name fewer in without", "without")
    return there


def _source(
    name: str,
    origin: str,
    wanted: TransferSpec,
    problem: Problem,
    rows: Sequence[Given],
    notes: Sequence[str] = (),
) -> Source:
    held: dict[str, Any] = {}
    for key, value in wanted.held.items():
        is_word = isinstance(problem.parameter(key), Categorical)
        if isinstance(value, str) != is_word:
            raise BadSource(f"{key}: {value!r} is not {'a word' if is_word else 'a number'}", "correct it", "held")
        held[key] = value
    if len(rows) > LONGEST:
        said = f"{wanted.title}: it has {len(rows)} points, and at most {LONGEST} are kept"
        raise BadSource(said, "name a part of it, as a table")
    points = [
        SourcePoint(
            values={**values, **held},
            outcomes={key: Measured(pair["mean"], pair["sem"]) for key, pair in outcomes.items()},
        )
        for values, outcomes in rows
    ]
    try:
        return Source(name=name, origin=origin, points=points, notes=tuple(notes)).validate_for(problem)
    except ValueError as error:
        said = str(error).removeprefix(f"source {name}: ")
        raise BadSource(f"{wanted.title}: {said}", "remove it, or give data that overlap with this campaign") from error


def _converter(name: str, given: str | None, wanted: str | None, campaign: Campaign) -> Callable[[float], float]:
    try:
        return to_unit(given, wanted)
    except ValueError as error:
        said = f"{name} of campaign {campaign.id} is in {given or 'no stated unit'}, and in {wanted or 'none'} here"
        remedy = f"write it to a table with units: athanor results {campaign.id} --csv"
        raise BadSource(said, remedy, "campaign") from error


def _converted(convert: Callable[[float], float], pair: Outcome) -> Outcome:
    mean = convert(pair["mean"])
    # By what one standard error adds: right also where the units have different zeros.
    return {"mean": mean, "sem": None if pair["sem"] is None else abs(convert(pair["mean"] + pair["sem"]) - mean)}
