"""Drive a campaign in a process of its own: `python -m athanor.agents.process LEDGER CAMPAIGN`.

Whoever starts it may die: it belongs to no terminal and to no console. It signs nothing; what it may run was approved
or granted before. SIGTERM and SIGINT ask it to pause. Why it ended stands in the ledger as a `driver_ended` event.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger

log = logging.getLogger(__name__)

STARTED = "driver_started"
"""`process` (see `athanor.agents.holders.process_name`), `by`, `log`."""
ENDED = "driver_ended"
"""`process`, `state` of the campaign, `why` and `remedy` where it was an error (else None)."""


def drive(ledger: Ledger, campaign_id: str, wanted: threading.Event) -> int:
    """Drive a campaign until it ends, pauses, or `wanted` is set, which asks it to pause. Returns a shell's code.

    Raises nothing: what goes wrong is told in the ledger, and in the log.
    """
    from athanor.agents.driver import run_campaign, shut_down_laboratory
    from athanor.agents.holders import process_name
    from athanor.instruments.executor import InstrumentBusy

    why, remedy, failed = None, None, False
    try:
        state = run_campaign(campaign_id, ledger, should_stop=wanted.is_set, wait=True)
        if state != "paused":
            with contextlib.suppress(InstrumentBusy):  # another campaign has taken it up meanwhile
                shut_down_laboratory(ledger, campaign_id)
    except Exception as error:
        log.exception("campaign %s is driven no more", campaign_id)
        why, remedy, failed = str(error) or type(error).__name__, getattr(error, "remedy", None), True
    try:
        state = ledger.campaign(campaign_id).state
        body = {"process": process_name(), "state": state, "why": why, "remedy": remedy}
        ledger.add_event(campaign_id, ENDED, body)
    except Exception:
        log.exception("the ledger did not take how it ended")
        failed = True
    return 1 if failed else 0


def main() -> int:
    """Drive the campaign that the command line names."""
    from athanor.memory.ledger import Ledger

    url, campaign_id = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    wanted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: wanted.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Ledger.open(url) as ledger:
        return drive(ledger, campaign_id, wanted)


if __name__ == "__main__":
    raise SystemExit(main())
