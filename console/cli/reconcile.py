"""After a crash: what is known of each experiment in doubt, and a person's signed answer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from athanor.console.cli import card, context, output
from athanor.console.cli.failures import Refused
from athanor.console.commands import reconcile as commands
from athanor.console.commands.decisions import is_driven

if TYPE_CHECKING:
    from athanor.agents.doubt import Answer, Doubt
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Campaign, Experiment, Outcome

PANEL = "Supervise"

STATES: dict[str, Answer] = {
    "completed": "completed",
    "failed": "failed",
    "aborted": "aborted",
    "not-started": "not_started",
}

AsOption = Annotated[
    str | None, typer.Option("--as", metavar="STATE", help="What really happened: " + " | ".join(STATES) + ".")
]
OutcomesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--outcomes",
        metavar="NAME=VALUE[±SEM]",
        help="What was measured, when the documents do not say; repeat for each outcome.",
        show_default=False,
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this panel."""
    app.command("reconcile", rich_help_panel=PANEL)(reconcile)
    app.command("settle", rich_help_panel=PANEL)(settle)


def reconcile(
    subject: Annotated[
        str | None,
        typer.Argument(metavar="[INSTRUMENT|CAMPAIGN|EXPERIMENT]", help="Else everything in the ledger."),
    ] = None,
    as_state: AsOption = None,
    reason: Annotated[str | None, typer.Option("--reason", help="How you know; needed with --as.")] = None,
    outcomes: OutcomesOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="With --as not-started: put the same settings up for decision again.")
    ] = False,
    connect: Annotated[
        bool, typer.Option("--connect/--no-connect", help="Connect an instrument that nobody is connected to.")
    ] = True,
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """After a crash: find what has no end, and say what became of it.

    Takes in what had completed, shows for each experiment in doubt what is known, and asks. Nothing is moved, and
    nothing is run again by itself. Exit code 1 while something is left in doubt, or an instrument did not answer.
    """
    answer = _state(as_state)
    opened = context.open_ledger(ledger)
    scope = _scope(opened, subject)
    swept = commands.sweep(opened, scope.campaigns)
    experiments = _in_doubt(opened, scope)
    if answer is not None:
        _answer(opened, experiments, swept, answer, reason, outcomes, again, json)
        return
    if reason is not None or outcomes or again:
        raise typer.BadParameter("say with --as what happened", param_hint="--as")
    if connect and experiments:
        swept.troubles.update(commands.connect(opened, experiments))
    doubts = _examine(opened, experiments)
    if json:
        output.emit({"ledger": opened.url, **swept.to_json(), "in_doubt": [doubt.to_json() for doubt in doubts]})
    else:
        _say_swept(swept)
    if not doubts:
        if swept.troubles:
            raise typer.Exit(output.FAILED)  # nobody knows what an instrument does that did not answer
        if not json:
            output.say("[good]✓[/] Nothing is in doubt.")
        return
    if json or not sys.stdin.isatty():
        if not json:
            for doubt in doubts:
                card.show(doubt)
                _say_how(opened, doubt)
        raise typer.Exit(output.FAILED)
    left = [doubt for number, doubt in enumerate(doubts, 1) if not _walk(opened, doubt, number, len(doubts))]
    _say_resume(opened, [doubt.campaign for doubt in doubts])
    if left:
        raise typer.Exit(output.FAILED)


def settle(
    experiment_id: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="An experiment in doubt.")],
    as_state: Annotated[str, typer.Option("--as", help="What really happened: " + " | ".join(STATES) + ".")],
    reason: Annotated[str, typer.Option("--reason", help="How you know.")],
    outcomes: OutcomesOption = None,
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Say what became of an experiment in doubt.

    Nothing is ever retried by itself: whoever has looked at the instrument decides. `athanor reconcile` shows first
    what is known.
    """
    answer = _state(as_state)
    assert answer is not None
    opened = context.open_ledger(ledger)
    experiment = context.find_experiment(opened, experiment_id)
    _sign(opened, experiment, answer, reason, outcomes)
    if json:
        output.emit(_settled(experiment, answer))
    output.say(f"[good]✓[/] settled [name]{experiment_id}[/] as {as_state.replace('_', '-')}")
    _say_resume(opened, [opened.campaign(experiment.campaign_id)])


# -- what is meant -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scope:
    """The campaigns that are looked at, and the one experiment if one was named."""

    campaigns: list[Campaign]
    experiment: str | None = None


def _state(text: str | None) -> Answer | None:
    if text is None:
        return None
    state = text.replace("_", "-")
    if state not in STATES:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(STATES)}", param_hint="--as")
    return STATES[state]


def _scope(ledger: Ledger, subject: str | None) -> Scope:
    campaigns = ledger.campaigns()
    if subject is None:
        return Scope(campaigns)
    if on_it := [item for item in campaigns if item.instrument == subject]:
        return Scope(on_it)
    name, dot, _ = subject.rpartition(".")
    if dot and any(item.id == name for item in campaigns):
        experiment = context.find_experiment(ledger, subject)
        return Scope([ledger.campaign(experiment.campaign_id)], experiment.id)
    return Scope([context.find_campaign(ledger, subject)])


def _in_doubt(ledger: Ledger, scope: Scope) -> list[Experiment]:
    from athanor.agents.doubt import doubtful

    found = doubtful(ledger, scope.campaigns)
    return [item for item in found if scope.experiment in (None, item.id)]


def _examine(ledger: Ledger, experiments: Sequence[Experiment]) -> list[Doubt]:
    from athanor.agents.doubt import examine

    return [examine(ledger, experiment) for experiment in experiments]


# -- the answer ----------------------------------------------------------------------------------------------------


def _answer(
    ledger: Ledger,
    experiments: Sequence[Experiment],
    swept: commands.Swept,
    answer: Answer,
    reason: str | None,
    outcomes: list[str] | None,
    again: bool,
    json: bool,
) -> None:
    """Sign what the command line says about exactly one experiment."""
    if reason is None or not reason.strip():
        raise typer.BadParameter("say how you know", param_hint="--reason")
    if again and answer != "not_started":
        raise typer.BadParameter("only what has not started is put up again", param_hint="--again")
    if not experiments:
        if not json:
            _say_swept(swept)
        raise Refused("Nothing is in doubt there", "`athanor reconcile` shows what is.")
    if len(experiments) > 1:
        names = ", ".join(item.id for item in experiments)
        raise Refused(f"{len(experiments)} experiments are in doubt", f"One answer is for one of them: {names}")
    [experiment] = experiments
    _sign(ledger, experiment, answer, reason, outcomes)
    following = _put_up_again(ledger, experiment) if again else None
    if json:
        output.emit({**_settled(experiment, answer), **swept.to_json(), "again": following})
    output.say(f"[good]✓[/] settled [name]{experiment.id}[/] as {answer.replace('_', '-')} by {context.person()}")
    _say_resume(ledger, [ledger.campaign(experiment.campaign_id)])


def _settled(experiment: Experiment, answer: Answer) -> dict[str, Any]:
    who = context.person()
    return {"campaign": experiment.campaign_id, "experiment": experiment.id, "state": answer, "by": who}


def _sign(ledger: Ledger, experiment: Experiment, answer: Answer, reason: str, words: list[str] | None) -> None:
    measured = parse_outcomes(words) if words else None
    commands.ReconcileCommands(ledger, context.person()).settle(experiment, answer, reason, measured)


def _put_up_again(ledger: Ledger, experiment: Experiment) -> str:
    following = commands.ReconcileCommands(ledger, context.person()).put_up_again(experiment)
    typed = context.command("approve", f"{following.id}@{following.revision[:8]}", ledger=context.ledger_flag(ledger))
    output.say(f"  Its settings are put up again as [name]{following.id}[/]. To approve:  [command]{typed}[/]")
    return following.id


def parse_outcomes(words: Sequence[str]) -> dict[str, Outcome]:
    """Read `name=value`, `name=value±sem` or `name=value+-sem`, in the outcomes' own units, several with commas.

    Raises:
        typer.BadParameter: not of that form, or no finite number.
    """
    import math

    from athanor.memory.records import Outcome

    found: dict[str, Outcome] = {}
    for word in (part for text in words for part in text.split(",")):
        name, equals, text = (part.strip() for part in word.partition("="))
        if not equals or not name:
            raise typer.BadParameter(f"{word!r} is not NAME=VALUE or NAME=VALUE±SEM", param_hint="--outcomes")
        mean, sign, sem = (part.strip() for part in text.replace("+-", "±").partition("±"))
        try:
            values = (float(mean), float(sem) if sign else None)
        except ValueError as error:
            raise typer.BadParameter(f"{name}: {text!r} is no number", param_hint="--outcomes") from error
        if not all(value is None or math.isfinite(value) for value in values) or (values[1] or 0.0) < 0:
            raise typer.BadParameter(f"{name}: {text!r} is no measurement", param_hint="--outcomes")
        found[name] = Outcome(mean=values[0], sem=values[1])
    return found


# -- the walk ------------------------------------------------------------------------------------------------------


def _walk(ledger: Ledger, doubt: Doubt, number: int, total: int) -> bool:
    """Show one doubt and ask; whether it was settled."""
    output.show(f"\n[quiet]{number} of {total}[/]")
    card.show(doubt)
    choices: list[tuple[str, Answer | None, bool]] = []
    if doubt.outcomes is not None:
        gives = card.measured(doubt, doubt.outcomes)
        choices.append((f"completed, with what its documents give: {gives}", "completed", False))
    if doubt.units:
        choices.append(("completed, and I enter what was measured", "completed", True))
    choices += [("failed", "failed", False), ("aborted", "aborted", False)]
    choices += [("it never started: it may run again", "not_started", False), ("leave it in doubt", None, False)]
    output.say("\nWhat happened?")
    for index, (text, _, _) in enumerate(choices, 1):
        output.say(f"  [name]{index}[/]  {output.plain(text)}")
    chosen = typer.prompt("Your answer", type=int, err=True)
    while not 1 <= chosen <= len(choices):
        chosen = typer.prompt(f"A number from 1 to {len(choices)}", type=int, err=True)
    _, answer, by_hand = choices[chosen - 1]
    if answer is None:
        return False
    words = _ask_outcomes(doubt) if by_hand else None
    reason = ""
    while not reason.strip():
        reason = typer.prompt("How do you know", err=True)
    _sign(ledger, doubt.experiment, answer, reason, words)
    output.say(f"[good]✓[/] settled as {answer.replace('_', '-')} by {context.person()}")
    if answer == "not_started" and typer.confirm("Put the same settings up for decision again?", err=True):
        _put_up_again(ledger, doubt.experiment)
    return True


def _ask_outcomes(doubt: Doubt) -> list[str]:
    """Ask for every outcome; an empty answer leaves one out, but not all of them."""
    while True:
        words = []
        for name, unit in doubt.units.items():
            label = f"{name} [{unit}], VALUE or VALUE±SEM" if unit else f"{name}, VALUE or VALUE±SEM"
            text = typer.prompt(label, default="", show_default=False, err=True)
            if text.strip():
                words.append(f"{name}={text.strip()}")
        try:
            if parse_outcomes(words):
                return words
            output.say("  At least one outcome is needed.", style="warn")
        except typer.BadParameter as error:
            output.say(f"  {output.plain(error.message)}", style="warn")


# -- what is said --------------------------------------------------------------------------------------------------


def _say_swept(swept: commands.Swept) -> None:
    for item in swept.found:
        if item.kind not in ("in_doubt", "set_aside"):
            output.say(f"[good]·[/] [name]{output.plain(item.subject)}[/]: {output.plain(item.detail)}")
    for folder, items in swept.set_aside.items():
        for aside in items:
            what = f"{aside.file} ({aside.kind}): {aside.detail}"
            output.say(f"[warn]![/] set aside in {output.plain(folder)}/quarantine: {output.plain(what)}")
    for name, trouble in swept.troubles.items():
        output.say(f"[warn]![/] [name]{name}[/]: {output.plain(trouble)}")


def _say_how(ledger: Ledger, doubt: Doubt) -> None:
    words = ["reconcile", doubt.experiment.id, "--as", "|".join(STATES), "--reason", "how you know"]
    typed = context.command(*words, ledger=context.ledger_flag(ledger)).replace("'" + "|".join(STATES) + "'", "STATE")
    output.say(f"  To answer:  [command]{output.plain(typed)}[/]\n  STATE is one of {', '.join(STATES)}.\n")


def _say_resume(ledger: Ledger, campaigns: Sequence[Campaign]) -> None:
    """Say how to go on with each campaign that nobody drives and that is not over."""
    for campaign in {item.id: item for item in campaigns}.values():
        if campaign.state in ("succeeded", "failed", "cancelled") or is_driven(ledger, campaign.id):
            continue
        if not ledger.experiments(campaign.id, states=["in_doubt"]):
            typed = context.command("resume", campaign.id, ledger=context.ledger_flag(ledger))
            output.say(f"  No process drives this campaign now. To go on:  [command]{output.plain(typed)}[/]")
