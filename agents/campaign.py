"""A campaign from outside: open it, run it, read it. What a command line, a notebook or a server calls."""

from __future__ import annotations

from athanor.agents.byhand import by_hand, observe, observe_file
from athanor.agents.context import ended_grants, grant_in_force, grants_in_force
from athanor.agents.driver import OVER, CampaignBusy, CampaignOver, run_campaign, shut_down_laboratory
from athanor.agents.opening import check_instrument, envelope, instrument_place, open_campaign, propose_experiment
from athanor.agents.results import best, results

__all__ = [
    "OVER",
    "CampaignBusy",
    "CampaignOver",
    "best",
    "by_hand",
    "check_instrument",
    "ended_grants",
    "envelope",
    "grant_in_force",
    "grants_in_force",
    "instrument_place",
    "observe",
    "observe_file",
    "open_campaign",
    "propose_experiment",
    "results",
    "run_campaign",
    "shut_down_laboratory",
]
