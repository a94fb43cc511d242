"""Commands about an instrument whose experiments go through the queue of a `bluesky-queueserver`."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from athanor.console.cli import context, output
from athanor.console.cli.failures import Refused

if TYPE_CHECKING:
    from athanor.memory.places import InstrumentPlace

EXTRA = "bluesky_queueserver"
START = "from bluesky_queueserver.manager.start_manager import start_manager; start_manager()"


def group() -> typer.Typer:
    """The commands."""
    made = typer.Typer(
        no_args_is_help=True, help="Run experiments through a bluesky-queueserver.", rich_markup_mode="rich"
    )
    made.command("setup")(setup)
    made.command("run")(run)
    made.command("remove")(remove)
    return made


def setup(
    profile: Annotated[
        str, typer.Argument(metavar="PROFILE", help="A profile file, or the name of an instrument or a laboratory.")
    ],
    redis: Annotated[
        str, typer.Option("--redis", metavar="HOST:PORT", help="The Redis server for the manager.")
    ] = "localhost",
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Write what the manager of an instrument's queue is started with; from then on experiments go through it.

    Its users may run one plan, which checks the signed decision, the lease, the limits and the stop by itself.
    """
    from athanor.console.cli.instruments import subject
    from athanor.instruments.config import Config
    from athanor.instruments.laboratory import InstrumentUnavailable
    from athanor.instruments.queueserver.settings import set_up

    sight, place, options = subject(profile, ledger)
    if sight.profile is None:
        raise Refused(f"{profile} has faults", f"See them: {context.command('instruments', 'check', profile)}")
    try:
        folder = set_up(place, Config(sight.profile, options), redis)
    except InstrumentUnavailable as error:
        raise Refused(f"{place.name}: {error.detail}", error.remedy) from error
    if json:
        output.emit({"instrument": place.name, "folder": str(folder), "redis": redis})
    output.say(f"[good]✓[/] Experiments on [name]{output.plain(place.name)}[/] go through a queue: {folder}")
    output.say(f"  Start its manager, and leave it running: {_command('run', place.name, ledger)}")


def run(
    instrument: Annotated[str, typer.Argument(metavar="NAME", help="The instrument's name.")],
    ledger: context.LedgerOption = None,
) -> None:
    """Be the manager of an instrument's queue, until told to end."""
    from athanor.instruments.detached import without_model
    from athanor.instruments.queueserver.manager import ManagerRefused, ManagerSilent
    from athanor.instruments.queueserver.settings import Settings, folder_of, manager_of

    if find_spec(EXTRA) is None:
        raise Refused("bluesky-queueserver is not installed", "Install it: pip install 'athanor-lab[queueserver]'")
    place = _place(instrument, ledger)
    try:
        manager_of(place, Settings.read(place)).call("status", timeout_s=1.0)
    except (ManagerSilent, ManagerRefused):
        pass
    else:
        raise Refused(f"{place.name} has a manager that runs", None)
    place.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
    (place.sockets / "queue.pid").write_text(f"{os.getpid()}\n")
    environment = {**without_model(), "OMP_NUM_THREADS": "1"}
    if _is_simulated(place):
        # The manager imports classic ophyd before we could say that there is no control system to look for.
        environment.setdefault("OPHYD_CONTROL_LAYER", "dummy")
    sys.stdout.flush()
    sys.stderr.flush()
    # It becomes the manager, so that whoever ends this command ends that.
    command = [sys.executable, "-c", START, "--config", str(folder_of(place) / "manager.yml")]
    os.execve(sys.executable, command, environment)


def remove(
    instrument: Annotated[str, typer.Argument(metavar="NAME", help="The instrument's name.")],
    ledger: context.LedgerOption = None,
) -> None:
    """Let experiments be run by a worker of our own again. End the manager first."""
    from athanor.instruments.laboratory import InstrumentUnavailable
    from athanor.instruments.queueserver import settings

    place = _place(instrument, ledger)
    try:
        settings.remove(place)
    except InstrumentUnavailable as error:
        raise Refused(f"{place.name}: {error.detail}", error.remedy) from error
    output.say(f"[good]✓[/] Experiments on [name]{output.plain(place.name)}[/] do not go through a queue any more.")


def _place(name: str, ledger: str | None) -> InstrumentPlace:
    """The place of an instrument that has a queue. Raises `Refused`."""
    from athanor.console.cli.instruments import place_of
    from athanor.instruments.queueserver.settings import has_queue

    place = place_of(name, ledger)
    if not has_queue(place):
        raise Refused(f"{name} has no queue", f"Set it up: {_command('setup', name, ledger)}")
    return place


def _is_simulated(place: InstrumentPlace) -> bool:
    from athanor.instruments.config import Config

    return Config.read(place).profile.simulated


def _command(verb: str, name: str, ledger: str | None) -> str:
    return context.command("instruments", "queueserver", verb, name, ledger=ledger)
