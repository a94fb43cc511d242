"""Errors as they leave: `{code, detail, remedy}`, with a status that says whose turn it is."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from athanor.console.refused import Refused
from athanor.governance.gate import GateError
from athanor.governance.people import PeopleError, SignInRefused
from athanor.instruments.bounds import LimitViolation
from athanor.instruments.latch import LatchError
from athanor.memory.errors import (
    Duplicate,
    IllegalTransition,
    InvalidRecord,
    LedgerBusy,
    LedgerError,
    LedgerFull,
    NotFound,
    StaleRevision,
)

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
    "second_factor.none": 409,
    "library.missing": 500,
    "file.newer": 500,
    "sign_in.wait": 429,
}
"""Of the codes of accounts; signing in is 401 else, and what was typed is 422."""


def answer(status: int, problem: Problem, wait_s: float = 0.0) -> JSONResponse:
    """The answer that says so."""
    headers = {"Retry-After": str(max(1, round(wait_s)))} if wait_s else None
    return JSONResponse(problem.model_dump(), status_code=status, headers=headers)


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
    for kinds, status, code in _KNOWN:
        if isinstance(error, kinds):
            return status, Problem(code=code, detail=text, remedy=remedy), 1.0 if status == 503 else 0.0
    return None


_KNOWN: list[tuple[Any, int, str]] = [
    (Refused, 409, "refused"),
    (NotFound, 404, "not_found"),
    (StaleRevision, 409, "revision.stale"),
    (Duplicate, 409, "duplicate"),
    (IllegalTransition, 409, "state.changed"),
    (LedgerBusy, 503, "ledger.busy"),
    (LedgerFull, 507, "ledger.full"),
    (InvalidRecord, 422, "record.invalid"),
    (LedgerError, 500, "ledger.error"),
    (GateError, 422, "decision.invalid"),
    (LimitViolation, 422, "limit.violated"),
    (LatchError, 500, "latch.error"),
]


async def on_error(request: Request, error: Exception) -> JSONResponse:
    """Turn any error into a problem; what nobody foresaw is in the log, not in the answer."""
    if (found := problem_of(error)) is not None:
        return answer(*found)
    if isinstance(error, HTTPException):
        codes = {404: "no_such_page", 405: "method.not_allowed"}
        return answer(error.status_code, Problem(code=codes.get(error.status_code, "http"), detail=str(error.detail)))
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return answer(500, Problem(code="internal", detail="this was not foreseen; the console's log says more"))


async def on_invalid(_: Request, error: Exception) -> JSONResponse:
    """A request whose fields are not what they should be, each named."""
    listed = error.errors() if hasattr(error, "errors") else []
    said = "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in listed)
    return answer(422, Problem(code="request.invalid", detail=said or "this is not a request that can be read"))
