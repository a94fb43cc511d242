"""Which model endpoint may be asked, and nothing else: settings from our own environment variables alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr

MODEL = "ATHANOR_MODEL"
BASE_URL = "ATHANOR_MODEL_BASE_URL"
API_KEY = "ATHANOR_MODEL_API_KEY"
PRICE_IN = "ATHANOR_MODEL_PRICE_IN"
PRICE_OUT = "ATHANOR_MODEL_PRICE_OUT"


class ModelNotConfigured(RuntimeError):
    """No model endpoint is configured, or only part of one; the message names the variable to set."""


class ModelSettings(BaseModel):
    """A model endpoint and how patiently it is asked.

    `base_url` has no default: no host is ever asked that was not named. Prices are per million tokens, in any one
    currency. `timeout_s` bounds one attempt, hanging or not; `attempts` bounds tries after 429, 5xx and connection
    errors; waits between them follow Retry-After up to `longest_wait_s`. `repairs` bounds how often an invalid answer
    is sent back with what is wrong with it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = Field(min_length=1)
    base_url: str = Field(min_length=1)
    api_key: SecretStr = SecretStr("none")
    price_in: float | None = Field(default=None, ge=0.0)
    price_out: float | None = Field(default=None, ge=0.0)
    timeout_s: float = Field(default=45.0, gt=0.0)
    attempts: int = Field(default=3, ge=1, le=10)
    first_wait_s: float = Field(default=1.0, ge=0.0)
    longest_wait_s: float = Field(default=10.0, ge=0.0)
    repairs: int = Field(default=2, ge=0, le=5)
    max_tokens: int = Field(default=2000, ge=100)

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, *, required: bool = False
    ) -> ModelSettings | None:
        """Read the endpoint from ATHANOR_MODEL, ATHANOR_MODEL_BASE_URL and, where it needs one, ATHANOR_MODEL_API_KEY.

        ATHANOR_MODEL_PRICE_IN and ATHANOR_MODEL_PRICE_OUT (per million tokens) are optional. Variables of other tools
        are never read.

        Returns:
            the settings, or None where neither model nor base URL is set and none is `required`.

        Raises:
            ModelNotConfigured: one of the two is missing (or both, if required), or a value cannot be used.
        """
        env = os.environ if environment is None else environment
        model, base_url = env.get(MODEL, "").strip(), env.get(BASE_URL, "").strip()
        if not model and not base_url and not required:
            return None
        missing = [name for name, value in ((MODEL, model), (BASE_URL, base_url)) if not value]
        if len(missing) == 2:
            raise ModelNotConfigured(f"no model endpoint is configured: set {MODEL} and {BASE_URL}")
        if missing:
            [given] = {MODEL, BASE_URL} - set(missing)
            raise ModelNotConfigured(f"{given} is set but {missing[0]} is not: set both, or neither")
        check_base_url(base_url)
        return cls(
            model=model,
            base_url=base_url,
            api_key=SecretStr(env.get(API_KEY, "").strip() or "none"),
            price_in=_price(PRICE_IN, env),
            price_out=_price(PRICE_OUT, env),
        )

    def cost(self, tokens_in: int, tokens_out: int) -> float | None:
        """The cost of a call, None where prices are not configured."""
        if self.price_in is None or self.price_out is None:
            return None
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6


def check_base_url(url: str) -> None:
    """Refuse an endpoint that is not a plain http(s) URL with a host. Raises ModelNotConfigured with the remedy."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    else:
        if usable and (parts.username or parts.password or parts.query or parts.fragment):
            raise ModelNotConfigured(f"{BASE_URL} holds a user, password, query or fragment; give the plain address")
    if not usable:
        raise ModelNotConfigured(
            f"{BASE_URL} is not an http(s) address with a host; write for instance http://127.0.0.1:8000/v1"
        )


def _price(name: str, env: Mapping[str, str]) -> float | None:
    text = env.get(name, "").strip()
    if not text:
        return None
    try:
        price = float(text)
    except ValueError:
        price = -1.0
    if not 0.0 <= price < 1e9:
        raise ModelNotConfigured(f"{name} = {text!r} is no price per million tokens; write a number such as 2.5")
    return price
