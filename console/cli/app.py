"""The Typer application: every command, its panel in the help, and the way errors leave."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from athanor.console.cli import (
    alarms,
    console,
    explain,
    failures,
    instruments,
    ledger,
    look,
    moving,
    observe,
    output,
    reconcile,
    resources,
    runs,
    safety,
    sandbox,
    start,
    station,
    supervise,
    takeover,
)

EPILOG = (
    "Exit codes: 0 done · 1 refused or failed, with the reason · 2 used wrongly · 3 the campaign is paused. "
    "The ledger is --ledger, else ATHANOR_LEDGER, else ledger.db in the user's data folder."
)

app = typer.Typer(
    name="athanor",
    help="Autonomous closed-loop experiments: hypothesise, plan, approve, run, test, remember.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"athanor {version('athanor-lab')}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Autonomous closed-loop experiments: hypothesise, plan, approve, run, test, remember."""


start.add_to(app)
supervise.add_to(app)
reconcile.add_to(app)
station.add_to(app)
observe.add_to(app)
safety.add_to(app)
alarms.add_to(app)
runs.add_to(app)
takeover.add_to(app)
moving.add_to(app)
look.add_to(app)
explain.add_to(app)
resources.add_to(app)
ledger.add_to(app)
instruments.add_to(app)
sandbox.add_to(app)
console.add_to(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code. Errors are explained, never raised."""
    rest = list(arguments)
    debug = "--debug" in rest or bool(os.environ.get("ATHANOR_DEBUG"))
    rest = [argument for argument in rest if argument != "--debug"]
    try:
        app(rest, prog_name="athanor")
    except SystemExit as leaving:
        if leaving.code is None:
            return output.OK
        return leaving.code if isinstance(leaving.code, int) else output.FAILED
    except KeyboardInterrupt:
        output.say("Interrupted.", style="quiet")
        return output.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last place before the person: every error is explained
        return failures.explain(error, debug=debug)
    return output.OK
