"""JSON pointers: where in a structured message a value stands, and what a service says of its quality."""

from __future__ import annotations

import json
from typing import Any

from athanor.instruments.protocols.client import Quality, Refused, SignalSpec, Value, WrongType, typed


def steps(pointer: str) -> tuple[str, ...]:
    """The steps of a pointer, `/a/0/b`; none of an empty one."""
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])


def pick(signal: SignalSpec, document: Any, pointer: tuple[str, ...]) -> Any:
    """What stands at a pointer. Raises `Refused`."""
    for depth, step in enumerate(pointer):
        try:
            document = document[int(step)] if isinstance(document, list) else document[step]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            place = "/".join(pointer[: depth + 1])
            raise Refused.on(signal, f"the answer has nothing at /{place}", "correct the address") from error
    return document


def pick_option(signal: SignalSpec, document: Any, option: str) -> Any:
    """What stands at the pointer that an option of the signal gives. Raises `Refused`."""
    return pick(signal, document, steps(str(signal.options[option])))


def put(body: dict[str, Any], pointer: tuple[str, ...], value: Value) -> dict[str, Any]:
    """The body with the value at the pointer."""
    document = dict(body)
    here = document
    for step in pointer[:-1]:
        inner = here.get(step)
        here[step] = dict(inner) if isinstance(inner, dict) else {}
        here = here[step]
    if pointer:
        here[pointer[-1]] = value
    return document


def json_option(signal: SignalSpec, option: str) -> dict[str, Any]:
    """The JSON object that an option of the signal gives as text; empty without it. Raises `Refused`."""
    text = signal.options.get(option, "{}")
    try:
        body = json.loads(str(text))
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refused.on(signal, f"its option {option} is {text!r}, no JSON object", "correct the profile")
    return body


def value_of(signal: SignalSpec, raw: Any) -> Value | None:
    """A picked value as one of the signal's type; none for none. Raises `WrongType`."""
    return None if raw is None else typed(signal, raw)


def moment_of(signal: SignalSpec, raw: Any) -> float:
    """A picked time in Unix seconds. Raises `WrongType`."""
    try:
        return float(typed(signal.model_copy(update={"type": "float"}), raw))
    except WrongType as error:
        raise WrongType.on(signal, f"its time is no number: {error.detail}", "correct the option time") from error


def quality_of(word: Any) -> tuple[Quality, str]:
    """A picked quality: `good`, `uncertain` or `bad`, or whether it is good; anything else is bad."""
    if isinstance(word, bool):
        return (Quality.GOOD if word else Quality.BAD), f"the service says {word}"
    known = {quality.value: quality for quality in Quality}
    return known.get(str(word).lower(), Quality.BAD), f"the service says {str(word)[:80]!r}"
