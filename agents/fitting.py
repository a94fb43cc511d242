"""Whether a campaign fits the instrument that is to run it: names, units, limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from athanor.agents.spec import Spec, SpecError, SpecProblem
from athanor.instruments.units import same_unit
from athanor.instruments.yaml_tree import line_of

if TYPE_CHECKING:
    from athanor.instruments.laboratory import Laboratory
    from athanor.instruments.profile import Profile
    from athanor.memory.records import Value
    from athanor.planners.problem import Problem


def resolve(spec: Spec) -> tuple[Laboratory, Profile]:
    """The laboratory and instrument profile that a campaign names.

    Raises:
        UnknownLaboratory, ProfileError: as their modules say.
    """
    from athanor.instruments import laboratory, profile

    if spec.laboratory.profile is not None:
        loaded = profile.load_profile(Path(spec.laboratory.profile))
        return laboratory.load(loaded.laboratory), loaded
    assert spec.laboratory.name is not None
    found = laboratory.load(spec.laboratory.name)
    return found, found.profile()


def fit(spec: Spec, file: str = "<campaign>", text: str = "") -> Profile:
    """Find the instrument that a campaign names, check that the campaign fits it, and return its profile.

    Raises:
        SpecError: no such laboratory, an option it does not have, or any disagreement that `check` finds.
        ProfileError: the instrument's own file is wrong.
    """
    profile, problems = examine(spec, text)
    if profile is None or problems:
        raise SpecError(file, problems)
    return profile


def examine(spec: Spec, text: str = "", document: Any = None) -> tuple[Profile | None, list[SpecProblem]]:
    """The profile of the instrument that a campaign names, if there is one, and all that does not fit.

    `document`: what was read from `text` already, which is not read again then.

    Raises:
        ProfileError: the instrument's own file is wrong.
    """
    from athanor.instruments.laboratory import UnknownLaboratory

    document = _document(text) if document is None else document
    try:
        laboratory, profile = resolve(spec)
    except UnknownLaboratory as error:
        remedy = "use one of: " + ", ".join(error.known)
        said = f"there is no laboratory {error.name!r}"
        return None, [SpecProblem(line_of(document, ("laboratory",)), "laboratory", said, remedy)]
    problems = disagreements(spec, profile, document=document)
    check_options = getattr(laboratory, "check_options", None)
    if check_options is not None:
        try:
            check_options(spec.laboratory.options)
        except ValueError as error:
            path = ("laboratory", "options")
            problems.append(SpecProblem(line_of(document, path), ".".join(path), str(error), ""))
    return profile, problems


def line_in(text: str, path: Sequence[int | str]) -> int | None:
    """The line on which a field stands in a campaign's file, None where there is no text."""
    return line_of(_document(text), tuple(path))


def _document(text: str) -> Any:
    """The YAML document with its line numbers, or None where there is no text."""
    from ruamel.yaml import YAML

    return YAML(typ="rt").load(text) if text else None


def check(spec: Spec, profile: Profile, file: str = "<campaign>", text: str = "") -> None:
    """Compare a campaign with the instrument that is to run it: names, units, limits.

    Raises:
        SpecError: with every disagreement.
    """
    if problems := disagreements(spec, profile, text):
        raise SpecError(file, problems)


def disagreements(spec: Spec, profile: Profile, text: str = "", document: Any = None) -> list[SpecProblem]:
    """Everything in which a campaign and the instrument that is to run it do not agree: names, units, limits."""
    document = _document(text) if document is None else document
    problems: list[SpecProblem] = []

    def add(path: tuple[int | str, ...], message: str, remedy: str) -> None:
        problems.append(SpecProblem(line_of(document, path), ".".join(map(str, path)), message, remedy))

    axes, outcomes = profile.axes, profile.outcomes
    for name, p in spec.parameters.items():
        axis = axes.get(name)
        if axis is None:
            add(("parameters", name), f"{profile.name} has no such knob", "use one of: " + ", ".join(axes))
            continue
        if not same_unit(p.unit, axis.unit):
            add(
                ("parameters", name, "unit"),
                f"unit {p.unit or '(none)'} is not the instrument's",
                f"write unit: {axis.unit or '(leave it out)'}",
            )
        if axis.allowed is not None:
            wanted: list[int | float | str] = list(p.values or [])
            if p.integer and p.low is not None and p.high is not None:
                wanted = [float(v) for v in range(int(p.low), int(p.high) + 1)]
            extra = [v for v in wanted if v not in axis.allowed]
            if extra or not wanted:
                add(
                    ("parameters", name),
                    f"the instrument allows only {axis.allowed}",
                    "write values: with some of them",
                )
            continue
        numbers = [v for v in (p.low, p.high, *(p.values or ())) if isinstance(v, float | int)]
        low = -math.inf if axis.minimum is None else axis.minimum
        high = math.inf if axis.maximum is None else axis.maximum
        if numbers and (min(numbers) < low or max(numbers) > high):
            add(
                ("parameters", name),
                f"{min(numbers):g} … {max(numbers):g} leaves the limits {low:g} … {high:g} {axis.unit or ''}".rstrip(),
                "narrow it",
            )
    known = ", ".join(outcomes)
    for name, o in spec.objectives.items():
        if name not in outcomes:
            add(("objectives", name), f"{profile.name} does not measure this", f"use one of: {known}")
        elif o.unit is not None and not same_unit(o.unit, outcomes[name].unit):
            add(
                ("objectives", name, "unit"),
                f"unit {o.unit} is not the instrument's",
                f"write unit: {outcomes[name].unit or '(leave it out)'}",
            )
    for index, c in enumerate(spec.constraints):
        if c.outcome is not None and c.outcome not in outcomes:
            add(("constraints", index), f"{profile.name} does not measure {c.outcome}", f"use one of: {known}")
        for name in c.named():
            if name not in spec.parameters:
                add(("constraints", index), f"{name} is not a parameter", "use one of: " + ", ".join(spec.parameters))
    for name in spec.stop.target:
        if name not in spec.objectives:
            add(("stop", "target", name), "is not an objective", "use one of: " + ", ".join(spec.objectives))
    if spec.laboratory.options and not profile.simulated:
        add(("laboratory", "options"), "only a simulated laboratory has options", "remove them")
    try:
        problem = spec.problem()
    except ValidationError as error:
        for item in error.errors():
            path, message = _place(spec, item["loc"], item["msg"].removeprefix("Value error, "))
            add(path, message, "")
    except ValueError as error:
        add(("parameters",), str(error), "")
    else:
        if not problems and problem.input_constraints and (said := _is_empty(problem)):
            add(("constraints",), said, "")
    return problems


def _place(spec: Spec, found: Sequence[int | str], message: str) -> tuple[tuple[int | str, ...], str]:
    """Where in the file a mistake is that the whole problem was needed to find: at the constraint it begins with."""
    for index, c in enumerate(spec.constraints):
        if not found and c.is_input and message.startswith(said := f"{c.constraint()}: "):
            return ("constraints", index), message.removeprefix(said)
    return (str(found[0]) if found else "parameters",), message


def _is_empty(problem: Problem) -> str | None:
    """Say that no point keeps every constraint on the parameters, None where one was found."""
    from athanor.planners.space import InfeasibleSpace, Space

    try:
        Space(problem).sample(1, 0)
    except InfeasibleSpace as error:
        return str(error)
    return None


def check_limits(profile: Profile, values: Mapping[str, Value]) -> None:
    """Check every value against the instrument's limits, as the worker will.

    Raises:
        LimitViolation: naming the axis, the value and the remedy; an axis without a limit refuses everything.
    """
    from athanor.instruments import limits

    known = profile.limits()
    for name, value in values.items():
        limit = known.get(name)
        if limit is None:
            raise limits.unknown(name, value)
        limit.check(name, value)
