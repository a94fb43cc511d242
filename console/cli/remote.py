"""Commands on a console elsewhere, where a server is named: `--server URL`, or ATHANOR_SERVER."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from athanor.console import wording
from athanor.console.cli import output
from athanor.console.cli.failures import Refused

if TYPE_CHECKING:
    from athanor.console.client import Client

SERVER = "ATHANOR_SERVER"
STOP_WAIT_S = 300.0
ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="A console elsewhere; its token is in ATHANOR_TOKEN or the file ATHANOR_TOKEN_FILE. Else ATHANOR_SERVER.",
        show_default=False,
    ),
]


def named(server: str | None, ledger: str | None) -> str | None:
    """Return the server to ask; None for a ledger here. A ledger that is named goes before a server that is not.

    Raises:
        Refused: both are named.
    """
    if server and ledger:
        raise Refused("--server and --ledger are two places", "Name one of them.")
    return server or (None if ledger else os.environ.get(SERVER) or None)


@contextmanager
def _lab(url: str) -> Iterator[Client]:
    """A client, whose problems become refusals. Raises `Refused`."""
    from athanor.console.client import Client, ServerProblem

    with Client.from_environment(url) as client:
        try:
            yield client
        except ServerProblem as problem:
            raise Refused(problem.detail, problem.remedy) from problem


def list_campaigns(url: str, json: bool) -> None:
    """List the campaigns of a server."""
    with _lab(url) as lab:
        lines = list(lab.campaigns())
    if json:
        output.emit({"server": url, "campaigns": [line.model_dump(mode="json") for line in lines]})
        return
    if not lines:
        output.say(f"No campaign yet at {output.plain(url)}.")
        return
    rows = [
        (
            f"[name]{output.plain(line.id)}[/]",
            output.state(line.state),
            output.plain(line.instrument),
            wording.ago(line.created_at),
            output.plain(line.name),
        )
        for line in lines
    ]
    columns = ("campaign", "state", "instrument", "started", "name")
    output.show(output.table(columns, rows, whole=("campaign", "state")))


def show(url: str, campaign: str, json: bool) -> None:
    """Show one campaign of a server, and what waits."""
    with _lab(url) as lab:
        found = lab.campaign(_one(lab, campaign))
        waiting = [lab.experiment(name) for name in found.waiting[:10]]
    if json:
        said = {**found.model_dump(mode="json"), "waiting_for": [item.model_dump(mode="json") for item in waiting]}
        output.emit(said)
        return
    output.show(f"[name]{output.plain(found.id)}[/]  {output.state(found.state)}  {output.plain(found.name)}")
    output.show(f"[quiet]{output.plain(found.question)}[/]")
    if found.reason:
        output.show(output.plain(found.reason))
    if found.simulated:
        output.show("[warn]simulated[/]")
    output.show(f"  used       {found.used} of {found.budget} experiments")
    for best in found.best[:3]:
        measured = ", ".join(f"{name} {wording.measured(*pair)}" for name, pair in best.outcomes.items())
        output.show(f"  best       {output.plain(measured)}")
    for line in found.recent:
        output.show(f"  [quiet]{output.plain(line)}[/]")
    for item in waiting:
        values = ", ".join(f"{name} {wording.number(value)}" for name, value in item.values.items())
        output.show(f"\n[name]{output.plain(item.id)}[/] {output.state(item.state)}")
        output.show(f"  {output.plain(values)}")
        if item.state == "proposed":
            output.show(f"  [command]athanor approve {output.plain(item.id)}@{item.revision[:8]}[/]")


def approve(url: str, experiment: str, revision: str, expires: timedelta, json: bool) -> None:
    """Approve one experiment of a server."""
    with _lab(url) as lab:
        decision = lab.approve(experiment, revision, expires.total_seconds())
    _decided(json, "approved", experiment, decision.decided_by)


def reject(url: str, experiment: str, revision: str, reason: str, json: bool) -> None:
    """Reject one experiment of a server."""
    with _lab(url) as lab:
        decision = lab.reject(experiment, revision, reason)
    _decided(json, "rejected", experiment, decision.decided_by)


def request(url: str, campaign: str, verb: str, promise: str, json: bool) -> None:
    """Pause a campaign of a server, or stop it after this step."""
    with _lab(url) as lab:
        name = _one(lab, campaign)
        is_driven = lab.pause(name) if verb == "pause" else lab.stop_after_step(name)
    if json:
        output.emit({"campaign": name, "requested": verb if is_driven else "none"})
    said = promise if is_driven else "starts nothing new: no process drives it"
    output.say(f"[good]✓[/] [name]{output.plain(name)}[/] {said}.")


def begin_stop(arguments: Sequence[str]) -> tuple[list[str], subprocess.Popen[bytes] | None]:
    """Have a server's site stopped too, where one is named, by a process of its own: nothing here waits for a line.

    Return the arguments that are left for the stop on this computer.
    """
    rest = list(arguments)
    url = os.environ.get(SERVER)
    for index, word in enumerate(rest):
        if word == "--server" and index + 1 < len(rest):
            url = rest[index + 1]
            del rest[index : index + 2]
            break
        if word.startswith("--server="):
            url = word.partition("=")[2]
            del rest[index]
            break
    if not url or "--help" in rest or "-h" in rest:
        return rest, None
    command = [sys.executable, "-m", "athanor.console.cli.remote_stop", url]
    try:
        return rest, subprocess.Popen([*command, *rest], stdin=subprocess.DEVNULL)
    except OSError as error:
        output.say(f"[bad]✗[/] {output.plain(url)} could not be asked to stop: {output.plain(str(error))}")
        return rest, None


def end_stop(here: int, elsewhere: subprocess.Popen[bytes] | None) -> int:
    """Return how a stop of this computer and of a server's site ended: the worse of the two.

    That nothing runs on this computer is no failure where a server was asked.
    """
    if elsewhere is None:
        return here
    try:
        there = elsewhere.wait(STOP_WAIT_S)
    except subprocess.TimeoutExpired:
        elsewhere.kill()
        elsewhere.wait()
        there = output.FAILED
    if output.FAILED in (here, there):
        return output.FAILED
    return there if here == NOTHING_RUNNING else here


NOTHING_RUNNING = 3


def _one(lab: Client, given: str) -> str:
    """The campaign with this id, or the only one whose id begins so."""
    names = [line.id for line in lab.campaigns()]
    fitting = [name for name in names if name == given] or [name for name in names if name.startswith(given)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise Refused(f"{given} fits {len(fitting)} campaigns", "One of: " + ", ".join(fitting[:10]))
    raise Refused(f"There is no campaign {given} at {lab.url}", "Campaigns there: " + (", ".join(names[:5]) or "none"))


def _decided(json: bool, state: str, experiment: str, by: str) -> None:
    said: dict[str, Any] = {"experiment": experiment, "state": state, "by": by}
    if json:
        output.emit(said)
    output.say(f"[good]✓[/] {state} [name]{output.plain(experiment)}[/] by {output.plain(by)}")
