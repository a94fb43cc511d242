"""Commands that only look: list, show, results, report, challenges."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from athanor.console import wording
from athanor.console.cli import asking, context, output, remote
from athanor.console.cli.failures import Refused
from athanor.console.commands.decisions import is_driven

if TYPE_CHECKING:
    from athanor.console.overview import Overview
    from athanor.instruments.station import Sheet
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Experiment

PANEL = "Look"
NOTHING_YET = (
    "No campaign yet. Write a campaign file with [command]athanor new[/], or see one run: [command]athanor demo[/]"
)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this panel."""
    app.command("list", rich_help_panel=PANEL)(list_campaigns)
    app.command("show", rich_help_panel=PANEL)(show)
    app.command("results", rich_help_panel=PANEL)(results)
    app.command("report", rich_help_panel=PANEL)(report)
    app.command("challenges", rich_help_panel=PANEL)(challenges)


def list_campaigns(
    ledger: context.LedgerOption = None, server: remote.ServerOption = None, json: context.JsonOption = False
) -> None:
    """List the campaigns of the ledger, newest first."""
    from athanor.console import overview

    if (url := remote.named(server, ledger)) is not None:
        remote.list_campaigns(url, json)
        return
    if ledger is None and not context.ledger_path(context.ledger_url(None)).exists():
        if json:
            output.emit({"ledger": context.ledger_url(None), "campaigns": []})
        output.say(NOTHING_YET)
        return
    opened = context.open_ledger(ledger)
    views = [(overview.look(opened, item), context.halt(item, opened)) for item in reversed(opened.campaigns())]
    if json:
        output.emit({"ledger": opened.url, "campaigns": [_line(*view) for view in views]})
        return
    if not views:
        output.say(NOTHING_YET)
        return
    rows = [
        (
            f"[name]{view.campaign.id}[/]",
            output.state(view.campaign.state),
            f"{view.used}/{view.budget}",
            overview.best_text(view),
            _marks(view, asking.waiting(opened, view.campaign), halt),
            wording.ago(view.campaign.created_at),
            output.plain(view.campaign.name),
        )
        for view, halt in views
    ]
    output.show(
        output.table(
            ("campaign", "state", "used", "best so far", "", "started", "name"),
            rows,
            right=("used",),
            whole=("campaign", "state", "used"),
        )
    )


def _marks(view: Overview, sheet: Sheet | None, halt: context.Halt | None) -> str:
    """What a person should look at: a halt, experiments that wait, a question at the bench, stocks that run low."""
    halted = [f"[bad]{output.plain(halt.word)}[/]"] if halt is not None else []
    waits = [wording.count(len(view.waiting), "waits", "wait")] if view.waiting else []
    waits += ["asks at the bench"] if sheet is not None else []
    low = [f"[warn]{output.plain(level.consumable.id)} low[/]" for level in view.stocks if level.is_low]
    return ", ".join([*halted, *waits, *low])


def _line(view: Overview, halt: context.Halt | None) -> dict[str, Any]:
    return {
        "id": view.campaign.id,
        "name": view.campaign.name,
        "state": view.campaign.state,
        "laboratory": view.campaign.laboratory,
        "simulated": view.campaign.simulated,
        "used": view.used,
        "budget": view.budget,
        "halted": halt.text if halt is not None else None,
        "waiting": [item.id for item in view.waiting],
        "low": [level.consumable.id for level in view.stocks if level.is_low],
        "created_at": view.campaign.created_at,
        "finished_at": view.campaign.finished_at,
    }


def show(
    campaign_id: context.CampaignArgument,
    ledger: context.LedgerOption = None,
    server: remote.ServerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Show one campaign, what waits, and the command for it.

    State, progress, best found, hypotheses with their evidence, and what moves the campaign on.
    """
    from athanor.console import overview

    if (url := remote.named(server, ledger)) is not None:
        remote.show(url, campaign_id, json)
        return
    opened = context.open_ledger(ledger)
    campaign = context.find_campaign(opened, campaign_id)
    if json:
        from athanor.agents.campaign import results as collect

        output.emit(collect(opened, campaign.id))
        return
    view = overview.look(opened, campaign)
    output.show(f"[name]{campaign.id}[/]  {output.state(campaign.state)}  {output.plain(campaign.name)}")
    output.show(f"[quiet]{output.plain(campaign.question)}[/]")
    if campaign.reason:
        output.show(f"{output.plain(campaign.reason)}")
    if campaign.simulated:
        output.show("[warn]simulated[/] laboratory: " + output.plain(campaign.laboratory))
    output.show("")
    output.show(f"  used       {view.used} of {view.budget} experiments, {view.failures} failed")
    output.show(f"  best       {output.plain(overview.best_text(view))}")
    for item in view.best[:1] if len(view.problem.objectives) == 1 else []:
        output.show(f"             at {output.plain(wording.settings(item.values, view.problem))}")
    if view.by_hand:
        count = wording.count(len(view.by_hand), "measurement")
        output.show(f"  by hand    {count} by a person, beside the budget: `athanor results` shows them")
    for text in view.references:
        output.show(f"  reference  {output.plain(text)}")
    for text in view.low:
        output.show(f"  stock      [warn]{output.plain(text)}[/]")
    if view.tokens:
        output.show(f"  model      {view.tokens} tokens" + (f", {view.cost:.4f} USD" if view.cost is not None else ""))
    if view.hypotheses:
        output.show("")
        rows = [
            (
                line.id.rpartition(".")[2],
                output.state(line.state),
                output.plain(line.statement),
                wording.number(line.prior, 2),
                wording.e_value(line.log_e_support),
                wording.e_value(line.log_e_refute),
            )
            for line in view.hypotheses
        ]
        columns = ("", "verdict", "hypothesis", "prior", "e for", "e against")
        output.show(output.table(columns, rows, right=("prior", "e for", "e against"), whole=("", "verdict", "prior")))
    _show_waiting(opened, view)


def _show_waiting(ledger: Ledger, view: Overview) -> None:
    from athanor.console import overview

    flag = context.ledger_flag(ledger)
    if (halt := context.halt(view.campaign, ledger)) is not None:
        output.show(f"\n[bad]{output.plain(halt.text)}[/]")
        output.show(f"  when it is safe:  [command]{output.plain(halt.way_on)}[/]")
    if (sheet := asking.waiting(ledger, view.campaign)) is not None:
        output.show(f"\n[warn]waiting for a person at the bench[/]: {output.plain(asking.line(sheet))}")
        output.show(f"  [command]{output.plain(asking.command(sheet, flag))}[/]")
    for put_off in view.deferred.values():
        until = wording.moment(put_off.until)
        output.show(f"\n[name]{put_off.experiment}[/] put off until {until} by {output.plain(put_off.by)}")
        output.show(f"  {output.plain(put_off.reason)}")
    for item in view.waiting[:10]:
        output.show(f"\n[name]{item.id}[/] {output.state(item.state)}  {output.plain(overview.why(item))}")
        output.show(f"  {output.plain(wording.settings(item.values, view.problem))}")
        for typed in actions(item, flag):
            output.show(f"  [command]{output.plain(typed)}[/]")
    if len(view.waiting) > 10:
        output.show(f"… and {len(view.waiting) - 10} more are waiting.")
    undriven = view.campaign.state == "running" and not is_driven(ledger, view.campaign.id)
    if undriven:
        output.show("\n[warn]No process drives this campaign now[/]: the one that did has ended without pausing it.")
    if undriven or view.campaign.state in ("paused", "queued"):
        resume = context.command("resume", view.campaign.id, ledger=flag)
        output.show(f"\nTo go on:  [command]{output.plain(resume)}[/]")
    elif view.is_finished:
        report = context.command("report", view.campaign.id, ledger=flag)
        output.show(f"\nTo read it:  [command]{output.plain(report)}[/]")


def actions(item: Experiment, flag: str | None) -> list[str]:
    """Return the exact commands that move a waiting experiment on."""
    if item.state == "in_doubt":
        return [context.command("reconcile", item.id, ledger=flag)]
    revision = f"{item.id}@{item.revision[:8]}"
    return [
        context.command("approve", revision, ledger=flag),
        context.command("reject", revision, "--reason", "…", ledger=flag),
    ]


def results(
    campaign_id: context.CampaignArgument,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write one row per experiment as CSV.")] = False,
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Print every experiment of a campaign, and what people measured beside it."""
    from athanor.agents.campaign import results as collect

    opened = context.open_ledger(ledger)
    campaign = context.find_campaign(opened, campaign_id)
    if json and as_csv:
        raise typer.BadParameter("choose --csv or --json")
    collected = collect(opened, campaign.id)
    if json:
        output.emit(collected)
        return
    from athanor.planners.problem import Problem

    problem = Problem.model_validate(campaign.problem)
    if as_csv:
        by_hand = [{**item, "state": "by hand", "run": None} for item in collected["by_hand"]]
        _write_csv(problem, [*collected["experiments"], *by_hand])
        return
    parameters, outcomes = list(problem.names), list(problem.outcomes)
    heads = [f"{name}\n[{unit}]" if (unit := problem.unit(name)) else name for name in (*parameters, *outcomes)]
    rows = []
    for item in collected["experiments"]:
        cells = [wording.number(item["values"].get(name)) for name in parameters]
        cells += [wording.measured(*_pair(item["outcomes"].get(name))) for name in outcomes]
        rows.append((item["id"].rpartition(".")[2], output.state(item["state"]), item["source"], *cells))
    for item in collected["by_hand"]:
        cells = [wording.number(item["values"].get(name)) for name in parameters]
        cells += [wording.measured(*_pair(item["outcomes"].get(name))) for name in outcomes]
        rows.append((item["id"].rpartition("/")[2], "by hand", item["source"], *cells))
    plain_heads = [output.plain(head) for head in heads]
    output.show(
        output.table(
            ("#", "state", "source", *plain_heads), rows, right=("#", *plain_heads), whole=("#", "state", "source")
        )
    )


def _pair(entry: Any) -> tuple[float | None, float | None]:
    if entry is None:
        return None, None
    if isinstance(entry, int | float):
        return float(entry), None
    return entry["mean"], entry.get("sem")


def _write_csv(problem: Any, experiments: list[dict[str, Any]]) -> None:
    """Write CSV that `athanor run --data` reads again: names with units in brackets, full precision."""
    writer = csv.writer(sys.stdout, lineterminator="\n")

    def head(name: str) -> str:
        unit = problem.unit(name)
        return f"{name} [{unit}]" if unit else name

    writer.writerow(
        ["experiment", "state", "source", "run"]
        + [head(name) for name in problem.names]
        + [column for name in problem.outcomes for column in (head(name), f"{name} sem")]
    )
    for item in experiments:
        row = [item["id"], item["state"], item["source"], item["run"] or ""]
        row += [item["values"].get(name, "") for name in problem.names]
        for name in problem.outcomes:
            mean, sem = _pair(item["outcomes"].get(name))
            row += ["" if mean is None else repr(mean), "" if sem is None else repr(sem)]
        writer.writerow(row)


def report(
    campaign_id: context.CampaignArgument,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", help="The HTML file. [default: <campaign>.html]")
    ] = None,
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Write the report: one HTML file to send to a colleague.

    The file needs nothing else: no network, no other file.
    """
    from athanor.console.report import write_report

    opened = context.open_ledger(ledger)
    campaign = context.find_campaign(opened, campaign_id)
    target = file or Path(f"{campaign.id}.html")
    if target.is_dir():
        target /= f"{campaign.id}.html"
    if not target.parent.exists():
        raise Refused(f"There is no folder {target.parent}", "Make it, or name another file with --output.")
    write_report(opened, campaign.id, target)
    if json:
        output.emit({"campaign": campaign.id, "report": str(target.resolve())})
    output.say(
        f"[good]✓[/] {output.plain(str(target))} ({target.stat().st_size / 1e3:.0f} kB). Open it in any browser."
    )


def challenges(json: context.JsonOption = False) -> None:
    """List the laboratories and the challenges they serve.

    Domain, knobs, objectives, and the national-challenge area each belongs to.
    """
    from athanor.instruments import laboratory

    entries: list[dict[str, Any]] = []
    for name in laboratory.names():
        lab = laboratory.load(name)
        profile = lab.profile()
        challenge = getattr(lab, "challenge", None)
        campaign_file = getattr(lab, "campaign_file", None)
        goals = {}
        if campaign_file is not None:
            from athanor.agents.spec import load

            goals = {
                key: goal.goal or f"target {goal.target:g}" for key, goal in load(campaign_file()).objectives.items()
            }
        entries.append(
            {
                "name": name,
                "title": profile.title or name,
                "simulated": profile.simulated,
                "domain": challenge.domain if challenge else None,
                "area": challenge.area if challenge else None,
                "description": challenge.description if challenge else None,
                "knobs": {axis: spec.unit for axis, spec in profile.axes.items()},
                "objectives": goals,
                "sources": list(challenge.sources) if challenge else [],
            }
        )
    if json:
        output.emit({"challenges": entries})
        return
    for entry in entries:
        knobs = ", ".join(f"{name} [{unit}]" if unit else name for name, unit in entry["knobs"].items())
        goals_text = ", ".join(f"{goal} {name}" for name, goal in entry["objectives"].items())
        kind = "simulated" if entry["simulated"] else "instrument"
        output.show(f"[name]{entry['name']}[/]  {output.plain(entry['title'])}  [quiet]{kind}[/]")
        if entry["area"]:
            output.show(f"  challenge   {output.plain(entry['area'])}  [quiet]{output.plain(entry['domain'] or '')}[/]")
        output.show(f"  knobs       {output.plain(knobs)}")
        output.show(f"  objectives  {output.plain(goals_text)}")
        output.show("")
    output.say("Try one:  [command]athanor demo --laboratory NAME[/]")
