"""What an MQTT message says: its value, its age, its quality; and what a write sends."""

from __future__ import annotations

import json
import time
from typing import Any

from athanor.instruments.protocols.client import (
    Quality,
    Reading,
    Refused,
    SignalError,
    SignalSpec,
    Value,
    WrongType,
    parsed,
    printed,
)
from athanor.instruments.protocols.mqtt_access import Access, Topic
from athanor.instruments.protocols.mqtt_session import Heard
from athanor.instruments.protocols.pointers import (
    json_option,
    moment_of,
    pick,
    pick_option,
    put,
    quality_of,
    value_of,
)

CLOCKS_S = 1.0
"""How far in the future a time may lie: more, and it says nothing."""
SIGNAL_OPTIONS = frozenset(
    ("ask", "ask_payload", "id", "max_age_s", "on_change", "time", "quality", "body", "payload", "retain")
)


def topic_of(signal: SignalSpec, text: str) -> Topic:
    """The topic of an address. Raises `Refused`."""
    try:
        return Topic.parse(text)
    except ValueError as error:
        raise Refused.on(signal, str(error), "correct the address") from error


def check(signal: SignalSpec, access: Access) -> None:
    """Raise `Refused` when the signal's options make no sense."""
    options = signal.options
    if unknown := sorted(options.keys() - SIGNAL_OPTIONS):
        there = ", ".join(sorted(SIGNAL_OPTIONS))
        raise Refused.on(signal, f"no such option: {', '.join(unknown)}", f"there are {there}")
    max_age_s = options.get("max_age_s", 0.0)
    if isinstance(max_age_s, (bool, str)) or max_age_s < 0:
        raise Refused.on(signal, f"its option max_age_s is {max_age_s!r}", "give seconds")
    if options.get("on_change") is True and access.alive is None:
        remedy = "give the controller's option alive"
        raise Refused.on(signal, "with on_change a dead controller would go unnoticed", remedy)
    if "id" in options and "{id}" not in str(options.get("ask_payload", "")):
        raise Refused.on(signal, "its option id has nothing to compare with", "write {id} into ask_payload")


def _document(signal: SignalSpec, heard: Heard) -> Any:
    try:
        return json.loads(heard.payload)
    except ValueError as error:
        raise WrongType.on(signal, f"{heard.payload[:80]!r} is no JSON", "correct the address") from error


def mark_of(signal: SignalSpec, heard: Heard) -> Any:
    """What a reply says it answers; none when it does not say."""
    try:
        return pick_option(signal, _document(signal, heard), "id")
    except SignalError:
        return None


def _stamp(signal: SignalSpec, heard: Heard) -> float | None:
    """The message's own time; none without one."""
    try:
        return moment_of(signal, pick_option(signal, _document(signal, heard), "time"))
    except SignalError:
        return None


def is_fresh(signal: SignalSpec, heard: Heard, began: float) -> bool:
    """Whether a read that began then (monotonic time) may take the message.

    It may when the message came, or by its own time the value was taken, no longer before than the signal allows.
    """
    allowed = signal.options.get("max_age_s")
    if allowed is not None and "time" in signal.options:
        stamp = _stamp(signal, heard)
        now = time.time()
        return stamp is not None and now - (time.monotonic() - began) - float(allowed) <= stamp <= now + CLOCKS_S
    return not heard.is_retained and heard.arrived >= began - float(allowed or 0)


def age_of(signal: SignalSpec, heard: Heard) -> str:
    """How old a retained message is, in words."""
    stamp = _stamp(signal, heard) if "time" in signal.options else None
    if stamp is None:
        return "retained by the broker, of unknown age"
    return f"retained by the broker, by its own time {time.time() - stamp:.1f} s old"


def reading_of(signal: SignalSpec, topic: Topic, heard: Heard) -> Reading:
    """What a message says. Raises `SignalError`."""
    moment, quality, detail = heard.moment, Quality.GOOD, ""
    if not topic.is_json and not signal.options.keys() & {"time", "quality"}:
        try:
            return Reading(parsed(signal, heard.payload.decode()), moment)
        except UnicodeDecodeError as error:
            raise WrongType.on(signal, f"{heard.payload[:80]!r} is no text", "correct the address") from error
    document = _document(signal, heard)
    if "time" in signal.options:
        moment = moment_of(signal, pick_option(signal, document, "time"))
    if "quality" in signal.options:
        quality, detail = quality_of(pick_option(signal, document, "quality"))
    return Reading(value_of(signal, pick(signal, document, topic.pointer)), moment, quality, detail)


def payload_of(signal: SignalSpec, topic: Topic, value: Value) -> bytes:
    """What a write sends."""
    if not topic.is_json:
        template = str(signal.options.get("payload", "{value}"))
        return template.replace("{value}", printed(signal, value)).encode()
    try:
        body = put(json_option(signal, "body"), topic.pointer, value) if topic.pointer else value
        return json.dumps(body, allow_nan=False).encode()
    except ValueError as error:
        raise WrongType.on(signal, f"{value!r} has no JSON", "write a finite number") from error
