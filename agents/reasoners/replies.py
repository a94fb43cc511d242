"""What a language model may answer, checked to the last field. Nothing it writes is believed that is not in here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from athanor.agents.hypotheses.claims import AnyClaim, Claim, InvalidClaim, claim_key, parse_claim
from athanor.agents.hypotheses.contrast import compile_claim
from athanor.agents.hypotheses.statements import describe
from athanor.agents.reasoners.protocol import Proposal, Situation

if TYPE_CHECKING:
    from athanor.planners.problem import Problem

REPLY_LIMIT = 50_000
"""Characters of an answer beyond which it is not even parsed."""


class InvalidReply(ValueError):
    """The answer cannot be used; the message says why, in words the model can act on."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class ReplyItem(_Strict):
    """One hypothesis as a model may state it."""

    claim: Claim
    rationale: str = Field(max_length=1000)
    prior: float = Field(ge=0.01, le=0.99)
    cites: list[str] = Field(default_factory=list, max_length=50)


class Reply(_Strict):
    """A model's whole answer."""

    hypotheses: list[ReplyItem] = Field(max_length=20)


def reply_schema(problem: Problem, limit: int) -> dict[str, Any]:
    """The JSON schema of an answer, with parameters and outcomes as enumerations of this problem."""
    schema: dict[str, Any] = Reply.model_json_schema()
    schema["properties"]["hypotheses"]["maxItems"] = limit
    for name, definition in schema["$defs"].items():
        properties = definition.get("properties", {})
        if "outcome" in properties:
            properties["outcome"] = {"enum": list(problem.outcomes)}
        if "parameter" in properties:
            properties["parameter"] = {"enum": list(problem.names)}
        if name == "Region":
            properties["box"]["propertyNames"] = {"enum": list(problem.names)}
    return schema


def strip_wrapping(text: str) -> str:
    """Take off what models like to put around JSON: thoughts in <think> tags and a code fence."""
    text = re.sub(r"\A\s*<think>.*?</think>", "", text, flags=re.DOTALL).strip()
    fenced = re.fullmatch(r"```(?:json)?\s*\n(.*?)\n?```", text, flags=re.DOTALL)
    return fenced.group(1).strip() if fenced else text


def parse_reply(text: str, situation: Situation, problem: Problem, limit: int, tainted: bool) -> tuple[Proposal, ...]:
    """Check an answer and turn it into proposals. Statements are written from the claims, not by the model.

    Raises:
        InvalidReply: naming the first few things that are wrong. One bad hypothesis refuses the whole answer.
    """
    if len(text) > REPLY_LIMIT:
        raise InvalidReply(f"the answer has {len(text)} characters; at most {REPLY_LIMIT} are read")
    try:
        reply = Reply.model_validate_json(strip_wrapping(text))
    except (ValidationError, RecursionError) as error:
        raise InvalidReply(_explain(error)) from error
    if len(reply.hypotheses) > limit:
        raise InvalidReply(f"{len(reply.hypotheses)} hypotheses where at most {limit} were asked for")
    known = {_key(item.claim) for item in situation.hypotheses} - {None}
    citable = {item.id for item in situation.observations}
    citable |= {item.id for item in situation.memory} | {item.id for item in situation.hypotheses}
    proposals: list[Proposal] = []
    keys: list[str] = []
    for number, item in enumerate(reply.hypotheses, start=1):
        where = f"hypothesis {number}"
        unknown = [cite[:60] for cite in item.cites if cite not in citable]
        if unknown:
            raise InvalidReply(f"{where} cites {', '.join(unknown)}, which the situation does not have")
        if claim_key(item.claim) in known:
            raise InvalidReply(f"{where} repeats a claim the campaign already has")
        known.add(claim_key(item.claim))
        try:
            key = compile_claim(item.claim, problem, situation.base_point or {}).key
            statement = describe(item.claim, problem)
        except InvalidClaim as error:
            raise InvalidReply(f"{where}: {error}") from error
        proposals.append(
            Proposal(
                kind=item.claim.kind,
                statement=statement,
                rationale=_printable(item.rationale),
                claim=item.claim,
                prior=item.prior,
                cites=tuple(item.cites),
                tainted=tainted,
                shares_runs_with=keys.index(key) if key in keys else None,
            )
        )
        keys.append(key)
    return tuple(proposals)


def _key(claim: dict[str, Any]) -> str | None:
    try:
        parsed: AnyClaim = parse_claim(claim)
    except ValidationError:
        return None
    return claim_key(parsed)


def _printable(text: str) -> str:
    """The text without control characters, which could rewrite a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def _explain(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "the JSON is nested too deeply"
    parts: Sequence[str] = [
        f"{'.'.join(str(step) for step in item['loc']) or 'answer'}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False, include_context=False)[:5]
    ]
    return "; ".join(parts)[:1500]
