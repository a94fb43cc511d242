"""The guide says what is true: its commands are understood, and its profile's section is read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from ruamel.yaml import YAML

from athanor.instruments.laboratory import load
from athanor.instruments.protocols.wiring import RUN_FIELDS, PrepareWiring
from athanor.sandbox.options import Options
from athanor.sandbox.serving import process
from athanor.sandbox.serving.station import TOLD
from tests.sandbox.serving.served import PROTOCOLS

GUIDE = (Path(__file__).parents[3] / "docs" / "guides" / "serve-a-laboratory.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def test_its_commands_are_understood() -> None:
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line)[3:] for line in lines if line.startswith("athanor sandbox serve ")]
    assert len(commands) == 2
    for words in commands:
        given = process._parser().parse_args(words)
        laboratory = process._laboratory(given.name)
        assert isinstance(process._options(given, laboratory), Options)


def test_its_preparation_is_read() -> None:
    content = YAML(typ="safe").load(blocks("yaml")[1])
    assert [PrepareWiring.model_validate(part).value for part in content["prepare"]][1] == "{ordinal}"


def test_it_names_every_protocol_and_every_field_of_a_run() -> None:
    for protocol in PROTOCOLS:
        assert f"| `{protocol}` |" in GUIDE
    assert RUN_FIELDS.keys() == TOLD.keys()
    for field in RUN_FIELDS:
        assert f"`{{{field}}}`" in GUIDE


def test_there_is_a_laboratory_of_that_name() -> None:
    assert load("snar-flow").name == "snar-flow"
