"""Errors as they leave: `{code, detail, remedy}`, with a status that says whose turn it is."""

from __future__ import annotations

import json
import logging
import math
import sqlite3
from typing import Any

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from athanor.agents.doubt import NoOutcomes, NoProfile
from athanor.agents.reasoners.endpoint import ModelNotConfigured
from athanor.agents.spec import SpecError
from athanor.console.commands.moving import NoTarget
from athanor.console.commands.refused import Refused
from athanor.console.commands.resources import NoAmount
from athanor.governance.gate import BatchRefused, GateError, SameHands
from athanor.governance.handover import StaleHandover
from athanor.governance.people import PeopleError, SignInRefused
from athanor.instruments.bounds import LimitViolation
from athanor.instruments.laboratory import InstrumentUnavailable, UnknownLaboratory
from athanor.instruments.latch import LatchError
from athanor.instruments.profile import ProfileError
from athanor.instruments.reductions import ReductionFailed
from athanor.instruments.station import StationError
from athanor.instruments.takeover import TakenOver
from athanor.instruments.words import Refused as Declined
from athanor.instruments.write_switch import SwitchError
from athanor.memory.errors import (
    DecisionRequired,
    Duplicate,
    IllegalTransition,
    InvalidRecord,
    LedgerBusy,
    LedgerError,
    LedgerFull,
    NoSuchPlace,
    NotFound,
    StaleRevision,
)
from athanor.memory.places import PlaceError
from athanor.planners.problem import InvalidPoint

log = logging.getLogger(__name__)


class Problem(BaseModel):
    """Why something was not done. `code` is stable; `remedy` says what to do, where there is something."""

    code: str
    detail: str
    remedy: str | None = None


class Denied(Exception):
    """A request that a door did not let in."""

    def __init__(self, status: int, code: str, detail: str, remedy: str | None = None, wait_s: float = 0.0) -> None:
        super().__init__(detail)
        self.status = status
        self.problem = Problem(code=code, detail=detail, remedy=remedy)
        self.wait_s = wait_s


STATUS: dict[str, int] = {
    "login.unknown": 404,
    "access.none": 404,
    "login.taken": 409,
    "owner.last": 409,
    "token.many": 409,
    "second_factor.none": 409,
    "library.missing": 500,
    "file.newer": 500,
    "sign_in.wait": 429,
    "sign_in.busy": 503,
    "identity.none": 404,
    "identity.taken": 409,
    "identity.only": 409,
    "oidc.no_role": 403,
    "oidc.no_account": 403,
    "oidc.closed": 403,
    "oidc.second_factor": 403,
    "oidc.login": 409,
    "oidc.login_taken": 409,
}
"""Of the codes of accounts; signing in is 401 else, and what was typed is 422."""


class PlainJSON(JSONResponse):
    """JSON in ASCII: whatever a person or a program sent can be said back."""

    def render(self, content: Any) -> bytes:
        """Write it."""
        return json.dumps(content, separators=(",", ":")).encode("ascii")


def answer(status: int, problem: Problem, wait_s: float = 0.0) -> JSONResponse:
    """The answer that says so."""
    headers = {"Retry-After": str(max(1, math.ceil(wait_s)))} if wait_s else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return PlainJSON(problem.model_dump(), status_code=status, headers=headers)


def problem_of(error: Exception) -> tuple[int, Problem, float] | None:
    """Status, problem and seconds to wait for an error of ours; None for one that nobody foresaw."""
    text = str(error)
    remedy = getattr(error, "remedy", None)
    if isinstance(error, Denied):
        return error.status, error.problem, error.wait_s
    if isinstance(error, SignInRefused):
        return STATUS.get(error.code, 401), Problem(code=error.code, detail=text), error.wait_s
    if isinstance(error, PeopleError):
        return STATUS.get(error.code, 422), Problem(code=error.code, detail=text), 0.0
    if isinstance(error, Refused) and isinstance(error.__cause__, Declined):  # the worker's own code says more
        return 409, Problem(code=error.__cause__.code, detail=text, remedy=remedy), 0.0
    for kinds, status, code in _KNOWN:
        if isinstance(error, kinds):
            return status, Problem(code=code, detail=text, remedy=remedy), 1.0 if status == 503 else 0.0
    return None


_KNOWN: list[tuple[Any, int, str]] = [
    ((NoTarget, NoAmount), 422, "value.invalid"),
    (Refused, 409, "refused"),
    (NoSuchPlace, 422, "page.unknown"),
    (NotFound, 404, "not_found"),
    (StaleRevision, 409, "revision.stale"),
    (StaleHandover, 409, "revision.stale"),
    (Duplicate, 409, "duplicate"),
    (IllegalTransition, 409, "state.changed"),
    (LedgerBusy, 503, "ledger.busy"),
    (LedgerFull, 507, "ledger.full"),
    (InvalidRecord, 422, "record.invalid"),
    (DecisionRequired, 409, "decision.required"),
    (LedgerError, 500, "ledger.error"),
    (BatchRefused, 409, "batch.refused"),
    (SameHands, 409, "approver.same"),
    (GateError, 422, "decision.invalid"),
    (SpecError, 422, "campaign.invalid"),
    (ProfileError, 422, "profile.invalid"),
    (UnknownLaboratory, 404, "not_found"),
    (ModelNotConfigured, 409, "model.not_configured"),
    (LimitViolation, 422, "limit.violated"),
    (InvalidPoint, 422, "point.invalid"),
    (LatchError, 500, "latch.error"),
    (TakenOver, 409, "takeover.held"),
    (InstrumentUnavailable, 409, "instrument.unavailable"),
    (SwitchError, 500, "writes.error"),
    (StationError, 409, "station.error"),
    (ReductionFailed, 422, "outcomes.unknown"),
    (NoOutcomes, 422, "outcomes.missing"),
    (NoProfile, 409, "profile.missing"),
    (PlaceError, 500, "place.error"),
    (sqlite3.OperationalError, 503, "file.busy"),
]
KNOWN: tuple[Any, ...] = (
    Denied,
    PeopleError,
    *(one for kind, _, _ in _KNOWN for one in (kind if isinstance(kind, tuple) else (kind,))),
)
"""What handlers may raise and what is not a fault of the console."""


async def on_error(_: Request, error: Exception) -> JSONResponse:
    """Turn an error of ours, or of the framework's, into a problem."""
    if isinstance(error, HTTPException):
        codes = {404: "no_such_page", 405: "method.not_allowed", 413: "body.too_large"}
        response = answer(
            error.status_code, Problem(code=codes.get(error.status_code, "http"), detail=str(error.detail))
        )
        response.headers.update(error.headers or {})
        return response
    found = problem_of(error)
    return unforeseen(error) if found is None else answer(*found)


def unforeseen(error: Exception) -> JSONResponse:
    """The answer to what nobody foresaw: it is in the log, not in the answer."""
    log.error("this was not foreseen", exc_info=error)
    return answer(500, Problem(code="internal", detail="this was not foreseen; the console's log says more"))


async def on_invalid(_: Request, error: Exception) -> JSONResponse:
    """A request whose fields are not what they should be, each named."""
    listed = error.errors() if hasattr(error, "errors") else []
    said = "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in listed)
    return answer(422, Problem(code="request.invalid", detail=said or "this is not a request that can be read"))
