"""What a command works with: which ledger, who is asking, and how to call us again."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from athanor.console.cli.failures import Refused

if TYPE_CHECKING:
    from athanor.console.commands.decisions import Commands
    from athanor.governance.gate import Gate
    from athanor.instruments.latch import Latch
    from athanor.memory.ledger import Ledger
    from athanor.memory.places import InstrumentPlace
    from athanor.memory.records import Campaign, Experiment

LedgerOption = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        metavar="URL",
        help="The ledger: a file or sqlite:///file. Else ATHANOR_LEDGER, else the user's data folder.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object on standard output, all else on standard error."),
]
CampaignArgument = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="The campaign's id, or how it begins.")]


def ledger_url(given: str | None) -> str:
    """Return the ledger to use: what was given, else ATHANOR_LEDGER, else the user's data folder."""
    from athanor.memory import places

    return given or os.environ.get("ATHANOR_LEDGER") or str(places.home() / "ledger.db")


def ledger_path(url: str) -> Path:
    """Return the file of a SQLite ledger given by path or by URL."""
    if url.startswith("sqlite:///"):
        return Path(url.removeprefix("sqlite:///"))
    if "://" in url:
        raise Refused(f"{url} is no ledger this version can open", "Give a file, or sqlite:///file.")
    return Path(url).expanduser()


def open_ledger(given: str | None, *, create: bool = False) -> Ledger:
    """Open the ledger; create it only where a command may start something new.

    Raises:
        Refused: there is no ledger there yet.
    """
    from athanor.memory.ledger import Ledger

    url = ledger_url(given)
    path = ledger_path(url)
    if not path.exists():
        if not create:
            raise Refused(
                f"There is no ledger at {path}",
                "Start a campaign with `athanor run`, or name another ledger with --ledger or ATHANOR_LEDGER.",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
    return Ledger.open(url, create=create)


def person() -> str:
    """Return the name under which decisions of this person are signed: the account's."""
    return getpass.getuser()


def find_campaign(ledger: Ledger, name: str) -> Campaign:
    """Return the campaign with this id, or the only one whose id begins so.

    Raises:
        Refused: there is none, or there are several.
    """
    campaigns = ledger.campaigns()
    exact = [item for item in campaigns if item.id == name]
    fitting = exact or [item for item in campaigns if item.id.startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise Refused(f"{name} fits {len(fitting)} campaigns", "One of: " + ", ".join(item.id for item in fitting))
    known = ", ".join(item.id for item in campaigns[-5:]) or "none yet"
    raise Refused(f"There is no campaign {name} in this ledger", f"Campaigns here: {known}")


def instrument_place(campaign: Campaign, ledger: Ledger) -> InstrumentPlace:
    """Return where the campaign's instrument keeps its things: beside the ledger when simulated."""
    from athanor.memory.places import InstrumentPlace

    base = ledger_path(ledger.url).resolve().parent if campaign.simulated else None
    return InstrumentPlace.of(campaign.instrument, base)


def latch(campaign: Campaign, ledger: Ledger) -> Latch:
    """Return the Stop All latch of the campaign's instrument."""
    from athanor.instruments.latch import Latch

    return Latch(instrument_place(campaign, ledger))


@dataclass(frozen=True)
class Halt:
    """Why nothing may start on an instrument: in two words, as a line, and the command that ends it."""

    word: str
    text: str
    way_on: str


def halt(campaign: Campaign, ledger: Ledger) -> Halt | None:
    """Return what holds the instrument of a campaign that has not ended: Stop All, or a person who took it over."""
    from athanor.instruments.takeover import TakeOver

    if campaign.state in ("succeeded", "failed", "cancelled"):
        return None
    name = campaign.instrument
    stopped = latch(campaign, ledger).read()
    if stopped.engaged:
        text = f"Stop All is latched: {stopped.reason or 'no reason given'}"
        return Halt("Stop All", text, command("reset-stop", "--instrument", name, "--reason", "why it is safe"))
    standing = TakeOver(instrument_place(campaign, ledger)).read()
    if standing.tenure is not None:
        return Halt("taken over", f"taken over: {standing.tenure}", command("hand-back", name))
    if standing.trouble is not None:
        release = command("take-over", name, "--emergency-release", "--reason", "why it is safe")
        return Halt("taken over?", f"nobody can tell who has {name} in hand: {standing.trouble}", release)
    return None


def commands(ledger: Ledger) -> Commands:
    """Return what this person does to campaigns of a ledger."""
    from athanor.console.commands.decisions import Commands

    return Commands(ledger, person())


def gate(ledger: Ledger) -> Gate:
    """Return the gate that signs this person's decisions."""
    from athanor.governance.gate import Gate
    from athanor.memory import places
    from athanor.memory.signing import GateKey

    return Gate(ledger, GateKey.load_or_create(places.keys_dir()), person())


def executable() -> str:
    """Return the full path of this `athanor`, since nobody may have activated its environment."""
    called = Path(sys.argv[0])
    if called.name.startswith("athanor") and called.exists():
        return str(called.absolute())
    beside = Path(sys.executable).parent / "athanor"
    if beside.exists():
        return str(beside)
    return shutil.which("athanor") or "athanor"


def command(*words: str, ledger: str | None = None) -> str:
    """Return a command to type: short when `athanor` is on the path, and quoted for the shell."""
    program = "athanor" if _is_on_path() else executable()
    tail = [] if ledger is None else ["--ledger", ledger]
    return " ".join([shlex.quote(program), *(shlex.quote(word) for word in (*words, *tail))])


def _is_on_path() -> bool:
    found = shutil.which("athanor")
    return found is not None and Path(found).resolve() == Path(executable()).resolve()


def ledger_flag(ledger: Ledger) -> str | None:
    """Return the --ledger value a printed command needs, or None when it would be chosen anyway."""
    path = ledger_path(ledger.url).resolve()
    if path == ledger_path(ledger_url(None)).resolve():
        return None
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def find_experiment(ledger: Ledger, name: str) -> Experiment:
    """Return the experiment with this id.

    Raises:
        Refused: there is none.
    """
    campaign, _, _ = name.rpartition(".")
    for item in ledger.campaigns():
        if item.id == campaign:
            for experiment in ledger.experiments(item.id):
                if experiment.id == name:
                    return experiment
    raise Refused(f"There is no experiment {name} in this ledger", "`athanor show CAMPAIGN` lists what is waiting.")


def split_revision(text: str) -> tuple[str, str]:
    """Split `EXPERIMENT@REVISION`.

    Raises:
        Refused: the revision is missing or too short.
    """
    experiment, at, revision = text.partition("@")
    if not at or len(revision) < 6:
        raise Refused(
            f"{text} names no revision",
            "Approve what you have seen: EXPERIMENT@REVISION, with at least 6 digits, as `athanor show` prints it.",
        )
    return experiment, revision
