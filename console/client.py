"""A console from afar: what a notebook, or the command line with `--server`, uses.

    from athanor.console.client import Client

    with Client("https://lab.example:8443", token) as lab:
        for line in lab.campaigns(state=["paused"]):
            print(line.id, line.reason)

Answers are the models that the API itself answers with. What cannot be done raises a `ServerProblem` with the API's
own `code`, `detail` and `remedy`. Reads are tried again when the line breaks. So are changes: each carries a key of its
own, with which the server makes it once however often it is asked for. A server that was started anew has forgotten
the keys; then what its ledger takes only once is asked for again, and of anything else it is said that nobody knows.
"""

from __future__ import annotations

import json
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx2
from pydantic import BaseModel, ValidationError

from athanor.console.commands.refused import Refused

try:
    from athanor.console.api.audit import AuditLine, VerificationOut
    from athanor.console.api.campaigns import (
        Asking,
        CampaignLine,
        CampaignOut,
        DecisionOut,
        EventOut,
        ExperimentOut,
        HypothesisOut,
    )
    from athanor.console.api.memory import ComparisonOut, MemoryOut
    from athanor.console.api.site import Health, InstrumentOut, StopAllOut
except ModuleNotFoundError as error:  # the models are those of the API
    raise Refused(
        f"A console's client needs {error.name}, which is not installed", "pip install 'athanor-lab[console]'"
    ) from error

if TYPE_CHECKING:
    from athanor.memory.records import Value

M = TypeVar("M", bound=BaseModel)

SERVER = "ATHANOR_SERVER"
TOKEN = "ATHANOR_TOKEN"
TOKEN_FILE = "ATHANOR_TOKEN_FILE"
PATIENCE_S = 30.0
STOP_PATIENCE_S = 60.0
TRIES = 4
LONGEST_PAUSE_S = 10.0
QUIET_S = 45.0
"""A stream of changes says something every 15 s; one that is silent for so long is broken."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServerProblem(Exception):
    """Why something was not done. `status` is HTTP's, 0 where no answer came; `code` is stable."""

    def __init__(self, status: int, code: str, detail: str, remedy: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.remedy = remedy


class NotSignedIn(ServerProblem):
    """The token is none, or holds no more (401)."""


class NotAllowed(ServerProblem):
    """The token's person, or the token itself, may not do this (403)."""


class NoSuchThing(ServerProblem):
    """There is no such campaign, experiment or instrument (404)."""


class Conflict(ServerProblem):
    """Somebody was faster, or it stands otherwise (409)."""


class Invalid(ServerProblem):
    """What was asked cannot be: a value beyond its limits, a malformed revision (422)."""


class Unavailable(ServerProblem):
    """The server cannot now: busy, too many requests, or broken (429, 5xx)."""


class Unreachable(ServerProblem):
    """No answer came, and nothing was done."""


class Unknown(ServerProblem):
    """The answer to a change was lost: nobody knows whether it was made. Look, before asking again."""


_KINDS: Mapping[int, type[ServerProblem]] = {
    401: NotSignedIn,
    403: NotAllowed,
    404: NoSuchThing,
    409: Conflict,
    422: Invalid,
    429: Unavailable,
}


@dataclass(frozen=True)
class Change:
    """Something changed: `kind` of row, in which campaign (None: of the site), at which position of the journal.

    The kind `reload` says that too much was missed: read everything anew.
    """

    kind: str
    campaign_id: str | None
    position: int


class Client:
    """A console, for a person's program. May be used as a context; closes its connections at the end.

    Args:
        url: where it is, such as `https://lab.example:8443`. Without TLS only on this computer.
        token: made with `POST /api/v1/tokens`, or on the page of one's account.
        authority: a file of certificates to trust, where the server's was not signed by a well-known one.
        timeout_s: seconds that an answer may take.
        tries: how often something is asked for when the line breaks.
        pause: waits for so many seconds.
        transport: another way to the server, for tests.

    Raises:
        Refused: the address is none, or would send the token in the clear.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        authority: Path | None = None,
        timeout_s: float = PATIENCE_S,
        tries: int = TRIES,
        pause: Callable[[float], None] = time.sleep,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        base = checked(url)
        self.url = base
        self._tries = max(1, tries)
        self._pause = pause
        self._instance: str | None = None
        self._http = httpx2.Client(
            base_url=f"{base}/api/v1",
            headers={"Authorization": f"Bearer {token.strip()}", "Accept": "application/json"},
            timeout=timeout_s,
            verify=True if authority is None else _trusting(authority),
            trust_env=False,
            follow_redirects=False,
            transport=transport,
        )

    @classmethod
    def from_environment(cls, url: str | None = None, **options: Any) -> Self:
        """Make one for `url`, else ATHANOR_SERVER, with the token of ATHANOR_TOKEN or the file ATHANOR_TOKEN_FILE.

        Raises:
            Refused: there is no address or no token.
        """
        where = url or os.environ.get(SERVER)
        if not where:
            raise Refused("No server is named", f"Give --server URL, or set {SERVER}.")
        return cls(where, token_at_hand(), **options)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- reading -------------------------------------------------------------------------------------------------------

    def health(self) -> Health:
        """Return whether it is there."""
        return self._read("/health", Health)

    def campaigns(self, state: Sequence[str] = ()) -> Iterator[CampaignLine]:
        """Give the campaigns, the newest first; only those in these states, if any are named."""
        return self._pages("/campaigns", CampaignLine, state=list(state))

    def campaign(self, campaign_id: str) -> CampaignOut:
        """Return where a campaign stands."""
        return self._read(f"/campaigns/{_name(campaign_id)}", CampaignOut)

    def experiments(self, campaign_id: str, state: Sequence[str] = ()) -> Iterator[ExperimentOut]:
        """Give a campaign's experiments in their order."""
        return self._pages(f"/campaigns/{_name(campaign_id)}/experiments", ExperimentOut, state=list(state))

    def hypotheses(self, campaign_id: str) -> Iterator[HypothesisOut]:
        """Give a campaign's hypotheses in their order."""
        return self._pages(f"/campaigns/{_name(campaign_id)}/hypotheses", HypothesisOut)

    def decisions(self, campaign_id: str) -> Iterator[DecisionOut]:
        """Give who decided what in a campaign, in order."""
        return self._pages(f"/campaigns/{_name(campaign_id)}/decisions", DecisionOut)

    def events(self, campaign_id: str) -> Iterator[EventOut]:
        """Give what happened in a campaign, in order."""
        return self._pages(f"/campaigns/{_name(campaign_id)}/events", EventOut)

    def experiment(self, experiment_id: str) -> ExperimentOut:
        """Return an experiment."""
        return self._read(f"/experiments/{_name(experiment_id)}", ExperimentOut)

    def instruments(self) -> list[InstrumentOut]:
        """Return the instruments of the site."""
        return [_model(InstrumentOut, one) for one in self._get("/instruments")]

    def instrument(self, name: str) -> InstrumentOut:
        """Return an instrument."""
        return self._read(f"/instruments/{_name(name)}", InstrumentOut)

    def remember(self, text: str = "", **filters: Any) -> Iterator[MemoryOut]:
        """Search campaigns, hypotheses and experiments; filters as of `GET /memory/search`."""
        return self._pages("/memory/search", MemoryOut, text=text, **filters)

    def compare(self, *campaign_ids: str) -> ComparisonOut:
        """Return campaigns side by side."""
        return self._read("/memory/compare", ComparisonOut, campaign=list(campaign_ids))

    def audit(self, **filters: Any) -> Iterator[AuditLine]:
        """Give rows of the journal, the newest first; filters as of `GET /audit/rows`."""
        return self._pages("/audit/rows", AuditLine, **filters)

    def verification(self) -> VerificationOut:
        """Return how the verification of the record stands."""
        return self._read("/audit/verify", VerificationOut)

    # -- changing ------------------------------------------------------------------------------------------------------

    def approve(self, experiment_id: str, revision: str, expires_s: float = 86400.0) -> DecisionOut:
        """Approve the revision that was seen, good for so many seconds."""
        body = {"revision": revision, "expires_s": expires_s}
        return self._change(f"/experiments/{_name(experiment_id)}/approve", DecisionOut, body)

    def reject(self, experiment_id: str, revision: str, reason: str) -> DecisionOut:
        """Reject the revision that was seen."""
        body = {"revision": revision, "reason": reason}
        return self._change(f"/experiments/{_name(experiment_id)}/reject", DecisionOut, body)

    def edit(self, experiment_id: str, revision: str, values: Mapping[str, Value], reason: str) -> ExperimentOut:
        """Put an experiment with other values in the place of the one that was seen."""
        body = {"revision": revision, "values": dict(values), "reason": reason}
        return self._change(f"/experiments/{_name(experiment_id)}/edit", ExperimentOut, body)

    def propose(self, campaign_id: str, values: Mapping[str, Value]) -> ExperimentOut:
        """Put an experiment of one's own up for decision.

        Raises:
            Unknown: it may have been put up: look at `experiments` first.
        """
        path = f"/campaigns/{_name(campaign_id)}/experiments"
        return self._change(path, ExperimentOut, {"values": dict(values)}, is_taken_once=False)

    def pause(self, campaign_id: str) -> bool:
        """Pause a campaign as soon as nothing is half done; whether a process drives it."""
        return self._change(f"/campaigns/{_name(campaign_id)}/pause", Asking).is_driven

    def stop_after_step(self, campaign_id: str) -> bool:
        """Pause a campaign once the present step is done; whether a process drives it."""
        return self._change(f"/campaigns/{_name(campaign_id)}/stop-after-step", Asking).is_driven

    def reset_stop(self, instrument: str, reason: str, count: int | None = None) -> None:
        """Release the latch of Stop All.

        `count` is that of the latch that was looked at (`instrument(name).latch.count`): a later stop is not reset.
        Without it the latch is looked at now, so that only a stop that comes in between is kept.
        """
        seen = self.instrument(instrument).latch.count if count is None else count
        body = {"reason": reason, "count": seen}
        self._send(f"/instruments/{_name(instrument)}/reset-stop", body, is_taken_once=True)

    def verify(self) -> VerificationOut:
        """Have the record verified; `verification` says how that stands."""
        return self._change("/audit/verify", VerificationOut)

    def stop_all(self, reason: str = "", instrument: str | None = None) -> StopAllOut:
        """Stop every instrument of the site, or one, and latch. A software stop, not a safety system.

        Asked for again and again as long as no answer comes, up to the client's number of tries.

        Raises:
            ServerProblem: NOTHING WAS STOPPED, as far as anybody knows.
        """
        body = {"reason": reason, "instrument": instrument}
        failed: Exception | None = None
        for attempt in range(self._tries):
            if attempt:
                self._pause(0.2)
            try:
                answer = self._http.post("/stop-all", json=body, timeout=STOP_PATIENCE_S)
            except httpx2.TransportError as error:
                failed = error
                continue
            if answer.status_code < 500 or attempt == self._tries - 1:
                return _model(StopAllOut, _said(answer))
        raise Unreachable(
            0,
            "connection",
            f"NOTHING WAS STOPPED as far as anybody knows: {self.url} does not answer ({failed})",
            "use the hardware stop, or `athanor stop-all` at the instrument's computer",
        ) from failed

    # -- changes as they happen ----------------------------------------------------------------------------------------

    def changes(self, after: int | None = None) -> Iterator[Change]:
        """Give changes as they happen, without end; goes on where it was when the line breaks.

        Args:
            after: the position to go on after, as of the last change seen; else from now on.

        Raises:
            ServerProblem: the right to it has ended, or the server was away for all tries.
        """
        failures = 0
        while True:
            headers = {} if after is None else {"Last-Event-ID": str(after)}
            try:
                with self._http.stream("GET", "/changes", headers=headers, timeout=QUIET_S) as answer:
                    if answer.status_code != 200:
                        answer.read()
                        _said(answer)
                    for kind, position, body in _messages(answer.iter_lines()):
                        failures = 0
                        if kind == "ended":
                            raise NotSignedIn(401, body["code"], body["detail"], body.get("remedy"))
                        after = position if position is not None else after
                        if kind == "reload":
                            yield Change("reload", None, after or 0)
                        else:
                            yield Change(body["kind"], body["campaign_id"], after or 0)
            except (httpx2.TransportError, Unavailable) as error:
                failures += 1
                if failures >= self._tries:
                    raise Unreachable(0, "connection", f"{self.url} does not answer: {error}") from error
            if after is None:
                # Nothing was heard yet: what happens from now on is what was asked for.
                failures = max(failures, 1)
            self._pause(min(0.5 * 2**failures, LONGEST_PAUSE_S))

    # -- asking --------------------------------------------------------------------------------------------------------

    def _read(self, path: str, model: type[M], **parameters: Any) -> M:
        return _model(model, self._get(path, **parameters))

    def _pages(self, path: str, model: type[M], **parameters: Any) -> Iterator[M]:
        after: dict[str, str] = {}
        while True:
            found = self._get(path, **parameters, **after)
            yield from (_model(model, item) for item in found["items"])
            if found["next"] is None:
                return
            after = {"after": found["next"]}

    def _get(self, path: str, **parameters: Any) -> Any:
        given = {name: value for name, value in parameters.items() if value not in (None, "", [], ())}
        failed: Exception | None = None
        for attempt in range(self._tries):
            try:
                answer = self._http.get(path, params=given)
                if answer.status_code not in (429, 503) or attempt == self._tries - 1:
                    return _said(answer)
                self._pause(_patience(answer, attempt))
            except httpx2.TransportError as error:
                failed = error
                self._pause(_patience(None, attempt))
        raise Unreachable(0, "connection", f"{self.url} does not answer: {failed}", "is it running?") from failed

    def _change(
        self, path: str, model: type[M], body: Mapping[str, Any] | None = None, *, is_taken_once: bool = True
    ) -> M:
        return _model(model, self._send(path, body, is_taken_once=is_taken_once))

    def _send(self, path: str, body: Mapping[str, Any] | None, *, is_taken_once: bool) -> Any:
        """Ask for a change until it is known what came of it.

        `is_taken_once`: the ledger itself takes it once only, so that it may be asked for again of a server that has
        forgotten the key.
        """
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        if not is_taken_once and self._instance is None:
            self._instance = self.health().instance
        is_lost = False
        for attempt in range(self._tries):
            try:
                answer = self._http.post(path, json=body, headers=headers)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                self._pause(_patience(None, attempt))  # it was not even sent
                continue
            except httpx2.TransportError:
                is_lost = True
                self._pause(_patience(None, attempt))
                if not is_taken_once and not self._is_the_same():
                    break
                continue
            is_late = attempt == self._tries - 1
            if answer.status_code in (429, 503) and not is_late:
                self._pause(_patience(answer, attempt))
                continue
            if answer.status_code == 409 and _code(answer) == "idempotency.underway" and not is_late:
                self._pause(_patience(answer, attempt))
                continue
            return _said(answer, is_lost=is_lost)
        if is_lost:
            raise Unknown(
                0,
                "connection.lost",
                f"the answer of {self.url} was lost: nobody knows whether this was done",
                "look first",
            )
        raise Unreachable(0, "connection", f"{self.url} does not answer, and nothing was done", "is it running?")

    def _is_the_same(self) -> bool:
        """Whether the process that was asked is the one that answers now; another one has forgotten the key."""
        with suppress(ServerProblem):
            return self.health().instance == self._instance
        return False


def checked(url: str) -> str:
    """Return a server's address as it is used. Raises `Refused`."""
    parts = urlsplit(url.strip().rstrip("/"))
    try:
        host = parts.hostname
        _ = parts.port
    except ValueError:
        host = None
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.query or parts.fragment:
        raise Refused(f"{url!r} is no address of a console", "Write it as https://lab.example:8443.")
    if parts.scheme == "http" and host not in LOOPBACK:
        raise Refused(
            f"{url} would send the token in the clear", "Use https; http is for this computer alone (127.0.0.1)."
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix('/api/v1')}"


def token_at_hand() -> str:
    """Return the token of ATHANOR_TOKEN, or of the file that ATHANOR_TOKEN_FILE names. Raises `Refused`."""
    if token := os.environ.get(TOKEN, "").strip():
        return token
    name = os.environ.get(TOKEN_FILE)
    if not name:
        raise Refused("There is no token", f"Put one into {TOKEN}, or its file's name into {TOKEN_FILE}.")
    path = Path(name).expanduser()
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise Refused(f"others may read the token in {path}", f"chmod 600 {path}")
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"the token in {path} cannot be read: {error}") from error
    if not token:
        raise Refused(f"there is no token in {path}")
    return token


def _trusting(authority: Path) -> Any:
    import ssl

    return ssl.create_default_context(cafile=str(authority))


def _name(text: str) -> str:
    return quote(text, safe="")


def _patience(answer: httpx2.Response | None, attempt: int) -> float:
    """Seconds to wait: what the server says, or twice as long each time."""
    with suppress(ValueError):
        if answer is not None:
            return min(max(0.0, float(answer.headers.get("Retry-After", ""))), LONGEST_PAUSE_S)
    return min(0.25 * 2.0**attempt, LONGEST_PAUSE_S)


def _code(answer: httpx2.Response) -> str | None:
    with suppress(ValueError, AttributeError):
        found = answer.json().get("code")
        return None if found is None else str(found)
    return None


def _said(answer: httpx2.Response, *, is_lost: bool = False) -> Any:
    """What an answer says. Raises what it stands for."""
    if 200 <= answer.status_code < 300:
        try:
            return answer.json() if answer.content else None
        except ValueError as error:
            raise ServerProblem(answer.status_code, "http", "this does not answer as a console does") from error
    kind = _KINDS.get(answer.status_code, Unavailable if answer.status_code >= 500 else ServerProblem)
    try:
        body = answer.json()
        code, detail, remedy = str(body["code"]), str(body["detail"]), body.get("remedy")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise kind(answer.status_code, "http", f"it answered {answer.status_code}, not as a console does") from None
    if code == "idempotency.unknown":
        kind = Unknown
    if is_lost and kind is Conflict:
        detail += " (an earlier answer to this same change was lost: it may be what was done then)"
    raise kind(answer.status_code, code, detail, remedy)


def _model(model: type[M], body: Any) -> M:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise ServerProblem(
            200, "version", f"the server answers otherwise than this version knows: {error}", "install the same version"
        ) from error


def _messages(lines: Iterator[str]) -> Iterator[tuple[str, int | None, dict[str, Any]]]:
    """Kind, position and body of each message of a stream."""
    kind, position, text = "", None, ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "id" and value.isdigit():
            position = int(value)
        elif name == "data":
            text = value
        elif not line and kind:
            body = json.loads(text)
            yield kind, position, body
            kind, position, text = "", None, ""
