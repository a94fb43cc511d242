"""Run a campaign in a process of its own and, where asked, die by SIGKILL before or after a step.

usage: driver_script.py LEDGER CAMPAIGN [STEP before|after EXPERIMENT_ORDINAL]
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from athanor.agents import nodes
from athanor.agents.campaign import run_campaign
from athanor.memory.ledger import Ledger


def arm(step: str, when: str, ordinal: int) -> None:
    original = getattr(nodes.Nodes, step)

    def dying(self: nodes.Nodes, state: Any) -> Any:
        due = len(self.context.ledger.experiments(self.context.id)) >= ordinal
        if due and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(self, state)
        due = len(self.context.ledger.experiments(self.context.id)) >= ordinal
        if due:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(nodes.Nodes, step, dying)


def main() -> None:
    url, campaign, *rest = sys.argv[1:]
    if rest:
        arm(rest[0], rest[1], int(rest[2]))
    with_ledger = Ledger.open(url)
    state = run_campaign(campaign, with_ledger)
    sys.stdout.write(state + "\n")


if __name__ == "__main__":
    main()
