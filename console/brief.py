"""All that a person needs for one decision: what is proposed, why, what it may do, and whether it could run now."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from athanor.console import overview, wording

if TYPE_CHECKING:
    from athanor.agents.spec import Spec
    from athanor.instruments.profile import Profile
    from athanor.memory.ledger import Ledger
    from athanor.memory.places import InstrumentPlace
    from athanor.memory.records import Campaign, Experiment, Observation, Value
    from athanor.memory.remarks import Deferral, Remark
    from athanor.planners.problem import Problem


@dataclass(frozen=True)
class Setting:
    """One parameter of a proposal, in `unit`.

    `low`, `high` and `values` are the campaign's own range; `previous` is where the last run was, `difference` how far
    from it (None for words). `fault` says why the instrument refuses it, `note` what else is to be known of it.
    """

    name: str
    unit: str | None
    value: Value
    low: float | None
    high: float | None
    values: Sequence[Value] | None
    previous: Value | None
    difference: float | None
    limit_low: float | None
    limit_high: float | None
    fault: str | None
    note: str | None


@dataclass(frozen=True)
class Expected:
    """What the planner's model expects of one outcome: mean ± sd in `unit`; None where it expects nothing yet.

    `best` is the value at the best point so far. `probability` is that of meeting the bound that the campaign sets on
    it, and `required` what the campaign asks for.
    """

    name: str
    unit: str | None
    mean: float | None
    sd: float | None
    best: float | None
    bound: str | None
    probability: float | None
    required: float | None


@dataclass(frozen=True)
class Use:
    """What a run takes of something that is limited; `limit` is None where there is none."""

    what: str
    used: float
    takes: float
    limit: float | None
    unit: str | None


@dataclass(frozen=True)
class Condition:
    """Something that must hold before the experiment can start; `text` says how it stands."""

    what: str
    holds: bool
    text: str
    remedy: str | None = None


@dataclass(frozen=True)
class Brief:
    """One proposal with everything around it."""

    experiment: Experiment
    campaign: Campaign
    problem: Problem
    last_run: str | None
    settings: Sequence[Setting]
    expected: Sequence[Expected]
    why: str
    method: str
    fallback: str | None
    advice: Sequence[str]
    """Advice and earlier data that took part in the choice, and what became of the rest."""
    hypotheses: Sequence[overview.HypothesisLine]
    uses: Sequence[Use]
    conditions: Sequence[Condition]
    limits_from: str
    expires_s: float
    deferral: Deferral | None
    remarks: Sequence[Remark]
    authors: Sequence[str]

    @property
    def is_within_limits(self) -> bool:
        """Whether the instrument would go there."""
        return all(setting.fault is None for setting in self.settings)

    @property
    def could_run(self) -> bool:
        """Whether it would start now, if it were approved."""
        return self.is_within_limits and all(condition.holds for condition in self.conditions)


def look(ledger: Ledger, experiment: Experiment, person: str) -> Brief:
    """Put everything together that `person` needs to decide on an experiment. Nothing is changed.

    Raises:
        UnknownLaboratory, ProfileError: the instrument's profile cannot be read any more.
    """
    from athanor.agents.campaign import instrument_place
    from athanor.agents.spec import Spec
    from athanor.governance.gate import authors
    from athanor.memory.remarks import KINDS, deferrals, remarks
    from athanor.planners.problem import Problem

    campaign = ledger.campaign(experiment.campaign_id)
    spec, problem = Spec.model_validate(campaign.spec), Problem.model_validate(campaign.problem)
    experiments, observations = ledger.experiments(campaign.id), ledger.observations(campaign.id)
    place = instrument_place(campaign, ledger)
    profile, source = _profile(spec, place)
    last = _last_run(experiments, experiment)
    said = ledger.events(campaign.id, kinds=KINDS)
    why = experiment.candidate.get("why")
    why = why if isinstance(why, Mapping) else {}
    return Brief(
        experiment=experiment,
        campaign=campaign,
        problem=problem,
        last_run=None if last is None else last.id,
        settings=[
            _setting(name, value, spec, profile, None if last is None else last.values.get(name))
            for name, value in experiment.values.items()
        ],
        expected=_expected(problem, experiment, observations),
        why=overview.why(experiment),
        method=str(why.get("method") or experiment.source),
        fallback=why.get("fallback"),
        advice=[str(item) for item in (*(why.get("advice") or ()), *(why.get("transfer") or ()))],
        hypotheses=_hypotheses(ledger, experiment),
        uses=_uses(ledger, campaign, spec, experiment, experiments),
        conditions=_conditions(ledger, campaign, spec, experiment, experiments, place, person),
        limits_from=source,
        expires_s=spec.policy.expires,
        deferral=deferrals(said, ledger.now()).get(experiment.id),
        remarks=[one for one in remarks(said) if one.experiment == experiment.id],
        authors=authors(ledger, experiment),
    )


def _profile(spec: Spec, place: InstrumentPlace) -> tuple[Profile, str]:
    """The profile whose limits count: the one the instrument was started with, else the one that the campaign names."""
    from athanor.agents.fitting import resolve
    from athanor.instruments.config import Config

    try:
        return Config.read(place).profile, "the instrument's own configuration"
    except (OSError, ValueError, KeyError):
        return resolve(spec)[1], "the profile that the campaign names"


def _last_run(experiments: Sequence[Experiment], experiment: Experiment) -> Experiment | None:
    """The experiment that the instrument was last used for."""
    ran = [item for item in experiments if item.state in overview.SPENT and item.id != experiment.id]
    return ran[-1] if ran else None


def _setting(name: str, value: Value, spec: Spec, profile: Profile, previous: Value | None) -> Setting:
    from athanor.agents.fitting import check_limits
    from athanor.instruments.bounds import LimitViolation

    own, limit = spec.parameters.get(name), profile.limits().get(name)
    fault, note, difference = None, None, None
    try:
        check_limits(profile, {name: value})
    except LimitViolation as error:
        fault = str(error)
    if not isinstance(value, str) and previous is not None and not isinstance(previous, str):
        difference = float(value) - float(previous)
        step = None if limit is None or limit.walk else limit.largest_step
        if limit is not None and step is not None and abs(difference) > step + limit.tolerance:
            unit = wording.pretty_unit(limit.unit)
            note = (
                f"the last run left it at {wording.number(previous)}; no single step may be longer than "
                f"{wording.number(step)} {unit}".rstrip()
                + ": unless it is moved before, the run is refused"
            )
    if own is not None and note is None and leaves(spec, name, value):
        note = "outside the campaign's own range, which a person may leave"
    return Setting(
        name=name,
        unit=None if own is None else own.unit,
        value=value,
        low=None if own is None else own.low,
        high=None if own is None else own.high,
        values=None if own is None else own.values,
        previous=previous,
        difference=difference,
        limit_low=None if limit is None else limit.minimum,
        limit_high=None if limit is None else limit.maximum,
        fault=fault,
        note=note,
    )


def leaves(spec: Spec, name: str, value: Value) -> bool:
    """Whether a value is outside the campaign's own range of a parameter."""
    own = spec.parameters[name]
    if own.values is not None:
        return value not in own.values
    assert own.low is not None and own.high is not None
    return isinstance(value, str) or not own.low <= value <= own.high


def _expected(problem: Problem, experiment: Experiment, observations: Sequence[Observation]) -> list[Expected]:
    predicted: Mapping[str, Any] = experiment.candidate.get("predicted") or {}
    top = overview.best(problem, observations)
    found = []
    for name in problem.outcomes:
        entry = predicted.get(name)
        mean, sd = (float(entry["mean"]), float(entry["sd"])) if isinstance(entry, Mapping) else (None, None)
        bound = next((item for item in problem.outcome_constraints if item.name == name), None)
        at_best = top[0].outcomes.get(name) if len(problem.objectives) == 1 and top else None
        chance = None
        if bound is not None and mean is not None and sd is not None:
            chance = _chance(mean, sd, bound.lower, bound.upper)
        found.append(
            Expected(
                name=name,
                unit=problem.unit(name),
                mean=mean,
                sd=sd,
                best=None if at_best is None else at_best[0],
                bound=None if bound is None else _bound_text(bound.lower, bound.upper, problem.unit(name)),
                probability=chance,
                required=None if bound is None else bound.probability,
            )
        )
    return found


def _chance(mean: float, sd: float, lower: float | None, upper: float | None) -> float:
    """The probability that a normal variable lies between the bounds."""

    def below(x: float) -> float:
        if sd <= 0:
            return 1.0 if mean <= x else 0.0
        return 0.5 * math.erfc((mean - x) / (sd * math.sqrt(2.0)))

    return max(0.0, (1.0 if upper is None else below(upper)) - (0.0 if lower is None else below(lower)))


def _bound_text(lower: float | None, upper: float | None, unit: str | None) -> str:
    tail = f" {wording.pretty_unit(unit)}" if unit else ""
    if lower is not None and upper is not None:
        return f"{wording.number(lower)} … {wording.number(upper)}{tail}"
    return (f"at most {wording.number(upper)}" if lower is None else f"at least {wording.number(lower)}") + tail


def _hypotheses(ledger: Ledger, experiment: Experiment) -> list[overview.HypothesisLine]:
    """The hypotheses that this run tests, with the evidence so far."""
    if experiment.registration_id is None:
        return []
    own = ledger.registration(experiment.registration_id)
    group = own.body.get("group") or [own.hypothesis_id]
    lines = overview.hypothesis_lines(
        ledger.hypotheses(experiment.campaign_id),
        ledger.registrations(experiment.campaign_id),
        ledger.evidence(campaign=experiment.campaign_id),
    )
    return [line for line in lines if line.id in group]


def _uses(
    ledger: Ledger, campaign: Campaign, spec: Spec, experiment: Experiment, experiments: Sequence[Experiment]
) -> list[Use]:
    from athanor.agents.needs import BadNeed, needs_of
    from athanor.memory.errors import NotFound

    spent = sum(item.state in overview.SPENT for item in experiments)
    found = [Use("experiments", spent, 1, spec.budget.experiments, None)]
    if spec.budget.wall_time is not None:
        sittings = ledger.events(campaign.id, kinds=("sitting",))
        found.append(Use("time", sum(float(e.body["seconds"]) for e in sittings), 0.0, spec.budget.wall_time, "s"))
    if spec.consumables:
        levels = {level.consumable.id: level for level in ledger.levels(list(spec.consumables))}
        try:
            amounts = needs_of(spec, ledger, experiment.values).amounts
        except (NotFound, BadNeed):
            amounts = {}
        for name, takes in amounts.items():
            level = levels[name]
            found.append(Use(name, 0.0, takes, level.available, level.consumable.unit))
    return found


def _conditions(
    ledger: Ledger,
    campaign: Campaign,
    spec: Spec,
    experiment: Experiment,
    experiments: Sequence[Experiment],
    place: InstrumentPlace,
    person: str,
) -> list[Condition]:
    from athanor.console.commands.decisions import OVER, is_driven
    from athanor.instruments.latch import Latch
    from athanor.instruments.takeover import TakeOver
    from athanor.instruments.write_switch import WriteSwitch

    latch, writes, standing = Latch(place).read(), WriteSwitch(place).read(), TakeOver(place).read()
    refusal = standing.refusal
    doubt = next((item.id for item in experiments if item.state == "in_doubt"), None)
    spent = sum(item.state in overview.SPENT for item in experiments)
    over = campaign.state in OVER
    driven = is_driven(ledger, campaign.id)
    return [
        _hands(ledger, experiment, person),
        Condition(
            "campaign",
            driven and not over,
            "a process drives it" if driven else f"it is {campaign.state}, and no process drives it",
            None if driven or over else "resume the campaign; what is approved waits until then",
        ),
        Condition(
            "Stop All",
            not latch.engaged,
            f"latched: {latch.reason or 'no reason given'}" if latch.engaged else "not latched",
            "reset it when it is safe" if latch.engaged else None,
        ),
        Condition(
            "writes",
            writes.on,
            "on" if writes.on else f"off: {writes.reason or 'no reason given'}",
            None if writes.on else "turn writes on when it is safe",
        ),
        Condition(
            "take-over",
            refusal is None,
            "nobody has the instrument in hand" if refusal is None else refusal[1],
            None if refusal is None else "it is handed back by whoever has it",
        ),
        Condition(
            "outcomes",
            doubt is None,
            "none is in doubt" if doubt is None else f"what became of {doubt} is not known",
            None if doubt is None else "look at the instrument and settle it",
        ),
        Condition(
            "budget",
            spent < spec.budget.experiments,
            f"{spent} of {spec.budget.experiments} experiments used",
            None if spent < spec.budget.experiments else "the campaign ends; start another",
        ),
        *_needs(ledger, spec, experiment),
    ]


def _hands(ledger: Ledger, experiment: Experiment, person: str) -> Condition:
    from athanor.governance.gate import asks_for_two, authors

    own = person.casefold() in {name.casefold() for name in authors(ledger, experiment)}
    if not own or not asks_for_two(ledger.campaign(experiment.campaign_id)):
        return Condition("approver", True, "you may approve it")
    return Condition("approver", False, "you proposed it or edited it last", "somebody else approves it")


def _needs(ledger: Ledger, spec: Spec, experiment: Experiment) -> list[Condition]:
    """Whether what the run uses up or needs to itself is there."""
    from athanor.agents.needs import BadNeed, needs_of
    from athanor.memory.errors import NotFound

    if not (spec.consumables or spec.sample):
        return []
    try:
        needs = needs_of(spec, ledger, experiment.values)
    except (NotFound, BadNeed) as error:
        return [Condition("stock", False, str(error), "put that right")]
    found = []
    for level in ledger.levels(list(needs.amounts)):
        name, unit, takes = level.consumable.id, level.consumable.unit, needs.amounts[level.consumable.id]
        said = f"{wording.measured(takes, None, unit)} of {wording.measured(level.available, None, unit)} left"
        short = takes > level.available
        found.append(Condition(f"stock of {name}", not short, said, f"refill {name}" if short else None))
    for name in needs.samples:
        state = ledger.sample(name).state
        found.append(Condition(f"sample {name}", state == "free", state, None if state == "free" else "it is awaited"))
    return found


# -- an edit that is not made yet -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EditCheck:
    """What would come of an edit: why it would be refused, by parameter ('' for the whole), and what it changes."""

    faults: Sequence[tuple[str, str]]
    settings: Sequence[Setting]
    changed: Sequence[str]


def check_edit(ledger: Ledger, experiment: Experiment, revision: str, values: Mapping[str, Value]) -> EditCheck:
    """Say what would come of an edit; nothing is made. `values` are those to change, in the problem's units."""
    from athanor.agents.campaign import instrument_place
    from athanor.agents.spec import Spec
    from athanor.governance.gate import GateError, typed
    from athanor.instruments.latch import Latch
    from athanor.planners.problem import ConstraintViolated

    campaign = ledger.campaign(experiment.campaign_id)
    spec = Spec.model_validate(campaign.spec)
    place = instrument_place(campaign, ledger)
    profile, _ = _profile(spec, place)
    faults: list[tuple[str, str]] = []
    if not experiment.revision.startswith(revision):
        faults.append(("", "another revision stands now; look at it again"))
    elif experiment.state != "proposed":
        faults.append(("", f"it is decided: it is {experiment.state}"))
    latch = Latch(place).read()
    if latch.engaged:
        faults.append(("", f"Stop All is latched: {latch.reason or 'no reason given'}"))
    point: dict[str, Value] = dict(experiment.values)
    for name, value in values.items():
        try:
            point |= typed(experiment, {name: value})
        except GateError as error:
            faults.append((name, str(error)))
    last = _last_run(ledger.experiments(campaign.id), experiment)
    settings = [
        _setting(name, value, spec, profile, None if last is None else last.values.get(name))
        for name, value in point.items()
        if name in experiment.values
    ]
    faults += [(setting.name, setting.fault) for setting in settings if setting.fault is not None]
    changed = [name for name, value in point.items() if value != experiment.values.get(name)]
    if not faults:
        try:
            spec.problem().check_inputs(point)
        except ConstraintViolated as error:
            faults.append(("", str(error)))
    if not changed and not faults:
        faults.append(("", "these are its values already"))
    return EditCheck(faults=faults, settings=settings, changed=changed)
