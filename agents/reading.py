"""Read a campaign's file for somebody who is still writing it: everything that is wrong with it, in one answer.

`athanor.agents.spec.parse` ends at the first kind of fault: what has the wrong shape is told, and whether the rest fits
the instrument only once all shapes are right. Here the faulty parts are left out, and the rest is looked at all the
same.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from athanor.agents import fitting
from athanor.agents.spec import Spec, SpecError, SpecProblem, validate
from athanor.instruments.yaml_tree import line_of, plain

if TYPE_CHECKING:
    from athanor.instruments.profile import Profile
    from athanor.memory.ledger import Ledger

LONGEST = 30_000
"""Characters of a campaign's file that are read."""
MOST_PARTS = 5000
"""Of so many parts (keys, values, lists, mappings) a file may be made: reading them keeps other threads waiting."""
LARGEST = 10**308
"""The largest whole number: larger ones are no numbers to an instrument, and take long to write."""
DEEPEST = 40
"""How deep the levels of a file may lie in one another."""
NAMED = ("parameters", "objectives", "consumables")
NAMING = frozenset({"constraints", "stop", "reference", "transfer"})
"""Parts that name parameters or objectives."""
STAND_INS: dict[str, Any] = {"name": "?", "question": "?", "budget": {"experiments": 100}}


@dataclass(frozen=True)
class Reading:
    """What a text says. `spec` is None while something is wrong; `document` is it as plain values, where it is YAML."""

    spec: Spec | None
    profile: Profile | None
    problems: tuple[SpecProblem, ...]
    document: dict[str, Any] | None


def read(text: str, folders: tuple[Path, ...], ledger: Ledger | None = None) -> Reading:
    """Read a campaign from a text that came from elsewhere. Never raises for what is in it.

    Args:
        text: YAML.
        folders: where profiles may lie that it names; a relative path is one below the first of them that has it.
        ledger: whose samples and stocks it may name; None: those are not looked at.
    """
    if problem := _unreadable(text):
        return Reading(None, None, (problem,), None)
    tree, problem = _tree(text)
    if problem is not None:
        return Reading(None, None, (problem,), None)
    problems: list[SpecProblem] = []
    document = plain(tree) if isinstance(tree, Mapping) else None
    spec: Spec | None = None
    partial: Spec | None = None
    left_out: set[str] = set()
    try:
        spec = partial = validate(tree)
    except SpecError as error:
        problems += error.problems
        cause = error.__cause__
        if document is not None and isinstance(cause, ValidationError):
            partial, left_out = _without(document, cause)
    if partial is None:
        return Reading(None, None, tuple(problems), document)
    placed, problem = _placed(partial, folders, tree)
    placed, of_pool = _pool(placed, folders, tree)
    problems += of_pool
    given = partial.laboratory.profile
    if problem is not None:
        return Reading(None, None, (*problems, problem), document)
    profile, found = _fit(placed, tree, ledger, given)
    problems += [one for one in found if not _is_of(one.field, left_out, problems)]
    is_whole = spec is not None and not problems
    return Reading(placed if is_whole else None, profile, tuple(sorted(problems, key=_place)), document)


def _place(problem: SpecProblem) -> int:
    return problem.line if problem.line is not None else 1 << 30


def unreadable(text: str) -> str | None:
    """Say why a text is not looked at as YAML at all, None when it is."""
    problem = _unreadable(text)
    return None if problem is None else problem.message


def _unreadable(text: str) -> SpecProblem | None:
    """Why a text is not looked at: it could be made to take all memory or time."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

    if len(text) > LONGEST:
        return SpecProblem(None, "file", f"it has {len(text)} characters", f"up to {LONGEST} are read")
    depth = parts = 0
    try:
        for event in YAML(typ="rt", pure=True).parse(text):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            line = event.start_mark.line + 1
            if depth > DEEPEST:
                return SpecProblem(line, "YAML", f"more than {DEEPEST} levels in one another", "write it flatter")
            parts += not isinstance(event, CollectionEndEvent)
            if parts > MOST_PARTS:
                remedy = "write a shorter file, with `low` and `high` instead of long lists"
                return SpecProblem(line, "YAML", f"it has more than {MOST_PARTS} parts", remedy)
            if isinstance(event, AliasEvent):
                return SpecProblem(line, "YAML", "an alias (*) is not understood here", "write it out")
    except YAMLError:
        return None  # `_tree` says it in its words
    except (RecursionError, ValueError) as error:
        return SpecProblem(None, "YAML", f"it cannot be read: {error}", "")
    return None


def _tree(text: str) -> tuple[Any, SpecProblem | None]:
    """What is in a text, with its lines, or why that cannot be read."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError

    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        return None, SpecProblem(line, "YAML", str(error.problem), "check indentation, colons and quotes")
    except Exception as error:  # noqa: BLE001 - a number of 90,000 digits, a date of month 99, tags that fit nothing
        return None, SpecProblem(None, "YAML", f"it cannot be read: {str(error)[:200]}", "write it in plain values")
    if path := _too_large(tree):
        said = "no instrument understands a number that large"
        return None, SpecProblem(line_of(tree, path), ".".join(map(str, path)), said, "correct the number")
    return tree, None


def _too_large(node: Any, path: tuple[int | str, ...] = ()) -> tuple[int | str, ...] | None:
    """Where a whole number is too large, None where none is. The levels were counted before."""
    if isinstance(node, int) and abs(node) > LARGEST:
        return path or ("document",)
    inside: Any = ()
    if isinstance(node, Mapping):
        inside = [*((name, name) for name in node), *node.items()]
    elif isinstance(node, list | tuple | Set):
        inside = enumerate(node)
    for name, value in inside:
        shown = "…" if isinstance(name, int) and abs(name) > LARGEST else name
        if found := _too_large(value, (*path, shown)):
            return found
    return None


def _without(document: dict[str, Any], error: ValidationError) -> tuple[Spec | None, set[str]]:
    """What is left of a campaign without its faulty parts, and which those are; None when too little is left."""
    data: dict[str, Any] = {**document}
    for name in NAMED:
        if isinstance(data.get(name), dict):
            data[name] = dict(data[name])
    left_out: set[str] = set()
    for item in error.errors():
        path = [str(part) for part in item["loc"]]
        if not path:  # of the whole: something that names another part
            left_out |= {"consumables", "reference", "transfer"}
        elif path[0] in NAMED and len(path) > 1:
            left_out.add(f"{path[0]}.{path[1]}")
        else:
            left_out.add(path[0])
    for name in left_out:
        head, _, tail = name.partition(".")
        if tail and isinstance(data.get(head), dict):
            data[head].pop(tail, None)
        elif head in STAND_INS:
            data[head] = STAND_INS[head]
        else:
            data.pop(head, None)
    if any(one.partition(".")[0] in ("parameters", "objectives") for one in left_out):  # others may name those
        data = {name: value for name, value in data.items() if name not in NAMING}
        left_out |= NAMING
    try:
        return Spec.model_validate(data), left_out
    except ValidationError:
        return None, left_out


def _is_of(field: str, left_out: set[str], problems: list[SpecProblem]) -> bool:
    """Whether a fault is about a part that was left out, or was told already."""
    if any(field == name or field.startswith(f"{name}.") for name in left_out):
        return True
    return any(one.field == field for one in problems)


def _placed(spec: Spec, folders: tuple[Path, ...], tree: Any) -> tuple[Spec, SpecProblem | None]:
    """The campaign with the full path of its profile, which must lie in one of the folders."""
    from athanor.instruments.profile import is_profile_file

    given = spec.laboratory.profile
    if given is None:
        return spec, None
    roots = [folder.resolve() for folder in folders]
    try:
        tried = [Path(given).resolve()] if Path(given).is_absolute() else [(root / given).resolve() for root in roots]
    except (OSError, ValueError, RuntimeError):  # no file can have such a name
        tried = []
    for path in tried:
        if is_profile_file(path) and any(path.is_relative_to(root) for root in roots):
            laboratory = spec.laboratory.model_copy(update={"profile": str(path)})
            return spec.model_copy(update={"laboratory": laboratory}), None
    # Whether there is such a file elsewhere is not told.
    remedy = "put it there, as a .yaml file of 1 MB at most, or use `athanor run`"
    message = f"there is no profile {given} in the folders of this site"
    line = line_of(tree, ("laboratory", "profile"))
    return spec, SpecProblem(line, "laboratory.profile", message, remedy)


def _transfer(spec: Spec, profile: Profile, ledger: Ledger | None, tree: Any) -> list[SpecProblem]:
    """What is wrong with earlier data. A text that came from elsewhere may not name files of this computer."""
    from athanor.agents.transfer import read_sources

    tables = [(place, one) for place, one in enumerate(spec.transfer) if one.table is not None]
    if tables:
        remedy = "use `athanor run` on the computer that has it, or name a campaign of this ledger"
        return [
            SpecProblem(line_of(tree, ("transfer", place)), f"transfer.{place}.table", "no table is read here", remedy)
            for place, _ in tables
        ]
    return read_sources(spec, profile, ledger, lambda path: line_of(tree, path))[1] if spec.transfer else []


def _pool(spec: Spec, folders: tuple[Path, ...], tree: Any) -> tuple[Spec, list[SpecProblem]]:
    """The campaign with the full path of its pool, which must lie in one of the folders, and what is wrong with it.

    Only its header is looked at: all of it is read when the campaign begins.
    """
    from athanor.agents.pools import PoolFileError, glance

    if spec.pool is None:
        return spec, []
    line = line_of(tree, ("pool",))
    roots = [folder.resolve() for folder in folders]
    for root in roots:
        try:
            path = (root / spec.pool.file).resolve()
            is_there = (
                path.suffix.lower() == ".csv" and path.is_file() and any(path.is_relative_to(one) for one in roots)
            )
        except (OSError, ValueError, RuntimeError):  # no file can have such a name
            continue
        if is_there and path.suffix.lower() == ".csv":
            placed = spec.model_copy(update={"pool": spec.pool.at(path)})
            try:
                glance(placed.pool or spec.pool, spec.problem())
            except PoolFileError as error:
                return placed, [SpecProblem(line, "pool", str(error).replace(str(path), spec.pool.file), "")]
            except ValueError:  # of the parameters, which is told in its place
                return placed, []
            return placed, []
    remedy = "put it there, as .csv, or use `athanor run`"
    return spec, [SpecProblem(line, "pool", f"there is no file {spec.pool.file} in the folders of this site", remedy)]


def _fit(spec: Spec, tree: Any, ledger: Ledger | None, given: str | None) -> tuple[Profile | None, list[SpecProblem]]:
    from athanor.agents.needs import check_needs
    from athanor.agents.reasoners.endpoint import ModelNotConfigured, ModelSettings
    from athanor.instruments.laboratory import UnknownLaboratory
    from athanor.instruments.profile import ProfileError

    try:
        profile, problems = fitting.examine(spec, document=tree)
    except (ProfileError, UnknownLaboratory) as error:
        if isinstance(error, ProfileError) and given is not None:
            error = error.naming(given)
        line = line_of(tree, ("laboratory",))
        return None, [SpecProblem(line, "laboratory.profile", str(error), "put the instrument's profile right")]
    if profile is not None:
        problems += _transfer(spec, profile, ledger, tree)
    if profile is not None and ledger is not None:
        problems += [
            SpecProblem(line_of(tree, tuple(field.split("."))), field, message, remedy)
            for field, message, remedy in check_needs(spec, ledger, profile.name)
        ]
    if spec.reasoner in ("auto", "language-model"):
        try:
            ModelSettings.from_environment(required=spec.reasoner == "language-model")
        except ModelNotConfigured as error:
            problems.append(SpecProblem(line_of(tree, ("reasoner",)), "reasoner", str(error), ""))
    return profile, problems
