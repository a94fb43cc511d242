"""HTTP with JSON: any service that answers with JSON, and MADSci-style nodes with actions and admin verbs.

The controller's address is the base URL. A signal's address is `[METHOD ]/path[#/json/pointer]`: a read gets the path
and picks the value there; a write puts the value there into the body (default `PUT`). For a node, instead of a path:
    action:NAME[#/argument]   write: creates the action with the value as that argument, and starts it
    status:NAME               read: of the action started last; as `bool` whether it is over, an error when it failed
    result:NAME[#/pointer]    read: what that action gave
    admin:VERB                write: `cancel`, `safety_stop`, `reset`, ... ; the value is of no matter

Options of the controller: `probe`, the path asked on connecting (default `/`; any answer is one), and `token_env`, the
environment variable that holds a bearer token. Options of a signal: `body`, JSON text that is sent besides the value;
`time` and `quality`, pointers to the value's Unix time and to `good`, `uncertain` or `bad` (or true and false).
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from athanor.instruments.protocols.client import (
    NotConnected,
    Option,
    Quality,
    Reading,
    Refused,
    SignalSpec,
    Value,
    WrongType,
    late,
    library,
    typed,
)
from athanor.instruments.protocols.pointers import (
    json_option,
    moment_of,
    pick,
    pick_option,
    put,
    quality_of,
    steps,
    value_of,
)

TOO_MANY = 429
METHODS = ("GET", "PUT", "POST", "PATCH")
OVER = {"succeeded": True, "running": False, "not_started": False, "paused": False}
"""The states of an action that is well, and whether it is over in them."""

_REMEDY = "check that the service runs, is reachable, and answers at this address"


class _Failed(Exception):
    """Transport failed; `is_sent` unless nothing can have reached the service."""

    def __init__(self, detail: str, is_sent: bool) -> None:
        self.is_sent = is_sent
        super().__init__(detail)


@dataclass(frozen=True)
class Address:
    """A signal's address in parts: `kind` is a method, or `action`, `status`, `result`, `admin`."""

    kind: str
    path: str
    pointer: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, default: str) -> Address:
        """Raise `ValueError` when it makes no sense."""
        place, _, pointer = text.partition("#")
        kind, colon, name = place.partition(":")
        if colon and kind in ("action", "status", "result", "admin"):
            if not name:
                raise ValueError(f"{text!r} names nothing after {kind}:")
            return cls(kind, name, steps(pointer))
        method, _, path = place.rpartition(" ")
        method = method.strip() or default
        if method not in METHODS or not path.startswith("/"):
            raise ValueError(f"{text!r} is no address; write for example `/state#/position` or `PUT /position#/value`")
        return cls(method, path, steps(pointer))


class HttpClient:
    """One HTTP service; a `Client`. HTTP has no lasting line: it counts as connected while the last call was answered.

    No request is ever sent twice, and no redirect followed.
    """

    def __init__(self, address: str, options: Mapping[str, Option], name: str) -> None:
        if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
            raise ValueError(f"controller {name}: {address!r} is no http:// or https:// address")
        if unknown := options.keys() - {"probe", "token_env"}:
            raise ValueError(f"controller {name} has no option {min(unknown)!r}; correct its spelling")
        self.address = address
        self.name = name
        self._probe = str(options.get("probe", "/"))
        self._token_env = str(options.get("token_env", ""))
        self._session: Any = None
        self._answers = False
        self._actions: dict[str, str] = {}

    @property
    def is_connected(self) -> bool:
        """Whether the last call was answered."""
        return self._answers

    async def connect(self, deadline_s: float) -> None:
        """See whether anybody answers. Raises `NotConnected` or `MissingLibrary`."""
        if self._answers:
            return
        nothing = SignalSpec(read=self.address, device=self.name)
        try:
            async with asyncio.timeout(deadline_s):
                await self._send("GET", self._probe, None)
        except TimeoutError as error:
            raise NotConnected(
                self.name, "", f"{self.address} did not answer within {deadline_s:g} s", _REMEDY
            ) from error
        except _Failed as error:
            raise NotConnected.on(nothing, str(error), _REMEDY) from error

    async def read(self, signal: SignalSpec, deadline_s: float) -> Reading:
        """Get a value. Raises `SignalError`."""
        address = _parsed(signal, signal.address("read"), "GET")
        if address.kind in ("status", "result"):
            return await self._read_action(signal, address, deadline_s)
        if address.kind in ("action", "admin"):
            raise Refused.on(signal, f"{address.kind}: cannot be read", "correct the address")
        document = await self._call(signal, deadline_s, address.kind, address.path, None)
        moment, quality, detail = time.time(), Quality.GOOD, ""
        if "time" in signal.options:
            moment = moment_of(signal, pick_option(signal, document, "time"))
        if "quality" in signal.options:
            quality, detail = quality_of(pick_option(signal, document, "quality"))
        return Reading(value_of(signal, pick(signal, document, address.pointer)), moment, quality, detail)

    async def write(self, signal: SignalSpec, value: Value, deadline_s: float) -> None:
        """Send a value; returns when the service has taken it. Raises `SignalError`."""
        plain = typed(signal, value)
        address = _parsed(signal, signal.address("write"), "PUT")
        body = json_option(signal, "body")
        if address.kind == "admin":
            answer = await self._call(signal, deadline_s, "POST", f"/admin/{quote(address.path)}", None, is_write=True)
            if isinstance(answer, Mapping) and answer.get("success") is False:
                raise Refused.on(signal, f"the node refused {address.path}{_said(answer)}", "see the node's own log")
        elif address.kind == "action":
            await self._start(signal, address, plain, body, deadline_s)
        elif address.kind in METHODS and address.kind != "GET":
            document = put(body, address.pointer, plain) if address.pointer or body else plain
            await self._call(signal, deadline_s, address.kind, address.path, document, is_write=True)
        else:
            raise Refused.on(signal, f"{signal.write!r} cannot be written", "use PUT, POST, PATCH, action: or admin:")

    async def close(self) -> None:
        """Let every connection go; never raises."""
        session, self._session = self._session, None
        self._answers = False
        if session is not None:
            with suppress(Exception):
                await session.aclose()

    # -- a node's actions ---------------------------------------------------------------------------------------------

    async def _start(
        self, signal: SignalSpec, address: Address, value: Value, body: dict[str, Any], deadline_s: float
    ) -> None:
        path = f"/action/{quote(address.path)}"
        args = put(body, address.pointer, value) if address.pointer else body
        end = time.monotonic() + deadline_s
        self._actions.pop(address.path, None)
        created = await self._call(signal, deadline_s, "POST", path, {"args": args}, is_write=True)
        identity = created.get("action_id") if isinstance(created, Mapping) else None
        if not isinstance(identity, str):
            raise Refused.on(signal, f"the node gave action {address.path} no id{_said(created)}", _REMEDY)
        path = f"{path}/{quote(identity)}/start"
        result = await self._call(signal, max(0.0, end - time.monotonic()), "POST", path, None, is_write=True)
        status = result.get("status") if isinstance(result, Mapping) else None
        if status not in OVER:
            raise Refused.on(
                signal,
                f"action {address.path} is {status!r}{_said(result)}",
                "see the node's state; it may need a reset",
            )
        self._actions[address.path] = identity

    async def _read_action(self, signal: SignalSpec, address: Address, deadline_s: float) -> Reading:
        identity = self._actions.get(address.path)
        if identity is None:
            raise Refused.on(signal, f"action {address.path} was not started over this connection", "start it first")
        path = f"/action/{quote(address.path)}/{quote(identity)}"
        if address.kind == "status":
            status = await self._call(signal, deadline_s, "GET", f"{path}/status", None)
            if signal.type != "bool":
                return Reading(typed(signal, status), time.time())
            if status not in OVER:
                result = await self._call(signal, deadline_s, "GET", f"{path}/result", None)
                raise Refused.on(signal, f"action {address.path} is {status!r}{_said(result)}", "see the node's log")
            return Reading(OVER[status], time.time())
        result = await self._call(signal, deadline_s, "GET", f"{path}/result", None)
        if not isinstance(result, Mapping) or result.get("status") != "succeeded":
            raise Refused.on(signal, f"action {address.path} has no result{_said(result)}", "await its `status:` first")
        return Reading(value_of(signal, pick(signal, result.get("json_result"), address.pointer)), time.time())

    # -- the line -----------------------------------------------------------------------------------------------------

    async def _call(
        self, signal: SignalSpec, deadline_s: float, method: str, path: str, body: Any, *, is_write: bool = False
    ) -> Any:
        """The JSON that one request is answered with."""
        try:
            async with asyncio.timeout(deadline_s):
                response = await self._send(method, path, body)
        except TimeoutError as error:
            raise late(signal, deadline_s, "write" if is_write else "read") from error
        except _Failed as error:
            unknown = ": it may have taken effect" if is_write and error.is_sent else ""
            raise NotConnected.on(signal, f"{error}{unknown}", _REMEDY) from error
        if not response.is_success:
            said = f"{response.status_code} {response.text[:200]}".strip()
            remedy = "correct the address or the value"
            if response.status_code == TOO_MANY:
                remedy = "ask less often (`poll_s`), and lift the service's rate limit: it would refuse a stop as well"
            raise Refused.on(signal, f"{method} {path} was answered with {said}", remedy)
        if is_write and not response.content.strip():
            return None
        try:
            return json.loads(response.content)
        except ValueError as error:
            raise WrongType.on(signal, f"{method} {path} was not answered with JSON", "correct the address") from error

    async def _send(self, method: str, path: str, body: Any) -> Any:
        httpx = library("httpx2", "http", self.name)
        if self._session is None:
            token = os.environ.get(self._token_env, "") if self._token_env else ""
            # Neither proxies from the environment nor redirects: what moves hardware goes where the profile says.
            self._session = httpx.AsyncClient(
                base_url=self.address,
                timeout=None,
                trust_env=False,
                follow_redirects=False,
                headers={"Authorization": f"Bearer {token}"} if token else {},
            )
        content = None if body is None else json.dumps(body, allow_nan=False)
        headers = {} if content is None else {"Content-Type": "application/json"}
        try:
            response = await self._session.request(method, path, content=content, headers=headers)
        except httpx.HTTPError as error:
            self._answers = False
            detail = f"no answer from {self.address} ({error or type(error).__name__})"
            raise _Failed(detail, not isinstance(error, httpx.ConnectError)) from error
        self._answers = True
        return response


def _parsed(signal: SignalSpec, text: str, default: str) -> Address:
    try:
        return Address.parse(text, default)
    except ValueError as error:
        raise Refused.on(signal, str(error), "correct the address") from error


def _said(answer: Any) -> str:
    """What a node said went wrong, for a message."""
    errors = answer.get("errors") if isinstance(answer, Mapping) else None
    if not isinstance(errors, list) or not errors:
        return ""
    words = [str(error.get("message", error) if isinstance(error, Mapping) else error)[:200] for error in errors]
    return f": {'; '.join(words)}"
