"""Errors become one message with its remedy."""

from __future__ import annotations

import pytest

from athanor.console.cli import failures
from athanor.console.cli.output import FAILED
from athanor.instruments.laboratory import UnknownLaboratory
from athanor.memory.errors import StaleRevision


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (failures.Refused("no", "do that"), ["no", "do that"]),
        (UnknownLaboratory("x", ["a", "b"]), ["unknown laboratory 'x'", "a, b"]),
        (StaleRevision("c.1", "abcdef", "123456", "it was edited"), ["c.1@abcdef", "it was edited", "123456"]),
        (FileNotFoundError(2, "No such file", "mine.yaml"), ["There is no file mine.yaml"]),
        (ValueError("strange"), ["ValueError: strange", "--debug"]),
    ],
)
def test_every_error_is_explained(error: Exception, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert failures.explain(error, debug=False) == FAILED
    said = capsys.readouterr()
    assert said.out == ""
    assert all(word in said.err for word in words)
    assert "Traceback" not in said.err


def test_debug_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("strange")
    except ValueError as error:
        failures.explain(error, debug=True)
    assert "Traceback" in capsys.readouterr().err
