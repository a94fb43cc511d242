from __future__ import annotations

import subprocess
import sys

import pytest

import athanor.planners

HEAVY = ("torch", "botorch", "gpytorch", "numpy", "scipy", "pandas")


def test_importing_the_package_stays_light():
    code = f"import sys, athanor.planners; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_baselines_need_no_torch():
    code = (
        "import sys\nfrom athanor.planners import Continuous, Objective, Problem, SobolPlanner, RandomPlanner\n"
        "p = Problem([Continuous('x', 0, 1)], [Objective('f', 'maximize')])\n"
        "SobolPlanner(p).suggest(2); RandomPlanner(p).suggest(2)\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_public_name_is_there():
    for name in athanor.planners.__all__:
        assert name == "Value" or getattr(athanor.planners, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = athanor.planners.nothing
