"""Commands that start things: demo, new, check, run, resume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from athanor.console.cli import context, drive, output
from athanor.console.cli.failures import Refused

if TYPE_CHECKING:
    from athanor.agents.spec import Spec
    from athanor.memory.ledger import Ledger

PANEL = "Start"
DEMO_FOLDER = "athanor-demo"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this panel."""
    app.command("demo", rich_help_panel=PANEL)(demo)
    app.command("new", rich_help_panel=PANEL)(new)
    app.command("check", rich_help_panel=PANEL)(check)
    app.command("run", rich_help_panel=PANEL)(run)
    app.command("resume", rich_help_panel=PANEL)(resume)


def demo(
    laboratory: Annotated[
        str, typer.Option("--laboratory", help="A simulated laboratory; `athanor challenges` lists them.")
    ] = "snar-flow",
    budget: Annotated[
        int | None, typer.Option("--budget", min=1, help="How many experiments.", show_default="40")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same campaign.")] = 1,
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Watch a whole campaign on a simulated laboratory.

    Hypotheses, experiments, verdicts, and a report at the end.

    Everything goes into ./athanor-demo (then athanor-demo-2, …), so that a demo never mixes with your own campaigns
    and always starts without memories; --ledger chooses another place.
    """
    path = context.ledger_path(ledger) if ledger else _fresh_folder() / "ledger.db"
    from athanor.agents.spec import BudgetSpec, PolicySpec, load
    from athanor.console.commands.campaigns import ready_campaign

    source = ready_campaign(laboratory)

    spec = load(source)
    limits = spec.budget.model_dump() | {"experiments": budget or spec.budget.experiments}
    spec = spec.model_copy(
        update={
            "seed": seed,
            "budget": BudgetSpec.model_validate(limits),
            # Nobody sits at a demo to approve: a signed grant within the laboratory's limits stands in.
            "policy": PolicySpec(autonomy="auto_within_limits", expires=spec.policy.expires),
        }
    )
    opened = context.open_ledger(str(path), create=True)
    output.say(f"[quiet]A demonstration on a simulated laboratory. Its record is in[/] {output.plain(str(path))}")
    campaign_id = drive.open_campaign(spec, opened)
    state = drive.follow(opened, campaign_id)
    if state == "paused":
        _conclude(opened, campaign_id, state, json)
    drive.shut_down(opened, campaign_id)
    report = path.parent / f"{campaign_id}.html"
    from athanor.console.report import write_report

    write_report(opened, campaign_id, report)
    if json:
        drive.emit_results(opened, campaign_id)
    output.say(f"\n[good]✓[/] The report: [name]{output.plain(str(report))}[/]. Open it in any browser.")
    _next_commands(opened, campaign_id)
    drive.leave(state)


def _fresh_folder() -> Path:
    """Return ./athanor-demo, or the first of athanor-demo-2, -3, … that holds no ledger yet."""
    number = 1
    while True:
        folder = Path(DEMO_FOLDER if number == 1 else f"{DEMO_FOLDER}-{number}")
        if not (folder / "ledger.db").exists():
            return folder
        number += 1


def _next_commands(ledger: Ledger, campaign_id: str) -> None:
    flag = context.ledger_flag(ledger)
    output.say("\nNext:")
    for words, purpose in (
        (("show", campaign_id), "what was found and why"),
        (("results", campaign_id, "--csv"), "every experiment as a table"),
        (("ledger", "verify"), "check that the record is whole"),
    ):
        _hint(context.command(*words, ledger=flag), purpose)
    _hint(context.command("challenges"), "the other laboratories")
    _hint(context.command("new", "my-campaign.yaml"), "a campaign file of your own")


def _hint(typed: str, purpose: str) -> None:
    output.say(f"  [quiet]{output.plain(purpose + ':'):<34}[/] [command]{output.plain(typed)}[/]")


def new(
    file: Annotated[Path, typer.Argument(help="The campaign file to write.")] = Path("campaign.yaml"),
    laboratory: Annotated[
        str, typer.Option("--laboratory", help="Start from this laboratory's ready campaign.")
    ] = "snar-flow",
    profile: Annotated[
        Path | None, typer.Option("--profile", help="Start from an instrument's profile file instead.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented campaign file to start from."""
    if file.exists() and not force:
        raise Refused(f"{file} exists already", "Name another file, or overwrite it with --force.")
    from athanor.console.cli import drafts
    from athanor.console.commands.campaigns import ready_campaign

    text = drafts.from_profile(profile, file) if profile else drafts.from_laboratory(ready_campaign(laboratory), file)
    file.write_text(text, encoding="utf-8")
    output.say(f"[good]✓[/] wrote [name]{output.plain(str(file))}[/]. Edit it, then:")
    _hint(context.command("check", str(file)), "say whether it can run")
    _hint(context.command("run", str(file)), "run it")


SpecArgument = Annotated[Path, typer.Argument(metavar="SPEC", help="A campaign file; `athanor new` writes one.")]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Earlier results as CSV, with units in the column heads: temperature [degC]."),
]


def check(file: SpecArgument, ledger: context.LedgerOption = None, json: context.JsonOption = False) -> None:
    """Check a campaign file; nothing is started.

    Fields, units, the instrument's limits, whether the constraints can be met, and the earlier data that it names.
    """
    spec, summary = checked(file)
    summary += _earlier(spec, file, ledger)
    last = ""
    if json:
        said: dict[str, str] = {}
        for label, text in summary:
            last = label or last
            said[last] = f"{said[last]}; {text}" if last in said else text
        output.emit({"file": str(file), "ok": True, "summary": said, "seed": spec.seed})
    for label, text in summary:
        output.say(f"  [quiet]{label:<12}[/] {output.plain(text)}")
    output.say(f"[good]✓[/] [name]{output.plain(str(file))}[/] can run.")


def checked(file: Path) -> tuple[Spec, list[tuple[str, str]]]:
    """Load and check a campaign file; return it with a summary of what it would do.

    Raises:
        SpecError, ProfileError: naming file, line, field and remedy.
    """
    from athanor.agents import fitting
    from athanor.agents.opening import with_pool
    from athanor.agents.spec import load
    from athanor.console.commands.campaigns import check_reasoner, summarise

    spec = load(file)
    text = file.read_text(encoding="utf-8")
    profile = fitting.fit(spec, str(file), text)
    spec = with_pool(spec, str(file), text)
    check_reasoner(spec)
    return spec, summarise(spec, profile)


def _earlier(spec: Spec, file: Path, ledger: str | None) -> list[tuple[str, str]]:
    """Say what the earlier data are that a campaign names. Raises `SpecError` where they are of no use."""
    if not spec.transfer:
        return []
    from athanor.agents import fitting
    from athanor.agents.opening import sources_of
    from athanor.agents.transfer import summary

    # Campaigns are in a ledger; to read tables none is needed.
    has_campaigns = any(one.campaign is not None for one in spec.transfer)
    opened = context.open_ledger(ledger) if has_campaigns else None
    found = sources_of(spec, opened, fitting.resolve(spec)[1], str(file), file.read_text(encoding="utf-8"))
    return [("" if place else "earlier data", summary(one, spec.problem())) for place, one in enumerate(found)]


NoWaitOption = Annotated[
    bool, typer.Option("--no-wait", help="Fail if somebody else is using the instrument, instead of waiting.")
]


def run(
    file: SpecArgument,
    data: DataOption = None,
    no_wait: NoWaitOption = False,
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Run a campaign from its file, with a live view.

    Ctrl-C pauses cleanly and prints the command that resumes.
    """
    checked(file)
    if data is not None and not data.exists():
        raise Refused(f"There is no file {data}")
    opened = context.open_ledger(ledger, create=True)
    campaign_id = drive.open_campaign(file, opened, data=data)
    output.say(f"[quiet]campaign[/] [name]{campaign_id}[/] [quiet]in[/] {output.plain(opened.url)}")
    _finish(opened, campaign_id, json, wait=not no_wait)


def resume(
    campaign_id: context.CampaignArgument,
    no_wait: NoWaitOption = False,
    accept_reference: Annotated[
        str | None,
        typer.Option(
            "--accept-reference", metavar="WHY", help="Take the level that a reference drifted to as the new one."
        ),
    ] = None,
    recalibrated: Annotated[
        str | None,
        typer.Option(metavar="WHAT", help="The instrument was put right: the next reference must be within limits."),
    ] = None,
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Go on with a paused or interrupted campaign."""
    opened = context.open_ledger(ledger)
    campaign = context.find_campaign(opened, campaign_id)
    if campaign.state in ("succeeded", "failed", "cancelled"):
        if json:
            drive.emit_results(opened, campaign.id)
        raise Refused(f"{campaign.id} is over ({campaign.state})", "Start another campaign with `athanor run`.")
    drive.decide_drift(opened, campaign.id, accept_reference, recalibrated)
    _finish(opened, campaign.id, json, wait=not no_wait)


def _finish(ledger: Ledger, campaign_id: str, json: bool, *, wait: bool) -> None:
    state = drive.follow(ledger, campaign_id, wait=wait)
    if state != "paused":
        drive.shut_down(ledger, campaign_id)
    _conclude(ledger, campaign_id, state, json)


def _conclude(ledger: Ledger, campaign_id: str, state: str, json: bool) -> NoReturn:
    """Say how a campaign stands and what to type next; end the command with the code that stands for it."""
    if json:
        drive.emit_results(ledger, campaign_id)
    flag = context.ledger_flag(ledger)
    output.say(output.standing(state, ledger.campaign(campaign_id).reason))
    if state == "paused":
        _hint(context.command("show", campaign_id, ledger=flag), "what is waiting")
        _hint(context.command("resume", campaign_id, ledger=flag), "go on")
    else:
        _hint(context.command("show", campaign_id, ledger=flag), "what was found and why")
        _hint(context.command("report", campaign_id, ledger=flag), "a page to send to a colleague")
    drive.leave(state)
