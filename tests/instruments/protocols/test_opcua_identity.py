from __future__ import annotations

import pytest

from athanor.instruments.protocols.opcua_identity import Identity

SECURE = {"security": "Basic256Sha256", "certificate": "a.der", "private_key": "a.pem", "server_certificate": "b.der"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"user": "me", "password_env": "PLC_PASSWORD"},
        {"user": "me", "password_file": "~/plc"},
        SECURE,
        SECURE | {"mode": "Sign", "user": "me", "password_env": "PLC_PASSWORD"},
    ],
)
def test_whole_descriptions_are_taken(options: dict[str, str]) -> None:
    Identity(options, "plc")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"password": "secret"}, "no such option: password; there are .*password_env"),
        ({"user": "me"}, "password_env"),
        ({"password_env": "X"}, "user"),
        ({"security": "Basic128"}, "Basic256Sha256"),
        ({"security": "Basic256Sha256"}, "certificate, private_key, server_certificate"),
        ({"certificate": "a.der"}, "certificate without security"),
        ({"mode": "Sign"}, "mode without security"),
        (SECURE | {"mode": "None"}, "SignAndEncrypt"),
    ],
)
def test_what_is_missing_or_makes_no_sense_is_named(options: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Identity(options, "plc")
