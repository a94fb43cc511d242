"""Laboratories are found by name, through entry points."""

from __future__ import annotations

import subprocess
import sys

import pytest

from athanor.instruments import laboratory


def test_installed_laboratories_are_listed_and_loaded() -> None:
    assert "snar-flow" in laboratory.names()
    found = laboratory.load("snar-flow")
    assert found.name == "snar-flow"
    assert isinstance(found, laboratory.Simulated)
    assert found.profile().simulated


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(laboratory.UnknownLaboratory, match="snar-flow") as caught:
        laboratory.load("nowhere")
    assert caught.value.name == "nowhere"


def test_the_package_and_the_seam_load_nothing_heavy() -> None:
    code = (
        "import sys, athanor.instruments; light = set(sys.modules); import athanor.instruments.laboratory;"
        "print([m for m in ('pydantic',) if m in light],"
        "[m for m in ('bluesky', 'ophyd', 'ophyd_async', 'numpy', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"
