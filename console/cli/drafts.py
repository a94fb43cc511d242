"""Campaign files to start from: a laboratory's ready one, or one written from an instrument's profile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from athanor.instruments.profile import AxisSpec, Profile

HEAD = """\
# A campaign for Athanor. Edit it, then:   athanor check {file}   and   athanor run {file}
"""


def from_laboratory(ready: Path, target: Path) -> str:
    """Return a laboratory's ready campaign, with a line on what to do with it."""
    return HEAD.format(file=target.name) + ready.read_text(encoding="utf-8")


def from_profile(path: Path, target: Path) -> str:
    """Return a commented campaign that uses every knob and outcome of a profile.

    Raises:
        ProfileError: the profile is wrong; names file, line, field and remedy.
    """
    from athanor.instruments.profile import load_profile

    profile = load_profile(path)
    relative = os.path.relpath(path.resolve(), target.resolve().parent)
    lines = [HEAD.format(file=target.name)]
    lines += [
        f"name: First campaign on {profile.title or profile.name}",
        "question: What do you want to know?          # one sentence; it heads the report",
        f"laboratory: {{profile: {relative}}}",
        "",
        "parameters:                                  # the knobs this campaign may turn, within the profile's limits",
        *[f"  {name}: {_parameter(axis)}" for name, axis in profile.axes.items()],
        "",
        "objectives:                                  # goal: maximize or minimize, or target: a value",
        *_objectives(profile),
        "",
        "# constraints:                               # bounds on outcomes, or on sums of knobs",
        "#   - {outcome: purity, lower: 0.99, probability: 0.95}",
        "#   - {sum: {a: 1, b: 1}, equals: 1.0}",
        "#   - {excluded: {solvent: DMF, temperature: {above: 120}}}",
        "",
        "budget: {experiments: 30}                    # may also have wall_time: 8 h, model_tokens, model_cost",
        "replicates: 1                                # measurements per experiment",
        "hypotheses: {share: 0.3, alpha: 0.05}        # largest share of the budget for tests, and their error rate",
        "policy: {autonomy: approve_each, expires: 24 h}   # or auto_within_limits",
        "# stop: {target: {…: …}, patience: 15}       # end before the budget does",
        "seed: 1                                      # the same seed gives the same campaign",
    ]
    return "\n".join(lines) + "\n"


def _parameter(axis: AxisSpec) -> str:
    unit = f", unit: {axis.unit}" if axis.unit else ""
    if axis.allowed is not None:
        return f"{{values: [{', '.join(str(value) for value in axis.allowed)}]{unit}}}"
    if axis.minimum is None or axis.maximum is None:
        return "{low: 0, high: 1}   # the profile gives no limits: this knob will be refused until it does"
    whole = ", integer: true" if axis.integer else ""
    return f"{{low: {axis.minimum:g}, high: {axis.maximum:g}{unit}{whole}}}"


def _objectives(profile: Profile) -> list[str]:
    lines = []
    for index, (name, outcome) in enumerate(profile.outcomes.items()):
        unit = f", unit: {outcome.unit}" if outcome.unit else ""
        lines.append(f"  {'' if index == 0 else '# '}{name}: {{goal: maximize{unit}}}")
    return lines
