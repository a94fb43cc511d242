"""What is for developers: simulated laboratories over the protocols of real instruments."""

from __future__ import annotations

import os
import sys

import typer

PANEL = "Develop"
SERVING = "athanor.sandbox.serving"

sandbox = typer.Typer(no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this panel."""
    app.add_typer(sandbox, name="sandbox", rich_help_panel=PANEL, help="Simulated laboratories for developers.")


@sandbox.callback()
def _sandbox() -> None:
    """Simulated laboratories for developers."""


@sandbox.command(
    "serve",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
)
def serve(ctx: typer.Context) -> None:
    """Serve one over the protocol of a real instrument (EPICS, OPC UA, SCPI), with its profile. See serve --help."""
    from athanor.instruments.detached import without_model

    sys.stdout.flush()
    sys.stderr.flush()
    # It becomes that process, so that whoever ends this command ends the server, however hard.
    environment = {**without_model(), "OMP_NUM_THREADS": "1"}
    os.execve(sys.executable, [sys.executable, "-m", SERVING, *ctx.args], environment)
