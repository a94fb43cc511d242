"""A measurement that a person made beside the loop: recorded, shown as theirs, and given to the planner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from athanor.console import wording
from athanor.console.cli import context, output
from athanor.console.cli.failures import Refused
from athanor.console.cli.supervise import parse
from athanor.console.commands.decisions import OVER

if TYPE_CHECKING:
    from athanor.memory.records import Observation, Outcome
    from athanor.planners.problem import Problem

PANEL = "Supervise"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("observe", rich_help_panel=PANEL)(observe)


def observe(
    campaign_id: context.CampaignArgument,
    more: Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE", show_default=False, hidden=True)] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--values", metavar="NAME=VALUE…", help="Where: every parameter.", show_default=False),
    ] = None,
    outcomes: Annotated[
        list[str] | None,
        typer.Option("--outcomes", metavar="NAME=VALUE…", help="What was measured there.", show_default=False),
    ] = None,
    sem: Annotated[
        list[str] | None,
        typer.Option("--sem", metavar="NAME=VALUE…", help="Standard errors, as far as known.", show_default=False),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE", help="Many at once: columns `name [unit]` and `name sem`, a row for each."
        ),
    ] = None,
    note: Annotated[str, typer.Option("--note", help="How it was measured; kept in the record.")] = "",
    by: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="Who measured. Else the account's name.")
    ] = None,
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Record a measurement of your own, in the campaign's units.

    The planner takes it in with its next suggestion, also while the campaign runs. It costs no budget, and is evidence
    for no registered test. Nothing moves: for a run of your own, use `athanor propose`.
    """
    from athanor.agents import campaign as campaigns
    from athanor.planners.problem import Problem

    opened = context.open_ledger(ledger)
    campaign = context.find_campaign(opened, campaign_id)
    if campaign.state in OVER:
        raise Refused(
            f"{campaign.id} is over ({campaign.state})", "Give it to the next one: athanor run SPEC --data FILE"
        )
    if not note.strip():
        raise typer.BadParameter("say how it was measured", param_hint="--note")
    words = [*(values or []), *(outcomes or []), *(more or [])]
    problem = Problem.model_validate(campaign.problem)
    who = by or context.person()
    if csv is not None:
        if words or sem:
            raise typer.BadParameter("give a file, or values; not both", param_hint="--csv")
        found = campaigns.observe_file(opened, campaign.id, csv, by=who, note=note)
    else:
        point, measured = _split(words, sem or [], campaign.problem, problem)
        found = [campaigns.observe(opened, campaign.id, point, measured, by=who, note=note)]
    if json:
        output.emit(
            {"campaign": campaign.id, "by": who, "observations": [one.model_dump(mode="json") for one in found]}
        )
    for one in found:
        output.say(f"[good]✓[/] [name]{one.id}[/] by {output.plain(who)}: {output.plain(_line(one, problem))}")
    output.say(
        "  [quiet]The planner takes it in with its next suggestion. It uses no budget, and no registered test "
        "counts it.[/]"
    )


def _line(one: Observation, problem: Problem) -> str:
    results = ", ".join(
        f"{name} {wording.measured(outcome['mean'], outcome['sem'], problem.unit(name))}"
        for name, outcome in one.outcomes.items()
    )
    return f"{results} at {wording.settings(one.values, problem)}"


def _split(
    words: Sequence[str], sems: Sequence[str], body: Mapping[str, object], problem: Problem
) -> tuple[dict[str, float | int | str], dict[str, Outcome]]:
    """Tell parameters from outcomes by their names. Raises `typer.BadParameter`, `Refused`."""
    from athanor.console.cli.station import assignments
    from athanor.memory.records import Outcome

    texts = assignments(words, "--values")
    unknown = [name for name in texts if name not in problem.names and name not in problem.outcomes]
    if unknown:
        known = f"parameters {', '.join(problem.names)}; outcomes {', '.join(problem.outcomes)}"
        raise typer.BadParameter(f"there is no {unknown[0]!r}; there are {known}")
    point = parse([f"{name}={text}" for name, text in texts.items() if name in problem.names], dict(body))
    if missing := [name for name in problem.names if name not in point]:
        raise Refused(f"No value for {', '.join(missing)}", "Give every parameter a value: --values NAME=VALUE …")
    errors = {name: _number(name, text, problem) for name, text in assignments(sems, "--sem").items()}
    means = {name: _number(name, text, problem) for name, text in texts.items() if name in problem.outcomes}
    if extra := [name for name in errors if name not in means]:
        raise typer.BadParameter(f"{extra[0]} has an error and no value", param_hint="--sem")
    return point, {name: Outcome(mean=mean, sem=errors.get(name)) for name, mean in means.items()}


def _number(name: str, text: str, problem: Problem) -> float:
    from athanor.instruments.entries import EntryRefused, number

    try:
        return number(name, text, problem.unit(name))
    except EntryRefused as error:
        raise Refused(error.detail, error.remedy) from error
