"""Who may do what: roles and the scopes they carry. One table, read by every door; what is not in it is denied.

Stopping is not in the table: whoever is signed in may stop everything, whatever the role.
"""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["observer", "scientist", "operator", "developer", "steward", "owner"]
ROLES: tuple[Role, ...] = get_args(Role)

Scope = Literal[
    "read",
    "campaign.start",
    "campaign.steer",
    "experiment.propose",
    "experiment.decide",
    "autonomy.grant",
    "run.steer",
    "instrument.operate",
    "instrument.release",
    "latch.reset",
    "outcome.settle",
    "sample.keep",
    "alarm.respond",
    "alarm.suppress",
    "handover.write",
    "data.govern",
    "audit.read",
    "people.manage",
]
SCOPES: tuple[Scope, ...] = get_args(Scope)

MEANING: dict[Scope, str] = {
    "read": "see campaigns, experiments, hypotheses, runs, instruments, samples, alarms and handovers",
    "campaign.start": "start and rehearse campaigns",
    "campaign.steer": "pause, resume, stop after this step and cancel campaigns",
    "experiment.propose": "put an experiment of one's own up for decision, and withdraw it",
    "experiment.decide": "approve, edit, reject and defer experiments",
    "autonomy.grant": "let a campaign approve its own experiments inside an envelope, and end that",
    "run.steer": "pause, resume and abort the run that an instrument has in hand",
    "instrument.operate": "take an instrument over, move its axes, hand it back, turn its writes off and on",
    "instrument.release": "end somebody else's take-over",
    "latch.reset": "reset the latch of Stop All",
    "outcome.settle": "say what became of an experiment whose outcome is in doubt",
    "sample.keep": "write samples and consumables, and what a manual station measured",
    "alarm.respond": "acknowledge and shelve alarms",
    "alarm.suppress": "suppress alarms by design, and take them out of service",
    "handover.write": "write, edit and sign handovers",
    "data.govern": "set labels, and release or export data",
    "audit.read": "see the audit: who did, was refused or tried what",
    "people.manage": "add people, give roles, end sessions and tokens",
}

_STEER: frozenset[Scope] = frozenset(
    {"read", "campaign.start", "campaign.steer", "experiment.propose", "run.steer", "sample.keep", "handover.write"}
)
_OPERATE: frozenset[Scope] = _STEER | {
    "experiment.decide",
    "autonomy.grant",
    "instrument.operate",
    "latch.reset",
    "outcome.settle",
    "alarm.respond",
    "audit.read",
}

EVERYWHERE: dict[Role, frozenset[Scope]] = {
    "observer": frozenset({"read"}),
    "scientist": _STEER | {"experiment.decide", "alarm.respond"},
    "operator": _OPERATE | {"instrument.release", "alarm.suppress"},
    "developer": frozenset({"read"}),
    "steward": frozenset({"read", "data.govern", "audit.read", "handover.write"}),
    "owner": frozenset(SCOPES),
}
"""What a role may do, on any instrument."""

ON_SIMULATED: dict[Role, frozenset[Scope]] = {"developer": _OPERATE}
"""What it may do besides where the instrument is a simulated one."""


def scopes_of(role: Role, *, simulated: bool) -> frozenset[Scope]:
    """What a role may do where the instrument is simulated or, else, real."""
    return EVERYWHERE[role] | (ON_SIMULATED.get(role, frozenset()) if simulated else frozenset())
