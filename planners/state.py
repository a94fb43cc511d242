"""What all planners hold: the problem, a seed, what was observed, and which candidates are out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, ClassVar, Self

from athanor.planners.problem import Problem, Value
from athanor.planners.protocol import MEASURED, PENDING, Best, Candidate, Observation, Predicted, Why

if TYPE_CHECKING:
    from athanor.planners.pool import Pool

FORMAT = 1
"""Version of the JSON text of a planner."""


class StateMismatch(ValueError):
    """JSON text that is not the state of this kind of planner."""


class AskTell:
    """Ask-and-tell bookkeeping shared by the planners; subclasses say how the next point is chosen.

    With a `pool` only its rows are suggested, each at most once unless it allows repeats.
    """

    kind: ClassVar[str] = ""

    def __init__(self, problem: Problem, seed: int = 0, pool: Pool | None = None) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed must be a whole number of 0 or more, got {seed!r}")
        if pool is not None and pool.problem != problem:
            raise ValueError("the pool was read for another problem: read it again for this one")
        self._problem = problem
        self.pool = pool
        self.seed = seed
        self._observations: list[Observation] = []
        self._issued: dict[str, dict[str, Value]] = {}
        self._last = 0

    @property
    def problem(self) -> Problem:
        """The problem the planner works on."""
        return self._problem

    @property
    def observations(self) -> tuple[Observation, ...]:
        """Everything ingested, pending points included, in the order in which it came."""
        return tuple(self._observations)

    def candidate_id(self, number: int) -> str:
        """Return the id of the candidate with that suggestion number."""
        return f"{self._problem.digest()[:8]}-{self.seed}-{number}"

    def suggest(self, n: int = 1, number: int | None = None) -> list[Candidate]:
        """Return n candidates numbered from `number` (default: one after the last), each pending for the next.

        A candidate depends on the problem, the seed, its number, and what was ingested and is pending; on nothing
        else. Asking again for a number gives the same candidate as long as these are the same.

        Raises:
            PoolExhausted: fewer than n rows of the pool are left; nothing is suggested then.
        """
        if n < 1:
            raise ValueError(f"n must be 1 or more, got {n}")
        first = self._last + 1 if number is None else number
        if first < 1:
            raise ValueError(f"suggestion numbers start at 1, got {first}")
        if self.pool is not None:
            anew = {self.candidate_id(k) for k in range(first, first + n)}
            self.pool.check_room(n, self._barred(without=anew))
        candidates = []
        for k in range(first, first + n):
            self._issued.pop(self.candidate_id(k), None)
            candidate = self._choose(k)
            self._problem.check_inputs(candidate.values)  # whatever chose it: what is forbidden is not suggested
            self._issued[candidate.id] = dict(candidate.values)
            self._last = max(self._last, k)
            candidates.append(candidate)
        return candidates

    def _choose(self, number: int) -> Candidate:
        raise TypeError(f"{type(self).__name__} does not say how it chooses")

    def ingest(self, observations: Sequence[Observation]) -> None:
        """Take observations in. One whose candidate id is known replaces what was known of that candidate.

        Raises:
            InvalidPoint: for values that do not belong to the problem; nothing is ingested then.
        """
        # Data are data: a measured point may lie off a linear constraint, but not outside the parameters' bounds.
        checked = [
            o.model_copy(update={"values": self._problem.validate_point(o.values, linear=False)}) for o in observations
        ]
        for observation in checked:
            if observation.candidate_id is not None:
                self._issued.pop(observation.candidate_id, None)
                self._observations = [o for o in self._observations if o.candidate_id != observation.candidate_id]
            self._observations.append(observation)

    @property
    def measured(self) -> list[Observation]:
        """Observations with outcomes to learn from, in an order that does not depend on when they arrived."""
        wanted = set(self._problem.outcomes)
        return sorted(
            (o for o in self._observations if o.status in MEASURED and wanted & set(o.outcomes)), key=observation_key
        )

    @property
    def failed(self) -> list[Observation]:
        """Observations of points at which the process failed."""
        return sorted((o for o in self._observations if o.status == "failed"), key=observation_key)

    @property
    def pending(self) -> list[dict[str, Value]]:
        """Points whose outcome may still come: issued candidates and observations in such a state."""
        points = {o.candidate_id or _key(o.values): dict(o.values) for o in self._observations if o.status in PENDING}
        points.update(self._issued)
        return sorted(points.values(), key=_key)

    @property
    def refused(self) -> list[dict[str, Value]]:
        """Points a person rejected or aborted: not suggested again, though nothing is learnt about their outcomes."""
        points = [dict(o.values) for o in self._observations if o.status in ("rejected", "aborted")]
        return sorted(points, key=_key)

    @property
    def taken(self) -> set[str]:
        """Keys of all points that were observed, are pending, failed or were refused."""
        known = [o.values for o in self._observations if o.status in MEASURED | {"failed"}]
        return {_key(values) for values in [*known, *self.pending, *self.refused]}

    def _barred(self, without: Set[str] = frozenset()) -> dict[int, str]:
        """Rows of the pool that may not be suggested now, each with the state that bars it."""
        assert self.pool is not None
        told = [(o.values, o.status) for o in self._observations]
        told += [(values, "proposed") for name, values in self._issued.items() if name not in without]
        return self.pool.barred(told)

    @staticmethod
    def is_in(values: Mapping[str, Value], taken: set[str]) -> bool:
        """Whether exactly this point is among the keys of taken points."""
        return _key(values) in taken

    def best(self) -> list[Best]:
        """Return the best measured point (one objective) or the measured Pareto set (several).

        Constraints are judged on the measured means, since there is no model.
        """
        from athanor.planners.pareto import pareto

        complete = [o for o in self.measured if set(self._problem.outcomes) <= set(o.outcomes)]
        feasible = [
            o
            for o in complete
            if self._problem.is_feasible({name: outcome.mean for name, outcome in o.outcomes.items()})
            and self._problem.keeps_inputs(o.values)
        ]
        chosen = pareto(self._problem, feasible or complete)
        return [
            Best(
                candidate_id=o.candidate_id,
                values=o.values,
                measured=o.outcomes,
                is_feasible=bool(feasible),
            )
            for o in chosen
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain JSON types."""
        state = {
            "format": FORMAT,
            "planner": self.kind,
            "problem": self._problem.model_dump(mode="json"),
            "seed": self.seed,
            "last": self._last,
            "issued": self._issued,
            "observations": [o.model_dump(mode="json") for o in self._observations],
        }
        return state if self.pool is None else {**state, "pool": self.pool.name.model_dump(mode="json")}

    def to_json(self) -> str:
        """Return the whole state as JSON text; floats survive bit for bit."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str, pool: Pool | None = None) -> Self:
        """Rebuild a planner from `to_json`, with the pool that its state names, if it names one.

        Raises:
            StateMismatch: another planner's or a newer state, or another pool than it names.
        """
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("planner") != cls.kind:
            found = data.get("planner") if isinstance(data, dict) else type(data).__name__
            raise StateMismatch(
                f"this is the state of {found!r}, not of {cls.kind!r}: load it with the planner it is of"
            )
        if data.get("format") != FORMAT:
            raise StateMismatch(f"planner state of format {data.get('format')!r}; this version reads {FORMAT}: upgrade")
        _check_pool(data.get("pool"), pool)
        options = cls._options(data) if pool is None else {**cls._options(data), "pool": pool}
        planner = cls(Problem.model_validate(data["problem"]), data["seed"], **options)
        planner.ingest([Observation.model_validate(o) for o in data["observations"]])
        planner._issued = {k: planner._problem.validate_point(v, linear=False) for k, v in data["issued"].items()}
        planner._last = data["last"]
        return planner

    @classmethod
    def _options(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """Further arguments of the constructor, from the state."""
        return {}

    def _candidate(
        self,
        number: int,
        values: Mapping[str, Value],
        why: Why,
        predicted: Mapping[str, Predicted] | None = None,
        label: str | None = None,
    ) -> Candidate:
        return Candidate(
            id=self.candidate_id(number),
            number=number,
            values=dict(values),
            predicted=dict(predicted or {}),
            why=why,
            label=label,
        )

    def _row(self, number: int, row: int, why: Why, predicted: Mapping[str, Predicted] | None = None) -> Candidate:
        """The candidate that is a row of the pool; says which, in its label and in words."""
        assert self.pool is not None
        said = why.model_copy(update={"detail": f"{self.pool.said(row)}. {why.detail}"})
        return self._candidate(number, self.pool.values(row), said, predicted, label=self.pool.label(row))


def _check_pool(named: Mapping[str, Any] | None, pool: Pool | None) -> None:
    if named is None and pool is None:
        return
    if named is None:
        raise StateMismatch("this is the state of a planner without a pool: leave the pool out")
    wanted = f"{named['source']} (sha256 {named['sha256']}, {named['rows']:,} rows)"
    if pool is None:
        raise StateMismatch(f"this is the state of a planner over the pool {wanted}: give that pool, too")
    given = pool.name.model_dump(mode="json")
    if given["sha256"] != named["sha256"]:
        raise StateMismatch(
            f"the pool given has sha256 {pool.sha256}, not that of the state's {wanted}: give that one, unchanged"
        )
    if given["repeats"] != named["repeats"]:
        allowed = "allows" if named["repeats"] else "does not allow"
        raise StateMismatch(f"the state's pool {allowed} repeats; read the pool given likewise")


def _key(values: Mapping[str, Value]) -> str:
    return json.dumps(dict(values), sort_keys=True)


def observation_key(observation: Observation) -> str:
    """Return a text that identifies an observation and sorts it."""
    return f"{_key(observation.values)}{observation.model_dump_json()}"
