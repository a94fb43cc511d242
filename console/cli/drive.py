"""Driving a campaign from the command line: the loop in a thread of its own, the view and Ctrl-C in the main one."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import typer

from athanor.console import wording
from athanor.console.cli import context, output
from athanor.console.cli.live import Follower

if TYPE_CHECKING:
    from athanor.agents.spec import Spec
    from athanor.memory.ledger import Ledger

REDRAW_S = 0.2


def open_campaign(source: Spec | Path, ledger: Ledger, data: Path | None = None) -> str:
    """Write a new campaign into the ledger and return its id."""
    from athanor.agents import campaign

    return campaign.open_campaign(source, ledger, data=data)


def grant_autonomy(ledger: Ledger, campaign_id: str) -> None:
    """Sign this person's grant for a campaign that runs within limits by itself, unless one is in force.

    Whoever starts or resumes such a campaign grants it; the loop itself holds no key and cannot.
    """
    from athanor.agents.spec import Spec
    from athanor.console.commands.autonomy import Autonomy

    autonomy = Autonomy(ledger, context.person())
    autonomy.gate()  # made here at the latest: the worker checks every decision against its public half
    campaign = ledger.campaign(campaign_id)
    if autonomy.renew(campaign) is None:
        return
    spec = Spec.model_validate(campaign.spec)
    output.say(
        f"[quiet]{output.plain(context.person())} lets it run within its limits for "
        f"{wording.duration(spec.policy.expires)}, {spec.budget.experiments} experiments at most[/]"
    )


def emit_results(ledger: Ledger, campaign_id: str) -> None:
    """Print the campaign's results as one JSON object."""
    from athanor.agents import campaign

    output.emit(campaign.results(ledger, campaign_id))


def decide_drift(ledger: Ledger, campaign_id: str, accepted: str | None, recalibrated: str | None) -> None:
    """Record what this person makes of a reference that left its limits.

    Raises:
        Refused: nothing to decide, both given, or no reason.
    """
    from athanor.console.commands.campaigns import CampaignCommands

    CampaignCommands(ledger, context.person()).decide_drift(ledger.campaign(campaign_id), accepted, recalibrated)


def shut_down(ledger: Ledger, campaign_id: str) -> None:
    """End the processes of a simulated laboratory that is of no further use; a real instrument is left alone."""
    from athanor.agents import campaign
    from athanor.instruments.executor import InstrumentBusy

    with suppress(InstrumentBusy):  # another campaign has taken it up meanwhile
        campaign.shut_down_laboratory(ledger, campaign_id)


def leave(state: str) -> NoReturn:
    """End the command with the exit code that a campaign's state stands for."""
    raise typer.Exit(
        {"succeeded": output.OK, "paused": output.PAUSED, "cancelled": output.OK}.get(state, output.FAILED)
    )


class Interrupt:
    """What Ctrl-C asks for: the first press pauses, every later one is told that a pause is under way."""

    def __init__(self) -> None:
        self.presses = 0

    @property
    def is_wanted(self) -> bool:
        """Whether somebody wants the campaign to pause."""
        return self.presses > 0

    @property
    def message(self) -> str | None:
        """What to say about it."""
        if self.presses == 0:
            return None
        if self.presses == 1:
            return "Pausing: the experiment in hand is finished and recorded first."
        return (
            "A pause is already under way; the experiment in hand is being finished. "
            "To stop motion now, from another terminal: athanor stop-all"
        )

    def press(self, signum: int, frame: FrameType | None) -> None:
        """Take one signal."""
        self.presses += 1
        if signum == signal.SIGHUP:
            _leave_terminal()


def _leave_terminal() -> None:
    """Send what is still said to nowhere: the terminal is gone, and writing to it would fail."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.__stdout__, sys.__stderr__):
        # A terminal that is gone no longer says that it is one, so ask for a device instead.
        if stream is not None and stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextmanager
def interrupts() -> Iterator[Interrupt]:
    """Turn Ctrl-C, SIGTERM and a closed terminal into a wish to pause, for as long as a campaign runs.

    Under `nohup`, which ignores SIGHUP, a closed terminal changes nothing.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt  # only the main thread receives signals
        return
    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        wanted.append(signal.SIGHUP)
    previous = {number: signal.signal(number, interrupt.press) for number in wanted}
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def follow(ledger: Ledger, campaign_id: str, *, wait: bool = True) -> str:
    """Run the campaign until it ends or pauses, showing it meanwhile. Returns its state.

    With `wait` it waits for an instrument that somebody else is using, and says for whom.
    """
    from athanor.agents.spec import Spec
    from athanor.console.commands.campaigns import check_reasoner

    check_reasoner(Spec.model_validate(ledger.campaign(campaign_id).spec))
    grant_autonomy(ledger, campaign_id)
    ended = threading.Event()
    failure: list[BaseException] = []
    state: list[str] = []
    waiting: list[str | None] = [None]

    def on_wait(why: str | None) -> None:
        waiting[0] = why

    def loop() -> None:
        try:
            from athanor.agents import campaign

            state.append(
                campaign.run_campaign(
                    campaign_id, ledger, should_stop=lambda: interrupt.is_wanted, wait=wait, on_wait=on_wait
                )
            )
        except BaseException as error:  # noqa: BLE001 - carried to the main thread and raised there
            failure.append(error)
        finally:
            ended.set()

    with interrupts() as interrupt, Follower(ledger, campaign_id) as follower:
        told: str | None = None
        thread = threading.Thread(target=loop, name="campaign")
        thread.start()
        try:
            while not ended.wait(REDRAW_S):
                if (message := interrupt.message or waiting[0]) != told:
                    told = message
                    follower.note(message)
                follower.update()
        finally:
            if not ended.is_set():
                interrupt.presses += 1  # the view failed: nobody can watch any more, so pause and then say why
            thread.join()
        follower.note(None)
    if failure:
        raise failure[0]
    return state[0]
