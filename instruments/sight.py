"""A profile as far as it can be read: everything that is wrong in it at once, and every part that is right.

`load_profile` takes a profile whole or not at all, and some of what it checks only when the rest is right. Here each
part is judged by itself, so that one bad line hides neither the others nor the sound devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from athanor.instruments import profile as profiles
from athanor.instruments.interlocks import InterlockSpec, LiveSpec, faults
from athanor.instruments.laboratory import WIRED
from athanor.instruments.profile import (
    AxisSpec,
    DetectorSpec,
    OutcomeSpec,
    Profile,
    ProfileError,
    ProfileProblem,
    load_profile,
    parse_profile,
)
from athanor.instruments.protocols.wiring import (
    AxisWiring,
    ControllerSpec,
    DetectorWiring,
    DeviceWiring,
    PrepareWiring,
    disagreements,
)
from athanor.instruments.yaml_tree import line_of, plain

Place = tuple[int | str, ...]
Trouble = tuple[Place, str, str]

_MAPPINGS: dict[str, Any] = {
    "axes": AxisSpec,
    "detectors": DetectorSpec,
    "outcomes": OutcomeSpec,
    "controllers": ControllerSpec,
    "devices": DeviceWiring,
    "signals": LiveSpec,
}
_LISTS: dict[str, Any] = {"prepare": PrepareWiring, "interlocks": InterlockSpec}


@dataclass(frozen=True)
class Sight:
    """What was seen of a profile.

    `profile` is the sound profile, None when there are `problems`; `parts` is one made of the sound parts alone, never
    to be run with, None when nothing could be read. An axis or detector whose own entry is wrong is in `aside`; in
    `parts` it has no limits, and can only be read. `problems` stand in the order of the file.
    """

    source: str
    profile: Profile | None
    parts: Profile | None
    problems: list[ProfileProblem] = field(default_factory=list)
    aside: frozenset[str] = frozenset()


def sight_of(profile: Profile, source: str) -> Sight:
    """The sight of a profile that was read already; what only a check finds in it becomes a problem."""
    content = profile.model_dump(mode="json")
    problems = _problems(source, content, _beyond(profile))
    return Sight(source, profile if not problems else None, profile, problems)


def look(path: Path) -> Sight:
    """What a profile file says, as far as it can be read. Never raises for what stands in it."""
    source = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        try:
            load_profile(path)
        except ProfileError as error:
            return Sight(source, None, None, error.problems)
        raise
    return look_at(text, source)


def look_at(text: str, source: str = "<profile>") -> Sight:
    """What the text of a profile says, as far as it can be read. Never raises for what stands in it."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    profile, problems = None, []
    try:
        profile = parse_profile(text, source)
    except ProfileError as error:
        problems = error.problems
    try:
        tree = YAML(typ="rt", pure=True).load(text)
    except YAMLError:
        return Sight(source, None, None, problems)
    if not isinstance(tree, dict):
        return Sight(source, None, None, problems)
    parts, found = _parts(plain(tree))
    # What the whole says without a place of its own, the parts say with one.
    problems = [problem for problem in problems if problem.field] or problems
    for problem in _problems(source, tree, found):
        if (problem.field, problem.detail) not in {(known.field, known.detail) for known in problems}:
            problems.append(problem)
    placed = [problem for problem in problems if problem.field]
    problems = sorted(placed or problems, key=lambda problem: problem.line or 0)
    aside = _keys(tree, "axes") + _keys(tree, "detectors")
    bad = frozenset(name for name in aside if (name not in parts.axes and name not in parts.detectors))
    return Sight(source, None if problems else profile, _readable(parts, plain(tree)), problems, bad)


def _problems(source: str, tree: Any, found: list[Trouble]) -> list[ProfileProblem]:
    return [
        ProfileProblem(
            source=source,
            line=line_of(tree, place),
            field=".".join(str(part) for part in profiles._named(tree, place)),
            detail=detail,
            remedy=remedy,
        )
        for place, detail, remedy in found
    ]


def _parts(content: dict[str, Any]) -> tuple[Profile, list[Trouble]]:
    """The sound parts of a profile, and all that is wrong with it."""
    found: list[Trouble] = []
    values: dict[str, Any] = {}
    numbers: dict[str, list[int]] = {}
    for name, model in Profile.model_fields.items():
        if name in _MAPPINGS:
            values[name] = dict(_entries(name, content.get(name), _MAPPINGS[name], found))
            if model.is_required() and not content.get(name):
                found.append(((name,), "nothing is given", "add this section"))
        elif name in _LISTS:
            given = content.get(name)
            pairs = dict(enumerate(given)) if isinstance(given, list) else given
            sound = list(_entries(name, pairs, _LISTS[name], found))
            values[name] = tuple(part for _, part in sound)
            numbers[name] = [number for number, _ in sound]
    scalars = {name: value for name, value in content.items() if name not in _MAPPINGS and name not in _LISTS}
    stand_in = Profile.model_construct(name="unnamed", laboratory=WIRED, simulated=False, **values)
    good = {name: scalars[name] for name in ("title", "reduction") if isinstance(scalars.get(name), str)}
    for name in ("name", "laboratory"):
        if isinstance(scalars.get(name), str) and profiles.NAME.fullmatch(scalars[name]):
            good[name] = scalars[name]
    if isinstance(scalars.get("simulated"), bool):
        good["simulated"] = scalars["simulated"]
    parts = stand_in.model_copy(update=good)
    profiles.grant_patience(parts)
    for (section, *rest), detail, remedy in _between(parts, content):
        if section in numbers and rest and isinstance(rest[0], int):
            rest[0] = numbers[section][rest[0]]  # those put aside before it count in the file
        found.append(((section, *rest), detail, remedy))
    found.extend(_beyond(parts, content))
    return parts, found


def _readable(parts: Profile, content: Mapping[str, Any]) -> Profile:
    """The sound parts, with what is needed besides to read the axes and detectors that are put aside."""
    axes, detectors = dict(parts.axes), dict(parts.detectors)
    for name, entry in _items(content, "axes"):
        if name not in axes:
            unit, allowed = (entry.get(key) if isinstance(entry, Mapping) else None for key in ("unit", "allowed"))
            words = (
                tuple(dict.fromkeys(one for one in allowed if isinstance(one, str)))
                if isinstance(allowed, list)
                else ()
            )
            axes[name] = AxisSpec(unit=unit if isinstance(unit, str) else None, allowed=words or None)
    for name, entry in _items(content, "detectors"):
        if name not in detectors and (signals := dict(_items(entry, "signals"))):
            units = {signal: unit if isinstance(unit, str) else None for signal, unit in signals.items()}
            detectors[name] = DetectorSpec(signals=units)
    devices = {
        name: wiring
        for name, wiring in parts.devices.items()
        if (name in axes and not isinstance(wiring, DetectorWiring))
        or (name in detectors and not isinstance(wiring, AxisWiring))
    }
    return parts.model_copy(update={"axes": axes, "detectors": detectors, "devices": devices})


def _entries(section: str, given: Any, model: Any, found: list[Trouble]) -> Iterator[tuple[Any, Any]]:
    """The sound entries of a section by name or number; what is wrong with the others is added to `found`."""
    if given is None:
        return
    if not isinstance(given, Mapping):
        found.append(((section,), "not a mapping", "write `name: {...}` below it"))
        return
    for name, entry in given.items():
        try:
            yield name, TypeAdapter(model).validate_python(entry)
        except ValidationError as error:
            for each in error.errors(include_url=False):
                place = profiles._untagged((section, name, *each["loc"]))
                found.append((place, each["msg"].removeprefix("Value error, "), profiles._remedy(each)))


def _between(parts: Profile, content: Mapping[str, Any]) -> Iterator[Trouble]:
    """What in the sections does not fit together; nothing that is said only because a part is put aside."""
    named = {name: set(_keys(content, name)) for name in _MAPPINGS}
    used = {
        entry.get("controller")
        for section in ("devices", "signals")
        for entry in _values(content, section)
        if isinstance(entry, Mapping)
    }
    units = {name: axis.unit for name, axis in parts.axes.items()}
    signals = {name: detector.signals for name, detector in parts.detectors.items()}
    for place, detail, remedy in disagreements(
        parts.controllers, parts.devices, units, signals, parts.prepare, {str(name) for name in used}
    ):
        is_aside = (
            (place == ("devices",) and detail.removesuffix(" is not wired") in named["devices"])
            or ("there is no controller" in detail and detail.split("'")[1] in named["controllers"])
            or (
                "is neither an axis nor a detector" in detail
                and detail.split(" is neither")[0] in named["axes"] | named["detectors"]
            )
        )
        if not is_aside:
            yield place, detail, remedy
    yield from _signals_twice(parts)
    known = {signal for entry in _values(content, "detectors") for signal in _keys(entry, "signals")}
    for name, outcome in parts.outcomes.items():
        if outcome.signal not in known:
            said = f"there is no signal {outcome.signal!r} in any detector"
            yield ("outcomes", name, "signal"), said, f"use one of: {', '.join(sorted(known)) or 'none is given'}"
    yield from parts._unreadable()
    yield from parts._adrift()
    if content.get("laboratory") == WIRED and not content.get("devices"):
        yield ("laboratory",), "nothing says how a wired instrument is reached", "add `devices:`"
    measured = {name for detector in parts.detectors.values() for name in detector.signals}
    live = dict(parts.live())
    for name in (named["axes"] | named["signals"]) - parts.axes.keys() - parts.signals.keys():
        live[name] = "number"  # it is put aside: that an interlock names it is no mistake of the interlock
    yield from faults(parts.interlocks, live, measured)


def _signals_twice(parts: Profile) -> Iterator[Trouble]:
    seen: dict[str, str] = {}
    for name, detector in parts.detectors.items():
        for signal in detector.signals:
            if signal in seen:
                yield ("detectors", name, "signals", signal), f"detector {seen[signal]} has it too", "rename one"
            seen.setdefault(signal, name)


def _beyond(parts: Profile, content: Mapping[str, Any] | None = None) -> list[Trouble]:
    """What a profile may say and still be wrong: units that differ, two axes on one signal."""
    found: list[Trouble] = []
    units = {name: unit for detector in parts.detectors.values() for name, unit in detector.signals.items()}
    for name, outcome in parts.outcomes.items():
        unit = units.get(outcome.signal)
        # Another reduction may well change the unit.
        is_same = parts.reduction != "mean" or outcome.signal not in units or outcome.unit in (None, unit)
        if not is_same:
            said = f"it is in {outcome.unit}, its signal {outcome.signal} in {unit or 'no unit'}"
            found.append((("outcomes", name, "unit"), said, "give both the same unit"))
    addresses: dict[tuple[str, str, str, str], str] = {}
    for name, wiring in parts.devices.items():
        if not isinstance(wiring, AxisWiring):
            continue
        back = wiring.readback
        for part, signal, address in (
            ("setpoint", wiring.setpoint, wiring.setpoint.write),
            ("readback", back, back.read if back is not None else None),
        ):
            if address is None or signal is None:
                continue
            key = (part, wiring.controller, address, repr(sorted(signal.options.items())))
            if key in addresses:
                said = f"axis {addresses[key]} has the same signal: {address}"
                found.append((("devices", name, part), said, "give each axis its own"))
            addresses.setdefault(key, name)
    return found


def _keys(node: Any, name: str) -> list[str]:
    given = node.get(name) if isinstance(node, Mapping) else None
    return [str(key) for key in given] if isinstance(given, Mapping) else []


def _items(node: Any, name: str) -> list[tuple[str, Any]]:
    given = node.get(name) if isinstance(node, Mapping) else None
    return [(str(key), value) for key, value in given.items()] if isinstance(given, Mapping) else []


def _values(node: Any, name: str) -> list[Any]:
    given = node.get(name) if isinstance(node, Mapping) else None
    return list(given.values()) if isinstance(given, Mapping) else []
