"""The Bayesian planner: a Gaussian-process surrogate and a log acquisition decide which experiment is next."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from botorch.exceptions.warnings import BotorchWarning
from botorch.utils.sampling import manual_seed
from linear_operator.utils.warnings import NumericalWarning
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from athanor.planners import tradeoff
from athanor.planners import viability as viability_
from athanor.planners.acquisition import NEAR, Chosen, choose
from athanor.planners.advice import Advice
from athanor.planners.hyperparameters import FitFailed, Matrix
from athanor.planners.pareto import non_dominated
from athanor.planners.problem import Problem, Value
from athanor.planners.promising import promising
from athanor.planners.protocol import Best, Candidate, Predicted, Why
from athanor.planners.search import maximize
from athanor.planners.source import Source
from athanor.planners.space import Space
from athanor.planners.state import AskTell, observation_key
from athanor.planners.surrogate import Surrogate, build, moderated
from athanor.planners.transfer import DECIDE, TRUSTED, Relation

if TYPE_CHECKING:
    from athanor.planners.pool import Pool

NEW = 1e-3
"""Largest step, as a share of a parameter's range, that makes a point too much like a known one to be worth it."""

COLLECT = 0.93
"""Share of the budget after which known good results are refined and nothing new is explored."""

SETTLED = 0.5
"""Share of the budget after which every second suggestion stays near the best point known."""

ENOUGH = math.log(0.999)
"""Log of the probability that all constraints hold, from which on more of it is worth nothing."""

DESIGN = 64
"""Length of the space-filling design the first points are taken from."""


class BayesianPlanner(AskTell):
    """Suggests by qLogNEI or qLogNEHVI over Gaussian processes, after a short space-filling design.

    Arguments:
        problem: what to vary and what to reach.
        seed: of the campaign; candidate k depends on it and on k.
        initial: points of the initial design; by default two more than there are parameters, at least four.
        advice: log-priors from hypotheses, see `athanor.planners.advice`.
        progress: share of the budget already used, from 0 to 1; None when there is no budget. Towards the end the
            planner collects what it knows to be good (one objective to maximise or minimise), and from half of it on
            every second suggestion stays near the best point known.
        sources: earlier data, of which as much is believed as the campaign's own results bear out, see
            `athanor.planners.transfer`. The first suggestions try what they hold for best; once they are trusted, the
            rest of the initial design is left out.
        pool: the only points that may be suggested; None: any point of the space.
    """

    kind: ClassVar[str] = "bayesian"

    def __init__(
        self,
        problem: Problem,
        seed: int = 0,
        initial: int | None = None,
        advice: Iterable[Advice] = (),
        progress: float | None = None,
        sources: Iterable[Source] = (),
        pool: Pool | None = None,
    ) -> None:
        super().__init__(problem, seed, pool)
        if initial is not None and (isinstance(initial, bool) or not isinstance(initial, int) or initial < 1):
            raise ValueError(f"initial must be a whole number of 1 or more, got {initial!r}")
        self.initial = max(4, len(problem.parameters) + 2) if initial is None else initial
        self.advice: tuple[Advice, ...] = tuple(item.validate_for(problem) for item in advice)
        if progress is not None and not 0.0 <= progress <= 1.0:
            raise ValueError(f"progress must lie between 0 and 1, got {progress!r}")
        self.progress = progress
        self.sources: tuple[Source, ...] = tuple(source.validate_for(problem) for source in sources)
        if self.sources and pool is not None:
            raise ValueError("nothing can be taken from sources where there is a pool: leave one of them out")
        names = [source.name for source in self.sources]
        if (twice := next((name for name in names if names.count(name) > 1), None)) is not None:
            raise ValueError(f"two sources are called {twice}: rename one")
        self._space = Space(problem)
        self._fitted: dict[bool, tuple[str, Surrogate]] = {}

    def advise(self, advice: Iterable[Advice]) -> None:
        """Replace all advice."""
        self.advice = tuple(item.validate_for(self._problem) for item in advice)

    @property
    def space(self) -> Space:
        """The search space in numbers."""
        return self._space

    def surrogate(self, moderate: bool = False) -> Surrogate:
        """Return the model of everything measured; raise `FitFailed` if there is too little to fit.

        With `moderate`, poor results of the objectives count as middling ones (`athanor.planners.surrogate.moderated`),
        and nothing is taken from sources.
        A fit depends on the observations alone; it is kept only to avoid doing the same work twice.
        """
        key = "\n".join(observation_key(o) for o in self.measured)
        if moderate not in self._fitted or self._fitted[moderate][0] != key:
            observations = moderated(self._problem, self.measured) if moderate else self.measured
            with single_threaded(), manual_seed(self.seed):
                sources = () if moderate else self.sources
                self._fitted[moderate] = (key, build(self._problem, self._space, observations, sources))
        return self._fitted[moderate][1]

    def alone(self) -> BayesianPlanner:
        """Return a planner that knows the same measurements and no sources: this one, if it has none."""
        if not self.sources:
            return self
        found = BayesianPlanner(self._problem, self.seed, self.initial, self.advice, self.progress)
        found.ingest(self._observations)
        return found

    def _choose(self, number: int) -> Candidate:
        measured = self.measured
        enough = sum(set(self._problem.outcomes) <= set(o.outcomes) for o in measured)
        if enough < self.initial and number <= self.initial and not self._is_informed(enough):
            tested = self._test(number)
            return tested or self._design(number, f"initial design ({self._spread})", None)
        settled = self.progress is not None and self.progress >= SETTLED
        near = settled and number % 2 == 0
        collecting = self.progress is not None and self.progress >= COLLECT
        try:
            surrogate = self.surrogate(moderate=near and not collecting)
        except FitFailed as error:
            return self._design(number, self._spread, f"{self._spread}, since there is no model: {error}")
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        with single_threaded(), manual_seed(seed):
            viability = self._viability(surrogate.rows)
            chosen = choose(
                surrogate,
                viability,
                self._space.encode(self.pending),
                self._space.encode(self.refused),
                self.advice,
                number,
                seed % 2**31,
                collecting=collecting,
                near=near,
            )
            if self.pool is not None:
                return self._from_pool(number, surrogate, viability, chosen)
            rows, _ = maximize(chosen.acquisition, self._space, chosen.seeds, seed)
            values, repeated = self._first_new(rows)
            predicted = surrogate.predict(values)
            why = self._why(surrogate, viability, chosen, values, predicted)
        fallback = "; ".join(f for f in (surrogate.fallback, repeated) if f) or None
        return self._candidate(number, values, why.model_copy(update={"fallback": fallback}), predicted)

    def _why(
        self,
        surrogate: Surrogate,
        viability: viability_.Viability | None,
        chosen: Chosen,
        values: Mapping[str, Value],
        predicted: Mapping[str, Predicted],
    ) -> Why:
        traded = tradeoff.weigh(surrogate, viability, values, self._best_from(surrogate))
        return Why(
            method=chosen.method,
            fallback=surrogate.fallback,
            detail=f"{self._explain(surrogate, chosen, values, predicted)} {tradeoff.in_words(traded, self._problem)}",
            advice=chosen.advice,
            transfer=tuple(relation.words(self._problem.unit(relation.outcome)) for relation in surrogate.relations),
            tradeoff=traded,
        )

    def relations(self) -> list[Relation]:
        """Return what each source has to say about each outcome by now.

        Raises:
            FitFailed: if too little was measured for a model.
        """
        return list(self.surrogate().relations)

    def _is_informed(self, enough: int) -> bool:
        """Whether what was measured so far shows that sources know every outcome, so that no more need be spread."""
        if not self.sources or enough < DECIDE:
            return False
        try:
            relations = self.surrogate().relations
        except FitFailed:
            return False
        used = [r for r in relations if r.slope is not None]
        known = {name: sum(r.weight for r in used if r.outcome == name) for name in self._problem.outcomes}
        return min(known.values()) >= TRUSTED

    def _test(self, number: int) -> Candidate | None:
        """Return the point that source `number` holds for best, if there is such a source and it is worth a test."""
        if number > min(len(self.sources), DECIDE):
            return None
        source = self.sources[number - 1]
        with single_threaded():
            values = promising(self._problem, source, self.seed)
        if values is None or self.is_in(values, self.taken):
            return None
        detail = f"Point {number} tests what {source.name} holds for the best, as far as it knows."
        return self._candidate(number, values, Why(method="test of earlier data", detail=detail))

    @property
    def _spread(self) -> str:
        """What the points that no model chose are taken from."""
        return "scrambled Sobol" if self.pool is None else "spread subset of the pool"

    def _from_pool(
        self, number: int, surrogate: Surrogate, viability: viability_.Viability | None, chosen: Chosen
    ) -> Candidate:
        """Return the best row of the pool that is left."""
        from athanor.planners import pool_search

        assert self.pool is not None
        found = pool_search.maximize(chosen, surrogate, viability, self.pool, self.pool.free(self._barred()))
        values = self.pool.values(found.row)
        predicted = surrogate.predict(values)
        how = f"All {found.compared:,} rows left were compared"
        if found.judged < found.compared:
            how = (
                f"Of {found.compared:,} rows left the {found.judged:,} that a quicker figure favours, here and there, "
                "were compared in full"
            )
        why = self._why(surrogate, viability, chosen, values, predicted)
        return self._row(number, found.row, why.model_copy(update={"detail": f"{why.detail} {how}."}), predicted)

    def _design_from_pool(self, number: int, method: str, fallback: str | None) -> Candidate:
        """Return a row of a spread subset of the pool."""
        from athanor.planners.pool_search import spread

        assert self.pool is not None
        free = self.pool.free(self._barred())
        order = spread(self.pool, number + DESIGN, self.seed)
        start = (number - 1) % len(order)
        order = np.concatenate([order[start:], order[:start]])
        order = order[np.isin(order, free)]
        if not len(order):
            rng = np.random.default_rng([self.seed, number])
            order = free[rng.integers(len(free), size=1)]
            fallback = "; ".join(f for f in (fallback, "every row of the spread subset is taken: one drawn") if f)
        with single_threaded():
            viability = self._viability(self._space.encode([o.values for o in self.measured]))
            if viability is not None:
                likely = viability.probability(torch.as_tensor(self.pool.encode(order))).numpy() >= 0.5
                order = np.concatenate([order[likely], order[~likely]])
        detail = "Of a spread subset of the pool: the model first needs rows that differ in all parameters."
        return self._row(number, int(order[0]), Why(method=method, fallback=fallback, detail=detail))

    def _design(self, number: int, method: str, fallback: str | None) -> Candidate:
        if self.pool is not None:
            return self._design_from_pool(number, method, fallback)
        size = 1 << (max(number, DESIGN) - 1).bit_length()
        rows = self._space.sample(size, self.seed)
        start = (number - 1) % len(rows)
        order = rows[[*range(start, len(rows)), *range(start)]]
        with single_threaded():
            viability = self._viability(self._space.encode([o.values for o in self.measured]))
            if viability is not None:
                # Step over design points where the process is more likely to fail than to work.
                likely = viability.probability(torch.as_tensor(order)).numpy() >= 0.5
                order = np.concatenate([order[likely], order[~likely]])
        taken = self.taken
        points = (self._space.decode(row) for row in order)
        values = next((p for p in points if not self.is_in(p, taken)), None)
        if values is None:
            values, fallback = self._space.decode(order[0]), "every point of the design is taken: one is repeated"
        detail = f"Point {number} of a space-filling design: the model first needs points spread over all parameters."
        return self._candidate(number, values, Why(method=method, fallback=fallback, detail=detail))

    def _viability(self, worked: Matrix) -> viability_.Viability | None:
        return viability_.fit(self._space, worked, self._space.encode([o.values for o in self.failed]))

    def _first_new(self, rows: Matrix) -> tuple[dict[str, Value], str | None]:
        """Return the best point that is not, and is not next to, one already known or pending."""
        known = [dict(o.values) for o in self._observations if o.status != "withdrawn"] + self.pending
        encoded = self._space.encode(known)
        apart = np.array([not len(known) or float(np.abs(encoded - row).max(axis=1).min()) > NEW for row in rows])
        if apart.any():
            return self._space.decode(rows[int(np.argmax(apart))]), None
        taken = self.taken
        values = next((p for p in (self._space.decode(row) for row in rows) if not self.is_in(p, taken)), None)
        if values is not None:
            return values, None
        return self._space.decode(rows[0]), "every point found is taken: the best one is repeated"

    def _explain(
        self, surrogate: Surrogate, chosen: Chosen, values: Mapping[str, Value], predicted: Mapping[str, Predicted]
    ) -> str:
        parts = []
        for name, p in predicted.items():
            unit = self._problem.unit(name)
            parts.append(f"{name} {p.mean:.4g} ± {p.sd:.2g}{f' {unit}' if unit else ''}")
        text = f"The model expects {', '.join(parts)} here"
        best = self._best_from(surrogate)
        if chosen.method == "posterior mean":
            among = " that should meet every constraint" if self._problem.outcome_constraints else ""
            text += f"; little of the budget is left, and of all points{among} the model expects the best here"
        elif chosen.method == "qLogProbabilityOfFeasibility":
            text += "; no point known is likely to meet all constraints yet, and this one is the likeliest to"
        elif len(self._problem.objectives) > 1:
            text += f"; this adds most, in expectation, to what the {len(best)} best compromises cover together"
        elif best:
            name = self._problem.objectives[0].name
            unit = self._problem.unit(name)
            text += f", against {best[0].predicted[name].mean:.4g}{f' {unit}' if unit else ''} at the best point so far"
            spread = float(surrogate.predict_rows(surrogate.rows)[1][:, 0].mean())
            if not chosen.method.endswith(NEAR) and predicted[name].sd > 2 * spread:
                text += "; it is tried because little is known there"
        if chosen.method.endswith(NEAR):
            place = "the best compromise" if len(self._problem.objectives) > 1 else "that point"
            text += (
                f"; it is near {place}, yet apart from all measured ones, in case the model is wrong there, "
                "and the model asked takes poor results for middling ones"
            )
        if surrogate.notes:
            text += f" ({'; '.join(surrogate.notes)})"
        return f"{text}."

    def best(self) -> list[Best]:
        """Return the incumbent (or the Pareto set) by the model's means at measured points.

        Without a model the measured means count. Only points where every outcome constraint holds with its required
        probability count; if there are none, the one likeliest to be feasible is returned, with `is_feasible` False.
        Of points that the model cannot tell from the incumbent (within one standard deviation of its outcome there),
        the one surest to meet the constraints is returned: the best of many near a bound is often just beyond it.
        """
        try:
            surrogate = self.surrogate()
        except FitFailed:
            return super().best()
        with single_threaded():
            return self._best_from(surrogate)

    def _best_from(self, surrogate: Surrogate) -> list[Best]:
        scores = surrogate.scores(surrogate.rows)
        log_probability = surrogate.log_feasibility(surrogate.rows).sum(axis=1)
        allowed = np.array([self._problem.keeps_inputs(o.values) for o in surrogate.observations])
        feasible = np.flatnonzero(surrogate.is_feasible(surrogate.rows) & allowed)
        if len(feasible) == 0:
            chosen = [int(np.argmax(log_probability))]
        elif scores.shape[1] == 1:
            top = int(feasible[np.argmax(scores[feasible, 0])])
            place = self._problem.outcomes.index(self._problem.objectives[0].name)
            spread = surrogate.predict_rows(surrogate.rows[top : top + 1])[1][0, place]
            near = feasible[scores[feasible, 0] >= scores[top, 0] - spread]
            chosen = [int(near[np.lexsort((scores[near, 0], np.minimum(log_probability[near], ENOUGH)))[-1]])]
        else:
            chosen = [int(feasible[i]) for i in non_dominated(scores[feasible].tolist())]
        constrained = bool(self._problem.outcome_constraints)
        return [
            Best(
                candidate_id=surrogate.observations[i].candidate_id,
                values=surrogate.observations[i].values,
                predicted=surrogate.predict(surrogate.observations[i].values),
                measured=surrogate.observations[i].outcomes,
                probability=float(np.exp(log_probability[i])) if constrained else None,
                is_feasible=len(feasible) > 0,
            )
            for i in chosen
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain JSON types."""
        advice = [item.model_dump(mode="json") for item in self.advice]
        state = {**super().to_dict(), "initial": self.initial, "advice": advice, "progress": self.progress}
        if self.sources:
            state["sources"] = [source.model_dump(mode="json") for source in self.sources]
        return state

    @classmethod
    def _options(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        items: Sequence[Any] = data["advice"]
        return {
            "initial": data["initial"],
            "advice": [Advice.model_validate(item) for item in items],
            "progress": data.get("progress"),
            "sources": [Source.model_validate(item) for item in data.get("sources", [])],
        }


@contextmanager
def single_threaded() -> Iterator[None]:
    """Run with one thread: sums are then always taken in the same order, and small matrices are faster so.

    Also keeps quiet what needs no one's attention: jitter on a nearly singular matrix, and posterior samples in which
    no known point is feasible (the acquisition has a defined value for them).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", NumericalWarning)
            warnings.filterwarnings("ignore", "When all training points are infeasible", BotorchWarning)
            yield
    finally:
        torch.set_num_threads(threads)
