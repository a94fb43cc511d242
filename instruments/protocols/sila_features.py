"""What a SiLA server offers: features, their properties and commands, and how values and errors stand in messages."""

from __future__ import annotations

import base64
import re
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from athanor.instruments.protocols.client import Refused, SignalSpec, Value, WrongType, library
from athanor.instruments.protocols.fitting import bounds, flag, real, whole
from athanor.instruments.protocols.pointers import json_option, put, steps

KINDS = ("call", "status", "result")
_LOADING = threading.Lock()  # the library compiles a definition with changes to sys.path
_LOADED: dict[str, str] = {}
"""The messages of every feature that this process knows by their package; it can know only one definition of each."""
PACKAGE = re.compile(r"^package ([\w.]+);", re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/|\s+", re.DOTALL)


@dataclass(frozen=True)
class Address:
    """A signal's address in parts: `kind` is empty, or `call`, `status`, `result`."""

    kind: str
    feature: str
    member: str
    pointer: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raise `ValueError` when it makes no sense."""
        place, _, pointer = text.partition("#")
        kind, colon, name = place.partition(":")
        if not colon:
            kind, name = "", place
        feature, dot, member = name.rpartition(".")
        if (colon and kind not in KINDS) or not dot or not feature or not member.isidentifier():
            raise ValueError(f"{text!r} is no address; write for example `Stage.Position` or `status:Stage.MoveTo`")
        return cls(kind, feature, member, steps(pointer))


@dataclass
class Features:
    """The features of one server by their full names; `broken` are those that the library cannot read, and why."""

    sound: dict[str, Any] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def member(self, signal: SignalSpec, address: Address) -> Any:
        """The library's property or command. Raises `Refused`."""
        wanted = address.feature
        found = [name for name in (*self.sound, *self.broken) if wanted in (name, _short(name))]
        if len(found) > 1:
            raise Refused.on(signal, f"the server has several features {wanted}", f"write one of: {', '.join(found)}")
        if not found:
            known = ", ".join(sorted(_short(name) for name in self.sound))
            raise Refused.on(signal, f"the server has no feature {wanted}", f"use one of: {known}")
        if found[0] in self.broken:
            raise Refused.on(
                signal, f"feature {found[0]} is unusable: {self.broken[found[0]]}", "see the server's vendor"
            )
        try:
            return self.sound[found[0]][address.member]
        except KeyError as error:
            raise Refused.on(
                signal, f"feature {wanted} has no property or command {address.member}", "correct the address"
            ) from error


def _short(name: str) -> str:
    """The identifier in a feature's full name."""
    return name.split("/")[-2] if "/" in name else name


def load(definitions: Iterable[tuple[str, str]], name: str) -> Features:
    """Compile (full name, definition) pairs; blocks for a few hundredths of a second each. Raises `MissingLibrary`."""
    feature = library("sila2.framework.feature", "sila", name)
    utils = library("sila2.framework.utils", "sila", name)
    core = library("sila2.features.silaservice", "sila", name).SiLAServiceFeature
    features = Features()

    def compiled(node: Any) -> Any:
        """The library's own way, but in a file that is named by the feature's full name.

        By its mere identifier one vendor's feature would be taken for another's: real numbers for whole ones.
        """
        text = utils.feature_definition_to_proto_string(node)
        package = PACKAGE.findall(text)[0]
        if _LOADED.setdefault(package, COMMENT.sub("", text)) != COMMENT.sub("", text):
            raise ValueError("another server defined it otherwise, and one process cannot hold both")
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"{package.replace('.', '_')}.proto")
            file.write_text(text, encoding="utf-8")
            return utils.run_protoc(str(file))

    with _LOADING:
        own_way, feature.feature_definition_to_modules = feature.feature_definition_to_modules, compiled
        try:
            for full_name, text in definitions:
                try:
                    if full_name == core.fully_qualified_identifier:
                        features.sound[full_name] = core
                    elif text.lstrip("\ufeff").startswith("<"):
                        features.sound[full_name] = feature.Feature(text)
                    else:  # the library would take it for the path of a file
                        raise ValueError("its definition is no XML")
                except Exception as error:  # noqa: BLE001 - one bad feature does not hide the rest
                    features.broken[full_name] = f"{type(error).__name__}: {error}"[:200]
        finally:
            feature.feature_definition_to_modules = own_way
    return features


def is_property(member: Any) -> bool:
    """Whether it is a property; a command otherwise."""
    return hasattr(member, "parameter_message_type")


def is_command(member: Any) -> bool:
    """Whether it is a command; a property or metadata otherwise."""
    return hasattr(member, "parameters")


def is_observable(member: Any) -> bool:
    """Whether the server tells of its changes."""
    return type(member).__name__.startswith("Observable")


def request(signal: SignalSpec, command: Any, pointer: tuple[str, ...], value: Value | None) -> Any:
    """The message that starts a command: with the value as its only parameter, or as the one at the pointer.

    Without parameters the value is of no matter. Further ones are in the signal's option `parameters`. Raises
    `SignalError` when they do not suit the command.
    """
    fields = {field._identifier: field for field in command.parameters.fields}
    arguments = json_option(signal, "parameters")
    if pointer and pointer[0] not in fields:
        raise Refused.on(signal, f"the command has no parameter {pointer[0]}", f"use one of: {', '.join(fields)}")
    if not pointer and value is not None and (open_ones := fields.keys() - arguments.keys()):
        if len(open_ones) > 1:
            raise Refused.on(
                signal,
                f"the command takes several parameters: {', '.join(sorted(open_ones))}",
                "name one behind `#/` in the address, and give the others in the option parameters",
            )
        pointer = (next(iter(open_ones)),)
    if pointer and value is not None:
        kind = fields[pointer[0]].data_type if len(pointer) == 1 else None
        arguments = put(arguments, pointer, value if kind is None else fitted(signal, kind, value))
    try:
        return command.parameters.to_message(**arguments)
    except Exception as error:
        raise Refused.on(
            signal,
            f"{arguments!r:.200} does not suit the command: {error}",
            "narrow the limits, or correct the address",
        ) from error


def fitted(signal: SignalSpec, kind: Any, value: Value) -> Value:
    """The value as one of the library's type `kind`. Raises `WrongType`."""
    while hasattr(kind, "base_type") or hasattr(kind, "data_type"):
        kind = kind.base_type if hasattr(kind, "base_type") else kind.data_type
    name = type(kind).__name__
    if name == "Real":
        return real(signal, value, name)
    if name == "Integer":
        return whole(signal, value, *bounds(64, is_signed=True), name)
    if name == "Boolean":
        return flag(signal, value, name)
    if name == "String" and isinstance(value, str):
        return value
    raise WrongType.on(signal, f"{value!r:.80} does not fit {name}", "correct `type:` or the address")


def plain(content: Any) -> Any:
    """A value of the library as JSON has it: structures as objects, times in Unix seconds."""
    if isinstance(content, tuple) and hasattr(content, "_asdict"):
        return {name: plain(part) for name, part in content._asdict().items()}
    if isinstance(content, list):
        return [plain(part) for part in content]
    if isinstance(content, datetime):
        return content.timestamp()
    return content


@dataclass(frozen=True)
class Said:
    """An error in the server's words; `is_running` when a command is merely not over yet."""

    detail: str
    remedy: str = "look at the server"
    is_certain: bool = False
    is_running: bool = False


def said(details: str, name: str) -> Said | None:
    """The SiLA error in the text of an aborted call; none when there is none."""
    messages = library("sila2.framework.pb2.SiLAFramework_pb2", "sila", name)
    garbled = library("google.protobuf.message", "sila", name).DecodeError
    try:
        error = messages.SiLAError.FromString(base64.b64decode(details, validate=True))
    except (ValueError, garbled):
        return None
    which = error.WhichOneof("error")
    if which == "validationError":
        parameter = error.validationError.parameter.rsplit("/", 1)[-1]
        return Said(
            f"it rejects {parameter}: {error.validationError.message}", "narrow the limits to the server's", True
        )
    if which == "definedExecutionError":
        identifier = error.definedExecutionError.errorIdentifier.rsplit("/", 1)[-1]
        return Said(f"{identifier}: {error.definedExecutionError.message}")
    if which == "undefinedExecutionError":
        return Said(error.undefinedExecutionError.message)
    if which == "frameworkError":
        kind = messages.FrameworkError.ErrorType.Name(error.frameworkError.errorType)
        words = f"{kind.lower().replace('_', ' ')}: {error.frameworkError.message}"
        remedy = {
            "COMMAND_EXECUTION_NOT_ACCEPTED": "see what the server is busy with",
            "INVALID_COMMAND_EXECUTION_UUID": "the server has forgotten the command; start it again",
            "INVALID_METADATA": "it wants client metadata (a lock, a login), which is not supported; free it of that",
        }.get(kind, "look at the server")
        return Said(words, remedy, is_certain=True, is_running=kind == "COMMAND_EXECUTION_NOT_FINISHED")
    return None
