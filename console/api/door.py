"""The one door of the API: who asks, whether they may, and whether they asked before.

Every route says what it needs; one that says nothing cannot be made. What it needs stands in the OpenAPI file as
`x-needs`: a scope, or

- `nobody`: open to all,
- `person`: somebody signed in, in whatever role,
- `own`: as `person`, and before the password that was given out is changed, too,
- `stop`: as `own`, and with a session that has been idle for too long, too.

Where the body, and not the path, says which instrument it is about (`x-either`), the door asks whether whoever asks may
on some instrument, and the handler asks for that one.

Some routes change nothing though they take a body (`x-pure`): their answers are made anew each time, and not kept.

Some routes open to sessions alone (`x-session`): a program's token changes no account, its own neither.

Where a path names a campaign or an experiment, the scope must hold for its instrument, simulated or real.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from athanor.console.api.limits import Kind, TooOften, address_of
from athanor.console.api.problems import KNOWN, Denied, Problem
from athanor.governance.people import Caller
from athanor.governance.rights import MEANING, Scope

if TYPE_CHECKING:
    from athanor.console.api.desk import Desk

Needs = Scope | Literal["nobody", "person", "own", "stop"]
OPEN: frozenset[str] = frozenset({"nobody", "person", "own", "stop"})
COOKIE = "athanor-session"
CSRF = "X-CSRF-Token"
KEY = "Idempotency-Key"
LONGEST_KEY = 200
MOST_KEYS = 10_000
STOP_THREADS = {"admission": 16, "one": 16, "all": 64}
"""Threads for those who stop: to be let in, to stop one instrument, to stop everything. None waits for the others."""
MOST_OWN = 1000
"""Keys that are kept of one person, so that nobody's are lost to somebody else's."""
MOST_BYTES = 64 * 2**20
"""Of answers, all together."""
UNKNOWN = Problem(
    code="idempotency.unknown",
    detail="nobody knows what came of this change",
    remedy="look, before you ask again with another key",
).model_dump_json()
KEPT_S = 86400.0
SAFE = frozenset({"GET", "HEAD"})


def desk_of(request: Request) -> Desk:
    """What the handlers work with."""
    desk: Desk = request.app.state.desk
    return desk


def caller_of(request: Request) -> Caller:
    """Who asks; the door has let them in."""
    caller: Caller = request.state.caller
    return caller


def mark_done(request: Request) -> None:
    """Say that a change was made: whatever is raised after this, the same key does not make it again."""
    request.state.is_done = True


_CSRF_KEY = secrets.token_bytes(32)


def csrf_of(secret: str) -> str:
    """What a page must send with every change, so that it is known to have read an answer of this process's.

    It cannot be told from the cookie alone, which browsers also send to other ports of the same host.
    """
    return hmac.new(_CSRF_KEY, secret.encode(), hashlib.sha256).hexdigest()


class GuardedRoute(APIRoute):
    """A route behind the door."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        extra = self.openapi_extra or {}
        needs = extra.get("x-needs")
        if needs not in OPEN and needs not in get_args(Scope):
            raise TypeError(f"{self.path} does not say what it needs")
        self.needs: Needs = needs  # type: ignore[assignment]
        self.is_for_sessions = bool(extra.get("x-session"))
        self.on_either = bool(extra.get("x-either"))
        self.is_pure = bool(extra.get("x-pure"))

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """The handler, behind the door."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            # Who has to stop something does not queue behind those who sign in.
            await to_thread.run_sync(
                lambda: self._admit(request),
                limiter=stop_room("admission") if self.needs == "stop" and request.method == "POST" else None,
            )
            key = request.headers.get(KEY)
            # A stop is given as often as it is asked for. Secrets are told once, and kept by nobody.
            is_unkept = self.needs in ("nobody", "stop") or self.is_for_sessions or self.is_pure
            if key is None or request.method in SAFE or is_unkept:
                return await inner(request)
            return await self._once(key, request, inner)

        return handle

    def _admit(self, request: Request) -> None:
        """Let a request in that does not come too often. Raises `Denied`, or `SignInRefused`."""
        is_change = request.method not in SAFE
        if self.needs == "stop" and is_change:  # a stop is never too often
            let_in(request, self.needs, is_for_sessions=self.is_for_sessions)
            return
        count(request, "address", source_of(request))
        if self.needs == "nobody" and is_change:
            count(request, "sign_in", source_of(request))
        let_in(request, self.needs, is_for_sessions=self.is_for_sessions, on_either=self.on_either)
        if self.needs in ("nobody", "stop"):
            return
        caller = caller_of(request)
        if not is_change:
            # Each screen for itself: one that is left open on a wall takes nothing from its person's others.
            count(request, "read", caller.by)
        else:
            kind: Kind = "account" if self.is_for_sessions else "change"
            if caller.limit is None:
                count(request, kind, caller.person.login)
            else:  # each token for itself, and all of a person's together no more than one person
                count(request, kind, caller.by)
                count(request, kind, f"tokens of {caller.person.login}")

    async def _once(self, key: str, request: Request, inner: Callable[[Request], Awaitable[Response]]) -> Response:
        answers = desk_of(request).answers
        body = await request.body()
        claim = Claim(caller_of(request).person.login, key, request.method, request.url.path, body)
        if (before := answers.claim(claim)) is not None:
            status, text = before
            return Response(text, status, media_type="application/json", headers={"Idempotent-Replay": "true"})
        try:
            response = await inner(request)
        except (HTTPException, RequestValidationError, *KNOWN):
            if getattr(request.state, "is_done", False):
                answers.keep(claim, 409, UNKNOWN)
            else:
                answers.forget(claim)  # nothing was done: it may be tried again
            raise
        except BaseException:
            answers.keep(claim, 409, UNKNOWN)
            raise
        answers.keep(claim, response.status_code, bytes(response.body).decode())
        return response


def source_of(request: Request) -> str:
    """What the address that a request comes from counts as."""
    return address_of(request.client.host if request.client is not None else "")


def count(request: Request, kind: Kind, who: str) -> None:
    """Count a request of somebody. Raises `TooOften`, which is written down, but not each time."""
    desk = desk_of(request)
    try:
        desk.limits.take(kind, who)
    except TooOften as error:
        if error.is_news:
            desk.note("rate_limited", {"kind": kind, "who": who, "path": request.url.path[:200]})
        raise


_STOP_ROOM: dict[object, dict[str, CapacityLimiter]] = {}


def stop_room(what: Literal["admission", "one", "all"]) -> CapacityLimiter:
    """Threads for stopping and for nothing else, of the event loop that asks."""
    loop = asyncio.get_running_loop()
    if loop not in _STOP_ROOM:
        _STOP_ROOM.clear()
        _STOP_ROOM[loop] = {name: CapacityLimiter(most) for name, most in STOP_THREADS.items()}
    return _STOP_ROOM[loop][what]


def let_in(
    request: Request, needs: Needs, *, touch: bool = True, is_for_sessions: bool = False, on_either: bool = False
) -> None:
    """Let a request in, with its caller in `request.state`. Raises `Denied`, or `SignInRefused`.

    `touch`: whether this keeps a session awake. `is_for_sessions`: whether tokens are kept out. `on_either`: whether it
    is enough here that they may on some instrument; the handler asks for the one that the body names.
    """
    if needs == "nobody":
        return
    desk = desk_of(request)
    caller = _identify(request, desk, needs, touch)
    request.state.caller = caller
    if needs == "stop":
        return
    if caller.is_only_stopping:
        raise Denied(401, "session.idle", "this session was idle for too long: it takes Stop All and nothing else")
    if is_for_sessions and caller.limit is not None:
        raise Denied(403, "session.needed", "a token cannot do this", "sign in")
    if needs == "own":
        return
    if caller.person.must_change:
        raise Denied(403, "password.given_out", "your password was given out by somebody else", "change it first")
    if needs == "person":
        return
    if on_either and (caller.may(needs, simulated=True) or caller.may(needs, simulated=False)):
        return
    if on_either or not caller.may(needs, simulated=desk.is_simulated(request.path_params)):
        refused = f"{caller.person.login} ({caller.person.role}) may not {MEANING[needs]}"
        count(request, "refused", caller.by)
        desk.note("api_refused", {"login": caller.person.login, "needs": needs, "path": request.url.path[:200]})
        raise Denied(403, "scope.missing", refused, "ask an owner for a role that may")


def _identify(request: Request, desk: Desk, needs: Needs, touch: bool) -> Caller:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind:
        if kind.lower() != "bearer" or not token:
            raise Denied(401, "authorization.malformed", "give `Authorization: Bearer TOKEN`")
        return desk.people.bearer(token.strip())
    secret = request.cookies.get(COOKIE)
    if not secret:
        raise Denied(401, "sign_in.needed", "sign in first", "POST /api/v1/session, or give a token")
    if request.method not in SAFE and needs != "stop":  # a page opened before we were started anew must stop, too
        # A page of somebody else's can have a browser send the cookie, but cannot know this.
        given = request.headers.get(CSRF, "")
        if not hmac.compare_digest(given.encode(), csrf_of(secret).encode()):
            raise Denied(403, "csrf", f"a change needs the header {CSRF}, as GET /api/v1/session tells it")
    return desk.people.session(secret, touch=touch and needs != "stop")


class Door(APIRouter):
    """Makes routes that say what they need."""

    def __init__(self, tag: str) -> None:
        super().__init__(prefix="/api/v1", route_class=GuardedRoute, tags=[tag])

    def on(
        self,
        method: str,
        path: str,
        needs: Needs,
        *,
        status: int = 200,
        is_for_sessions: bool = False,
        on_either: bool = False,
        is_pure: bool = False,
    ) -> Callable[[Any], Any]:
        """Add a route.

        `on_either`: which instrument it is about stands in the body, and the handler asks for it. `is_pure`: it changes
        nothing, whatever its method.
        """
        problems: dict[int | str, dict[str, Any]] = {
            code: {"model": Problem} for code in (400, 401, 403, 404, 409, 422, 429, 503)
        }
        marks = {"x-session": is_for_sessions, "x-either": on_either, "x-pure": is_pure}
        extra = {"x-needs": needs, **{name: True for name, holds in marks.items() if holds}}
        return self.api_route(path, methods=[method], status_code=status, responses=problems, openapi_extra=extra)


class Claim:
    """A change that carries a key: whose it is, and what exactly was asked."""

    def __init__(self, login: str, key: str, method: str, path: str, body: bytes) -> None:
        if not 0 < len(key) <= LONGEST_KEY:
            raise Denied(422, "idempotency.key", f"{KEY}: 1 to {LONGEST_KEY} characters")
        self.login = login
        self.key = json.dumps([login, key])
        self.asked = hashlib.sha256(b"\0".join([method.encode(), path.encode(), body])).hexdigest()


@dataclass
class Kept:
    """A change that carried a key. `answer`: None while it is being made."""

    at: float
    login: str
    asked: str
    answer: tuple[int, str] | None = None

    @property
    def size(self) -> int:
        """Bytes of its answer, as good as."""
        return 0 if self.answer is None else len(self.answer[1].encode())


class Answers:
    """Answers to changes that carried a key, for a day: the same change asked again is not made again.

    In the memory of this process: a console that was started anew has forgotten them, and the ledger, which takes each
    decision once, says what became of a change. Where they grow too large, the oldest are forgotten but not their keys.

    Args:
        clock: seconds.
        most_bytes: so large are all answers together.
    """

    def __init__(self, clock: Callable[[], float] = time.time, most_bytes: int = MOST_BYTES) -> None:
        self._clock = clock
        self._most_bytes = most_bytes
        self._guard = threading.Lock()
        self._kept: dict[str, Kept] = {}
        self._own: dict[str, dict[str, None]] = {}  # the keys of each person, the oldest first
        self._full: dict[str, None] = {}  # the keys whose whole answers are kept, the oldest first
        self._bytes = 0

    @property
    def size(self) -> int:
        """Bytes of all answers together."""
        return self._bytes

    def claim(self, claim: Claim) -> tuple[int, str] | None:
        """The answer of before, or None for whoever is the first to ask. Raises `Denied`."""
        now = self._clock()
        with self._guard:
            while self._kept:
                oldest = next(iter(self._kept))
                if self._kept[oldest].at > now - KEPT_S:
                    break
                self._drop(oldest)
            found = self._kept.get(claim.key)
            if found is None:
                own = self._own.get(claim.login, {})
                if len(own) >= MOST_OWN:
                    self._drop(next(iter(own)))
                elif len(self._kept) >= MOST_KEYS:
                    self._drop(next(iter(self._kept)))
                self._kept[claim.key] = Kept(now, claim.login, claim.asked)
                self._own.setdefault(claim.login, {})[claim.key] = None
                return None
            asked, answer = found.asked, found.answer
        if asked != claim.asked:
            raise Denied(422, "idempotency.reused", f"this {KEY} was used for something else; take a new one")
        if answer is None:
            raise Denied(409, "idempotency.underway", "the same change is being made; ask again in a moment")
        return answer

    def keep(self, claim: Claim, status: int, text: str) -> None:
        """Keep an answer."""
        with self._guard:
            found = self._kept.get(claim.key)
            if found is None:
                return
            self._answer(found, (status, text))
            self._full[claim.key] = None
            while self._bytes > self._most_bytes and self._full:
                oldest = next(iter(self._full))
                del self._full[oldest]
                self._answer(self._kept[oldest], (409, UNKNOWN))

    def forget(self, claim: Claim) -> None:
        """Nothing came of it."""
        with self._guard:
            self._drop(claim.key)

    def _answer(self, found: Kept, answer: tuple[int, str]) -> None:
        self._bytes -= found.size
        found.answer = answer
        self._bytes += found.size

    def _drop(self, key: str) -> None:
        found = self._kept.pop(key, None)
        if found is None:
            return
        self._bytes -= found.size
        self._full.pop(key, None)
        own = self._own[found.login]
        own.pop(key, None)
        if not own:
            del self._own[found.login]
