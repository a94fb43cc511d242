"""Commands of the person who supervises: decide, propose, pause, stop after the step, cancel."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from athanor.console.cli import context, drive, output, remote
from athanor.console.commands.decisions import OVER, is_driven

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Request

PANEL = "Supervise"

ExperimentAtRevision = Annotated[
    str, typer.Argument(metavar="EXPERIMENT@REVISION", help="What you have seen, as `athanor show` prints it.")
]
Assignments = Annotated[list[str], typer.Argument(metavar="NAME=VALUE…", help="Settings, in the campaign's units.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this panel."""
    app.command("approve", rich_help_panel=PANEL)(approve)
    app.command("edit", rich_help_panel=PANEL)(edit)
    app.command("reject", rich_help_panel=PANEL)(reject)
    app.command("propose", rich_help_panel=PANEL)(propose)
    app.command("pause", rich_help_panel=PANEL)(pause)
    app.command("stop-after-step", rich_help_panel=PANEL)(stop_after_step)
    app.command("cancel", rich_help_panel=PANEL)(cancel)


def approve(
    what: ExperimentAtRevision,
    expires: Annotated[str, typer.Option("--expires", help="How long the approval is good for: 30 min, 2 h.")] = "24 h",
    ledger: context.LedgerOption = None,
    server: remote.ServerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Approve one experiment.

    The decision is signed over the revision you name, so that it holds for exactly what was shown to you.
    """
    experiment_id, revision = context.split_revision(what)
    if (url := remote.named(server, ledger)) is not None:
        remote.approve(url, experiment_id, revision, duration(expires), json)
        return
    opened = context.open_ledger(ledger)
    campaign_id = context.find_experiment(opened, experiment_id).campaign_id
    context.commands(opened).approve(experiment_id, revision, duration(expires))
    said = f"[good]✓[/] approved [name]{experiment_id}[/] by {context.person()}"
    _done(json, said, campaign_id, experiment_id, "approved")
    _hint_if_not_driven(opened, campaign_id)


def reject(
    what: ExperimentAtRevision,
    reason: Annotated[str, typer.Option("--reason", help="Why; the planner learns that the point is not wanted.")],
    ledger: context.LedgerOption = None,
    server: remote.ServerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Reject one experiment, and say why.

    It will not run; the planner takes the point as unwanted, not as failed.
    """
    experiment_id, revision = context.split_revision(what)
    if (url := remote.named(server, ledger)) is not None:
        remote.reject(url, experiment_id, revision, reason, json)
        return
    opened = context.open_ledger(ledger)
    experiment = context.find_experiment(opened, experiment_id)
    context.commands(opened).reject(experiment_id, revision, reason)
    _done(json, f"[good]✓[/] rejected [name]{experiment_id}[/]", experiment.campaign_id, experiment_id, "rejected")
    _hint_if_not_driven(opened, experiment.campaign_id)


def edit(
    what: ExperimentAtRevision,
    assignments: Assignments,
    reason: Annotated[str, typer.Option("--reason", help="Why you change it.")],
    approve_too: Annotated[bool, typer.Option("--approve", help="Approve the edited experiment at once.")] = False,
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Change the settings of a proposed experiment.

    The old experiment is superseded; the new one waits for approval, unless you approve it at once.
    """
    experiment_id, revision = context.split_revision(what)
    opened = context.open_ledger(ledger)
    campaign = opened.campaign(context.find_experiment(opened, experiment_id).campaign_id)
    values = parse(assignments, campaign.problem)
    changed = context.commands(opened).edit(experiment_id, revision, values, reason, approve=approve_too)
    state = "approved" if approve_too else "proposed"
    _done(json, f"[good]✓[/] [name]{changed.id}[/] takes the place of {experiment_id}", campaign.id, changed.id, state)
    if not approve_too:
        _say_approve(opened, changed.id, changed.revision)


def propose(
    campaign_id: context.CampaignArgument,
    assignments: Assignments,
    approve_too: Annotated[bool, typer.Option("--approve", help="Approve it at once, in your name.")] = False,
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Put up an experiment of your own.

    Every parameter needs a value. The instrument's limits hold as ever, and so does what the campaign excludes; its
    narrower ranges do not bind you.
    """
    opened = context.open_ledger(ledger)
    campaign = context.find_campaign(opened, campaign_id)
    values = parse(assignments, campaign.problem)
    experiment = context.commands(opened).propose(campaign, values, approve=approve_too)
    state = "approved" if approve_too else "proposed"
    _done(json, f"[good]✓[/] put up [name]{experiment.id}[/]", campaign.id, experiment.id, state)
    if not approve_too:
        _say_approve(opened, experiment.id, experiment.revision)
    _hint_if_not_driven(opened, campaign.id)


def pause(
    campaign_id: context.CampaignArgument,
    ledger: context.LedgerOption = None,
    server: remote.ServerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Pause as soon as nothing is half done.

    A running experiment is finished and recorded, long planning is abandoned, and nothing starts until `resume`.
    """
    _request(campaign_id, "pause", "will pause as soon as nothing is half done", ledger, json, server)


def stop_after_step(
    campaign_id: context.CampaignArgument,
    ledger: context.LedgerOption = None,
    server: remote.ServerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Pause once the present step is done and remembered.

    Unlike `pause`, planning in progress is finished too. `resume` goes on.
    """
    _request(campaign_id, "stop_after_step", "will pause when the present step is done", ledger, json, server)


def cancel(
    campaign_id: context.CampaignArgument, ledger: context.LedgerOption = None, json: context.JsonOption = False
) -> None:
    """End a campaign for good, keeping its record.

    What waits is withdrawn; what runs is finished. To stop motion now, use `athanor stop-all`.
    """
    opened = context.open_ledger(ledger)
    campaign = context.find_campaign(opened, campaign_id)
    if campaign.state in OVER or is_driven(opened, campaign.id):
        _request(campaign_id, "cancel", "will be cancelled", ledger, json)
        return
    from athanor.agents.campaign import run_campaign

    opened.request(campaign.id, "cancel", context.person())
    state = run_campaign(campaign.id, opened)  # nobody drives it: take in what has run meanwhile, and end it here
    drive.shut_down(opened, campaign.id)
    if json:
        output.emit({"campaign": campaign.id, "state": state, "requested": "cancel"})
    output.say(output.standing(state, opened.campaign(campaign.id).reason))


def _request(
    campaign_id: str, verb: Request, promise: str, ledger: str | None, json: bool, server: str | None = None
) -> None:
    if verb != "cancel" and (url := remote.named(server, ledger)) is not None:
        remote.request(url, campaign_id, verb, promise, json)
        return
    opened = context.open_ledger(ledger)
    campaign = context.find_campaign(opened, campaign_id)
    is_asked = context.commands(opened).request(campaign, verb)
    if json:
        output.emit({"campaign": campaign.id, "state": campaign.state, "requested": verb if is_asked else "none"})
    if is_asked:
        output.say(f"[good]✓[/] [name]{campaign.id}[/] {promise}.")
    else:
        output.say(f"[good]✓[/] [name]{campaign.id}[/] starts nothing new: it is {campaign.state}.")
        _hint_if_not_driven(opened, campaign.id)


def _done(json: bool, text: str, campaign: str, experiment: str, state: str) -> None:
    if json:
        output.emit({"campaign": campaign, "experiment": experiment, "state": state, "by": context.person()})
    output.say(text)


def _say_approve(ledger: Ledger, experiment_id: str, revision: str) -> None:
    typed = context.command("approve", f"{experiment_id}@{revision[:8]}", ledger=context.ledger_flag(ledger))
    output.say(f"  To approve it:  [command]{output.plain(typed)}[/]")


def _hint_if_not_driven(ledger: Ledger, campaign_id: str) -> None:
    """Say how to go on when no process drives the campaign, since a decision alone starts nothing."""
    if is_driven(ledger, campaign_id):
        return
    typed = context.command("resume", campaign_id, ledger=context.ledger_flag(ledger))
    output.say(f"  No process drives this campaign now. To go on:  [command]{output.plain(typed)}[/]")


def duration(text: str) -> timedelta:
    """Read a duration such as `30 min`, `2 h`, `1 d`.

    Raises:
        typer.BadParameter: it is not one.
    """
    import re

    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(s|min|m|h|d)\s*", text)
    if match is None or float(match[1]) <= 0:
        raise typer.BadParameter(f"{text!r} is not a duration; write for example '2 h' or '30 min'")
    return timedelta(seconds=float(match[1]) * {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}[match[2]])


def parse(assignments: list[str], problem: dict[str, object]) -> dict[str, float | int | str]:
    """Read `name=value` words as settings of a problem's parameters; a number may carry the parameter's own unit.

    Raises:
        typer.BadParameter: no such parameter, no number where one is needed, or another unit.
    """
    from athanor.planners.problem import Problem

    parameters = {parameter.name: parameter for parameter in Problem.model_validate(problem).parameters}
    values: dict[str, float | int | str] = {}
    for word in assignments:
        name, equals, text = (part.strip() for part in word.partition("="))
        if not equals or not text:
            raise typer.BadParameter(f"{word!r} is not NAME=VALUE")
        parameter = parameters.get(name)
        if parameter is None:
            raise typer.BadParameter(f"there is no parameter {name!r}; the parameters are {', '.join(parameters)}")
        if parameter.kind == "categorical":
            values[name] = text
            continue
        unit = getattr(parameter, "unit", None)
        digits = text.removesuffix(unit).strip() if unit else text
        try:
            value = float(digits)
        except ValueError as error:
            wanted = f"a number in {unit}" if unit else "a number"
            raise typer.BadParameter(f"{name} needs {wanted}, not {text!r}") from error
        values[name] = int(value) if parameter.kind == "integer" and value.is_integer() else value
    return values
