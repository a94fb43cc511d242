"""Open a campaign: check it, write it down, and say where its instrument keeps its files. Nothing moves here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from athanor.agents import transfer
from athanor.agents.context import propose
from athanor.agents.fitting import check_limits, fit, line_in, resolve
from athanor.agents.spec import Spec, SpecError, SpecProblem, load, validate
from athanor.memory import places
from athanor.memory.canonical import digest_text
from athanor.memory.errors import Duplicate
from athanor.memory.records import Campaign, Experiment, Observation, Value, new_campaign_id

if TYPE_CHECKING:
    from athanor.agents.history import Measurement
    from athanor.instruments.profile import Profile
    from athanor.memory.ledger import Ledger
    from athanor.planners.source import Source


RETRIES = 5
"""Attempts at a free ordinal while the loop proposes too."""


def open_campaign(
    source: Spec | Path, ledger: Ledger, *, data: Path | None = None, seed: int | None = None, budget: int | None = None
) -> str:
    """Check a campaign, write it to the ledger as `queued`, and return its id. Nothing moves.

    Args:
        source: a spec, or the path of a campaign file.
        ledger: where the campaign is kept.
        data: CSV of earlier measurements; columns are `name [unit]`, units are converted.
        seed, budget: replace the spec's own.

    Raises:
        SpecError: the file is wrong, or does not fit the instrument, or names earlier data that are of no use.
        DataError: the CSV is wrong.
    """
    text = source.read_text(encoding="utf-8") if isinstance(source, Path) and source.exists() else ""
    spec = load(source) if isinstance(source, Path) else source
    if seed is not None:
        spec = spec.model_copy(update={"seed": seed})
    if budget is not None:
        given = spec.model_dump(mode="json")
        given["budget"]["experiments"] = budget
        spec = validate(given, str(source) if isinstance(source, Path) else "<spec>")
    profile = fit(spec, str(source) if isinstance(source, Path) else "<spec>", text)
    _check_needs(spec, ledger, profile.name, str(source) if isinstance(source, Path) else "<spec>", text)
    problem = spec.problem()
    spec = with_pool(spec, str(source) if isinstance(source, Path) else "<spec>", text)
    sources = sources_of(spec, ledger, profile, str(source) if isinstance(source, Path) else "<spec>", text)
    history = _history(data, spec, profile) if data is not None else []
    campaign = Campaign(
        id=new_campaign_id(spec.laboratory.name or profile.name),
        name=spec.name,
        question=spec.question,
        spec=spec.model_dump(mode="json"),
        problem=problem.model_dump(mode="json"),
        problem_hash=problem.digest(),
        laboratory=profile.laboratory,
        instrument=profile.name,
        simulated=profile.simulated,
        seed=spec.seed,
        autonomy=spec.policy.autonomy,
    )
    ledger.add_campaign(campaign)
    if sources:
        transfer.store(ledger, campaign.id, sources)
    for index, row in enumerate(history, 1):
        ledger.add_observation(
            Observation(
                id=f"{campaign.id}/h{index}",
                campaign_id=campaign.id,
                values=row.values,
                outcomes=row.outcomes,
                source="historical",
                reduction="imported",
                reduction_hash=digest_text(data.read_text(encoding="utf-8")) if data else "none",
            )
        )
    return campaign.id


def with_pool(spec: Spec, file: str = "<spec>", text: str = "") -> Spec:
    """Read and check the pool that a campaign names, if it does, and return the campaign with the pool's digest.

    Raises:
        SpecError: the pool cannot be used.
    """
    from athanor.agents.pools import PoolFileError, read_pool

    if spec.pool is None:
        return spec
    try:
        pool = read_pool(spec.pool, spec.problem())
    except PoolFileError as error:
        raise SpecError(file, [SpecProblem(line_in(text, ["pool"]), "pool", str(error), "")]) from error
    placed = spec.pool.at(Path(spec.pool.file).resolve())
    return spec.model_copy(update={"pool": placed.model_copy(update={"sha256": pool.sha256, "rows": len(pool)})})


def _check_needs(spec: Spec, ledger: Ledger, instrument: str, file: str, text: str) -> None:
    """Raises `SpecError` for a sample, a stock or a device that is not to be had from this ledger."""
    from athanor.agents.needs import check_needs

    if wrong := check_needs(spec, ledger, instrument):
        problems = [
            SpecProblem(line_in(text, field.split(".")), field, detail, remedy) for field, detail, remedy in wrong
        ]
        raise SpecError(file, problems)


def sources_of(spec: Spec, ledger: Ledger | None, profile: Profile, file: str, text: str) -> list[Source]:
    """Return the earlier data that a campaign names.

    Raises:
        SpecError: they are not to be had, or of no use to this campaign.
    """
    if not spec.transfer:
        return []
    sources, wrong = transfer.read_sources(spec, profile, ledger, lambda path: line_in(text, path))
    if wrong:
        raise SpecError(file, wrong)
    return sources


def _history(path: Path, spec: Spec, profile: Profile) -> list[Measurement]:
    from athanor.agents.history import read_measurements

    outcomes = {name: profile.outcomes[name].unit for name in spec.problem().outcomes}
    return read_measurements(path, spec.problem(), outcomes)


def envelope(spec: Spec) -> dict[str, Any]:
    """What a grant of autonomy covers: the spec's own ranges, and no more experiments than its budget."""
    ranges: dict[str, Any] = {}
    for name, p in spec.parameters.items():
        ranges[name] = {"allowed": list(p.values)} if p.values is not None else {"low": p.low, "high": p.high}
    return ranges


def instrument_place(campaign: Campaign, ledger: Ledger) -> places.InstrumentPlace:
    """Where the campaign's instrument keeps its files: beside the ledger when simulated, else with the user."""
    base = ledger.path.resolve().parent if campaign.simulated and ledger.path is not None else None
    return places.InstrumentPlace.of(campaign.instrument, base)


def check_instrument(ledger: Ledger, campaign_id: str, values: Mapping[str, Value]) -> None:
    """Check a point against the limits of the campaign's instrument, as the worker will, and what the problem excludes.

    Raises:
        LimitViolation: the instrument cannot go there; names the axis, the value and the remedy.
        ConstraintViolated: an input constraint of the problem forbids it, to people too.
    """
    spec = Spec.model_validate(ledger.campaign(campaign_id).spec)
    _, profile = resolve(spec)
    check_limits(profile, values)
    spec.problem().check_inputs(values)


def propose_experiment(ledger: Ledger, campaign_id: str, values: Mapping[str, Value], by: str) -> Experiment:
    """Put up an operator's own point for decision.

    The instrument's limits hold as for anyone, and so do the problem's input constraints (what is excluded, how many
    are non-zero, nonlinear ones); its narrower ranges and its sums do not bind a person.

    Raises:
        LimitViolation, InvalidPoint: the instrument cannot go there, a parameter is missing or unknown, or an input
            constraint forbids the point.
    """
    campaign = ledger.campaign(campaign_id)
    spec = Spec.model_validate(campaign.spec)
    _, profile = resolve(spec)
    problem = spec.problem()
    missing = [name for name in problem.names if name not in values]
    if missing:
        from athanor.planners.problem import InvalidPoint

        raise InvalidPoint(missing[0], None, "has no value", "give every parameter a value")
    check_limits(profile, values)
    problem.check_inputs(values)
    for _ in range(RETRIES):
        experiment = propose(
            ledger,
            campaign,
            values=dict(values),
            purpose="operator",
            source="operator",
            candidate={"why": {"method": "operator", "detail": f"proposed by {by}"}, "by": by},
            replicates=spec.replicates,
        )
        try:
            return ledger.add_experiment(experiment)
        except Duplicate:  # the loop took the number meanwhile
            continue
    raise Duplicate(f"campaign {campaign_id}: no number was free in {RETRIES} attempts; try again")
