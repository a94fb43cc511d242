"""The campaign file: one short YAML document that a scientist writes, checked before anything starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from athanor.agents.constraint_spec import ConstraintSpec
from athanor.agents.pool_spec import PoolSpec
from athanor.agents.reference_spec import ReferenceSpec, check_reference
from athanor.agents.transfer_spec import TransferSpec, check_transfer
from athanor.instruments.expressions import BadExpression, Expression, Kind
from athanor.instruments.yaml_tree import line_of, plain
from athanor.planners.design_options import DESIGNS, DesignImpossible, DesignOptions
from athanor.planners.problem import Categorical, Continuous, Integer, Objective, Ordinal, Problem

_DURATION = re.compile(r"^\s*([0-9]*\.?[0-9]+)\s*(s|min|h|d)\s*$")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(value: object) -> object:
    """Read `2 h`, `30 min`, `45 s`, `1 d` or a number of seconds."""
    if isinstance(value, str):
        match = _DURATION.match(value)
        if match is None:
            raise ValueError(f"{value!r} is not a duration; write for example '2 h', '30 min' or '45 s'")
        return float(match[1]) * _SECONDS[match[2]]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SpecProblem(NamedTuple):
    """One thing wrong with a campaign file."""

    line: int | None
    field: str
    message: str
    remedy: str


class SpecError(ValueError):
    """A campaign file that cannot be run; lists every problem with its line, field and remedy."""

    def __init__(self, file: str, problems: list[SpecProblem]) -> None:
        self.file = file
        self.problems = problems
        lines = [
            f"{file}{f':{p.line}' if p.line else ''}: {p.field}: {p.message}" + (f" ({p.remedy})" if p.remedy else "")
            for p in problems
        ]
        super().__init__("\n".join(lines))


class LaboratorySpec(_Strict):
    """Which laboratory: a name, with options when it is simulated, or a profile file."""

    name: str | None = None
    profile: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one(self) -> LaboratorySpec:
        if (self.name is None) == (self.profile is None):
            raise ValueError("give either the name of a laboratory or the path of a profile")
        return self


class ParameterSpec(_Strict):
    """One knob: low and high, or a list of values. Numbers in values mean an ordered knob, words a category."""

    low: Number | None = None
    high: Number | None = None
    unit: str | None = None
    log: bool = False
    integer: bool = False
    values: list[int | float | str] | None = None

    @model_validator(mode="after")
    def _shape(self) -> ParameterSpec:
        if self.values is None:
            if self.low is None or self.high is None:
                raise ValueError("give low and high, or a list of values")
            if self.low >= self.high:
                raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
            if self.log and self.low <= 0:
                raise ValueError("a logarithmic knob needs low > 0")
            if self.integer and (self.low != int(self.low) or self.high != int(self.high)):
                raise ValueError("an integer knob needs whole low and high")
        elif self.low is not None or self.high is not None:
            raise ValueError("give either low and high or values, not both")
        elif len({isinstance(value, str) for value in self.values}) != 1 or len(set(self.values)) < 2:
            raise ValueError("values needs two or more different entries, all numbers or all words")
        return self


class ObjectiveSpec(_Strict):
    """One figure to make large, small, or equal to a target."""

    goal: Literal["maximize", "minimize"] | None = None
    target: Number | None = None
    unit: str | None = None
    reference: Number | None = None

    @model_validator(mode="after")
    def _goal(self) -> ObjectiveSpec:
        if (self.goal is None) == (self.target is None):
            raise ValueError("give goal: maximize or minimize, or a target value")
        return self


class BudgetSpec(_Strict):
    """What may be spent. Confirmatory runs count as experiments."""

    experiments: Annotated[int, Field(ge=1, le=100_000)]
    wall_time: Seconds | None = None
    model_tokens: Annotated[int, Field(ge=0)] = 200_000
    model_cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5.0


class HypothesesSpec(_Strict):
    """How much of the budget may go into confirmatory runs, and the error rate they are held to."""

    share: Annotated[float, Field(ge=0, le=0.8)] = 0.3
    alpha: Annotated[float, Field(gt=0, le=0.2)] = 0.05


class PolicySpec(_Strict):
    """Who lets an experiment start.

    With `proposer_may_not_approve` nobody approves what they proposed or edited last: a second person does.
    """

    autonomy: Literal["approve_each", "auto_within_limits"] = "approve_each"
    expires: Seconds = 24 * 3600.0
    proposer_may_not_approve: bool = False


_AMOUNT = re.compile(r"^\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([^0-9\s].*)?$")


class ConsumableSpec(_Strict):
    """What one run uses of a consumable: a number, or an expression of the parameters; `unit` as the stock's or other.

    Short forms: `5`, `5 mL`.
    """

    amount: Annotated[float, Field(ge=0, allow_inf_nan=False)] | str
    unit: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, data: Any) -> Any:
        if isinstance(data, str):
            match = _AMOUNT.match(data)
            if match is None:
                raise ValueError(f"{data!r} is no amount; write '5 mL', or {{amount: 2 * residence_time, unit: mL}}")
            return {"amount": float(match[1]), "unit": (match[2] or "").strip() or None}
        if isinstance(data, int | float) and not isinstance(data, bool):
            return {"amount": float(data)}
        return data

    @model_validator(mode="after")
    def _readable(self) -> ConsumableSpec:
        self.expression()
        return self

    def expression(self) -> Expression | None:
        """The amount as an expression, None where it is a number."""
        if not isinstance(self.amount, str):
            return None
        try:
            return Expression.parse(self.amount)
        except BadExpression as error:
            detail = f"{self.amount!r}: {error.detail}"
            raise ValueError(f"{detail}; write a number, or an expression such as 2 * residence_time") from error


class StopSpec(_Strict):
    """When the campaign ends before its budget does."""

    target: dict[str, Number] = Field(default_factory=dict)
    patience: Annotated[int, Field(ge=1)] | None = None
    hypotheses_settled: bool = False


OF_PLANNER = "planner: "
"""How a message begins that is about the planner, though the whole file was needed to find it."""
OF_TRANSFER = "transfer: "
OF_POOL = "pool: "
Method = Literal["bayesian", "sobol", "random"]


def _planner(value: object) -> object:
    """Read `latin-hypercube` as `{design: latin-hypercube}`."""
    known = (*get_args(Method), *DESIGNS)
    if isinstance(value, Mapping | DesignOptions):
        return value
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{value!r} is no planner; use one of {', '.join(known)}, or {{design: name, option: value}}")
    return {"design": value} if value in DESIGNS else value


# The tags are named like pydantic's own steps, which are left out when it is said where a mistake is.
PlannerSpec = Annotated[
    Annotated[Method, Tag("function-method")] | Annotated[DesignOptions, Tag("function-design")],
    Discriminator(lambda value: "function-method" if isinstance(value, str) else "function-design"),
    BeforeValidator(_planner),
]


class Spec(_Strict):
    """A whole campaign, as its file says it."""

    name: Annotated[str, Field(min_length=1, max_length=120)]
    question: Annotated[str, Field(min_length=1, max_length=2000)]
    laboratory: LaboratorySpec
    parameters: Annotated[dict[str, ParameterSpec], Field(min_length=1)]
    objectives: Annotated[dict[str, ObjectiveSpec], Field(min_length=1)]
    constraints: list[ConstraintSpec] = Field(default_factory=list)
    budget: BudgetSpec
    replicates: Annotated[int, Field(ge=1, le=100)] = 1
    hypotheses: HypothesesSpec = HypothesesSpec()
    policy: PolicySpec = PolicySpec()
    stop: StopSpec = StopSpec()
    reference: ReferenceSpec | None = None
    consumables: dict[str, ConsumableSpec] = Field(default_factory=dict)
    sample: Annotated[str, Field(min_length=1)] | None = None
    devices: list[str] = Field(default_factory=list)
    planner: PlannerSpec = "bayesian"
    look_ahead: Literal[0, 1] = 0
    transfer: list[TransferSpec] = Field(default_factory=list)
    pool: PoolSpec | None = None
    reasoner: Literal["auto", "statistical", "language-model", "none"] = "auto"
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("laboratory"), str):
            return {**data, "laboratory": {"name": data["laboratory"]}}
        return data

    @model_validator(mode="after")
    def _amounts(self) -> Spec:
        kinds: dict[str, Kind] = {
            name: "word" if p.values is not None and isinstance(p.values[0], str) else "number"
            for name, p in self.parameters.items()
        }
        for name, consumable in self.consumables.items():
            expression = consumable.expression()
            if expression is not None:
                try:
                    expression.check(kinds, "number")
                except BadExpression as error:
                    said = error.detail.replace("live signal", "parameter")
                    raise ValueError(f"consumable {name}: {said}; {error.remedy}") from error
        return self

    @model_validator(mode="after")
    def _reference(self) -> Spec:
        if self.reference is not None:
            check_reference(self.reference, self.problem(), self.budget.experiments)
        return self

    @model_validator(mode="after")
    def _transfer(self) -> Spec:
        if self.transfer:
            check_transfer(self.transfer, self.problem(), self.planner)
        return self

    @model_validator(mode="after")
    def _design(self) -> Spec:
        if (design := self.design()) is not None:
            try:
                design.check(self.problem())
            except DesignImpossible as error:
                asked = self.planner.runs if isinstance(self.planner, DesignOptions) else None
                left = f". It has the {design.runs} runs that the budget leaves" if design.runs and not asked else ""
                raise ValueError(f"{OF_PLANNER}{error}{left}") from error
        return self

    @model_validator(mode="after")
    def _look_ahead(self) -> Spec:
        if self.look_ahead and self.planner != "bayesian":
            raise ValueError(f"{OF_PLANNER}only the Bayesian planner takes long enough to look ahead; drop look_ahead")
        return self

    @model_validator(mode="after")
    def _pool(self) -> Spec:
        if self.pool is not None and isinstance(self.planner, DesignOptions):
            raise ValueError(f"{OF_POOL}a design makes points of its own; use planner: bayesian, sobol or random")
        if self.pool is not None and self.reasoner != "none" and self.hypotheses.share > 0:
            raise ValueError(
                f"{OF_POOL}hypotheses are tested at points of their own, which a pool does not have; "
                "write reasoner: none"
            )
        if self.pool is not None and self.transfer:
            raise ValueError(f"{OF_POOL}nothing can be taken from earlier data where there is a pool; drop one of them")
        return self

    def left_to_planner(self) -> int:
        """How many experiments of the budget the planner has, when references and tests take all that they may."""
        budget = self.budget.experiments
        references = self.reference.first + self.reference.later(budget) if self.reference is not None else 0
        tests = int(self.hypotheses.share * budget) if self.reasoner != "none" else 0
        return max(0, budget - references - tests)

    def design(self) -> DesignOptions | None:
        """The experimental design that is the planner, None if none is.

        Where it needs a number of runs and the file gives none, it has as many as are left to the planner.
        """
        return self.planner.with_runs(self.left_to_planner()) if isinstance(self.planner, DesignOptions) else None

    def planner_request(self) -> str | dict[str, Any]:
        """The planner as its process is asked for it: a name, or a design with its options."""
        design = self.design()
        return str(self.planner) if design is None else design.model_dump(mode="json", exclude_none=True)

    def problem(self) -> Problem:
        """The planner's view: parameters, objectives and constraints with their units."""
        parameters: list[Continuous | Integer | Ordinal | Categorical] = []
        for name, p in self.parameters.items():
            if p.values is not None:
                if isinstance(p.values[0], str):
                    parameters.append(Categorical(name, [str(v) for v in p.values]))
                else:
                    parameters.append(Ordinal(name, sorted(v for v in p.values if not isinstance(v, str)), unit=p.unit))
            elif p.integer:
                parameters.append(Integer(name, int(p.low or 0), int(p.high or 0), unit=p.unit))
            else:
                assert p.low is not None and p.high is not None
                parameters.append(Continuous(name, p.low, p.high, unit=p.unit, log=p.log))
        objectives = [
            Objective(name, goal=o.goal, target=o.target, unit=o.unit, reference=o.reference)
            for name, o in self.objectives.items()
        ]
        constraints = [c.constraint() for c in self.constraints]
        return Problem(parameters=parameters, objectives=objectives, constraints=constraints)


_REMEDIES = {
    "missing": "add this field",
    "extra_forbidden": "remove it, or check the spelling",
    "literal_error": "use one of the words named",
    "float_parsing": "write a number",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "finite_number": "write a finite number",
    "greater_than": "write a larger number",
    "greater_than_equal": "write a larger number",
    "less_than": "write a smaller number",
    "less_than_equal": "write a smaller number",
    "string_type": "write words, in quotes if YAML takes them for something else",
    "model_type": "write it as {field: value, …}",
    "dict_type": "write it as {name: value, …}",
    "list_type": "write it as [value, …]",
}


def parse(text: str, file: str = "<campaign>") -> Spec:
    """Read a campaign from YAML text.

    Raises:
        SpecError: with every problem, its line, field and remedy.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        document = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        problem = SpecProblem(
            mark.line + 1 if mark else None, "YAML", str(error.problem), "check indentation, colons and quotes"
        )
        raise SpecError(file, [problem]) from error
    except YAMLError as error:
        raise SpecError(file, [SpecProblem(None, "YAML", str(error), "")]) from error
    return validate(document, file)


def validate(document: Any, file: str = "<campaign>") -> Spec:
    """As `parse`, of what was read from YAML already, with the lines that it knows.

    Raises:
        SpecError: with every problem, its line, field and remedy.
    """
    if not isinstance(document, Mapping):
        raise SpecError(
            file, [SpecProblem(1, "document", "is not a mapping", "start with 'name: …' on the first line")]
        )
    try:
        return Spec.model_validate(plain(document))
    except ValidationError as error:
        problems = []
        for item in error.errors():
            path = tuple(key for key in item["loc"] if key in ("laboratory",) or not str(key).startswith("function-"))
            message = item["msg"].removeprefix("Value error, ")
            for checked in (OF_PLANNER, OF_TRANSFER, OF_POOL):
                if not path and message.startswith(checked):  # it was checked against all of the file
                    path, message = (checked.removesuffix(": "),), message.removeprefix(checked)
            problems.append(
                SpecProblem(
                    line_of(document, path),
                    ".".join(str(key) for key in path) or "document",
                    _in_plain_words(item["type"], message, path),
                    _REMEDIES.get(item["type"], ""),
                )
            )
        raise SpecError(file, problems) from error


def _in_plain_words(kind: str, message: str, path: tuple[Any, ...]) -> str:
    """Say what pydantic found without Python's words for it."""
    return {
        "model_type": "is not a mapping of fields",
        "dict_type": "is not a mapping of names",
        "missing": "is missing",
        "extra_forbidden": "is no option of a design" if path[:1] == ("planner",) else "is no field of a campaign",
    }.get(kind, message)


def load(path: Path) -> Spec:
    """Read and check a campaign file.

    Raises:
        SpecError: the file is missing, unreadable or wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        remedy = "make one with: athanor new " + path.name
        raise SpecError(str(path), [SpecProblem(None, "file", "does not exist", remedy)]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(str(path), [SpecProblem(None, "file", f"cannot be read: {error}", "")]) from error
    spec = parse(text, str(path))
    if any(one.table is not None for one in spec.transfer):
        tables = [
            one if one.table is None else one.model_copy(update={"table": str((path.parent / one.table).resolve())})
            for one in spec.transfer
        ]
        spec = spec.model_copy(update={"transfer": tables})
    if spec.laboratory.profile is not None:
        profile = (path.parent / spec.laboratory.profile).resolve()
        spec = spec.model_copy(update={"laboratory": spec.laboratory.model_copy(update={"profile": str(profile)})})
    if spec.pool is not None:
        spec = spec.model_copy(update={"pool": spec.pool.at((path.parent / spec.pool.file).resolve())})
    return spec
