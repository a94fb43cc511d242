"""The catalogue of alarms: each with why it matters, what to do and how soon. What needs no answer is no alarm.

Ids are kept for good: the record is searched by them, and a site writes its own instructions beside them.
"""

from __future__ import annotations

from collections.abc import Mapping

from athanor.governance.alarms import Definition

MINUTE, HOUR = 60.0, 3600.0

STOP_ALL = "stop-all.engaged"
WORKER_LOST = "worker.lost"
WORKER_FAILED = "worker.not-started"
TAKEOVER_UNKNOWN = "take-over.unknown"
TAKEOVER_LONG = "take-over.long"
TAKEOVER_EXPIRED = "take-over.expired"
WRITES_OFF = "writes.off"
INTERLOCK = "interlock.open"
SPOOL_ASIDE = "spool.set-aside"
IN_DOUBT = "outcome.in-doubt"
CAMPAIGN_LOST = "campaign.process-lost"
CAMPAIGN_PAUSED = "campaign.paused-itself"
CAMPAIGN_FAILED = "campaign.failed"
APPROVAL = "approval.waiting"
GRANT = "grant.ending"
DRIFT = "reference.drift"
STOCK = "stock.low"
STOCK_EMPTY = "stock.empty"
LEDGER_SPACE = "ledger.space"
LEDGER_FULL = "ledger.nearly-full"
SIGN_IN = "sign-in.failures"
BLIND = "alarms.blind"

LONG_TAKEOVER_S = 4 * HOUR
EXPIRED_TAKEOVER_S = 8 * HOUR
INTERLOCK_S = 2 * MINUTE
FAILED_S = 12 * HOUR
GRANT_S = 30 * MINUTE
APPROVAL_S = 15 * MINUTE
SIGN_IN_S, SIGN_IN_COUNT = 10 * MINUTE, 5
LOW_BYTES, FULL_BYTES = 2 << 30, 200 << 20

_EXPLAINED = (STOP_ALL,)
"""Stop All stops the worker, pauses campaigns and voids approvals: that needs one answer, not five."""

_DEFINITIONS = (
    Definition(
        STOP_ALL,
        "Stop All is engaged",
        "critical",
        "Nothing starts on this instrument, and every approval from before is void.",
        "Look at the instrument. When it is safe, release the latch with a reason; then approve and resume what is "
        "to go on.",
        10 * MINUTE,
        off_delay_s=0.0,
    ),
    Definition(
        WORKER_LOST,
        "The worker of an instrument was lost",
        "high",
        "Nobody drives the instrument. What it did last may be unknown.",
        "Look at the instrument and at worker.log in its folder. Reconcile what is in doubt, then resume the campaign, "
        "which starts another worker.",
        10 * MINUTE,
        on_delay_s=3.0,
        suppressed_by=_EXPLAINED,
    ),
    Definition(
        WORKER_FAILED,
        "The worker of an instrument does not start",
        "high",
        "No experiment can run on this instrument.",
        "Read the reason, put it right, and resume the campaign: it tries again.",
        30 * MINUTE,
        on_delay_s=5.0,
        suppressed_by=_EXPLAINED,
    ),
    Definition(
        TAKEOVER_UNKNOWN,
        "Nobody can tell who has an instrument in hand",
        "high",
        "Nothing starts on this instrument, and somebody may be working at it.",
        "Go and look who is there. When nobody is, release it with a reason.",
        30 * MINUTE,
    ),
    Definition(
        TAKEOVER_LONG,
        "An instrument has been in a person's hands for long",
        "low",
        "Campaigns on it stand still.",
        "Ask the holder whether it is still needed, and have it handed back.",
        4 * HOUR,
        suppressed_by=_EXPLAINED,
    ),
    Definition(
        TAKEOVER_EXPIRED,
        "A take-over ended by its time and was not handed back",
        "medium",
        "Campaigns may start on an instrument that somebody may still be working at.",
        "Ask whoever had it whether they are done. If not, they take it over again; if so, see that it is as a "
        "campaign expects it.",
        15 * MINUTE,
        suppressed_by=_EXPLAINED,
    ),
    Definition(
        WRITES_OFF,
        "Writes are switched off",
        "medium",
        "Every experiment on this instrument is refused.",
        "See why they were turned off. When that is done, turn them on again with a reason.",
        HOUR,
        on_delay_s=5 * MINUTE,
        suppressed_by=_EXPLAINED,
    ),
    Definition(
        INTERLOCK,
        "An interlock has refused or stopped something",
        "high",
        "A run was refused or aborted; the campaign pauses. What the interlock guards may be in a bad state.",
        "Look at what the interlock watches, and put it right before the campaign is resumed.",
        10 * MINUTE,
        off_delay_s=MINUTE,
        latches=True,
        suppressed_by=_EXPLAINED,
    ),
    Definition(
        SPOOL_ASIDE,
        "Measured data could not be taken into the ledger",
        "medium",
        "What was measured is safe in the quarantine of the instrument, but no campaign sees it.",
        "Read the note beside the file, and tell whoever looks after the ledger.",
        24 * HOUR,
    ),
    Definition(
        IN_DOUBT,
        "What became of an experiment is unknown",
        "high",
        "Nothing more runs on this instrument: in what state it was left, and whether the sample was used, is unknown.",
        "Look at the instrument and the sample, then reconcile the experiment: it is never repeated by itself.",
        30 * MINUTE,
    ),
    Definition(
        CAMPAIGN_LOST,
        "The process that drives a campaign is gone",
        "high",
        "The experiment in hand is finished and kept, but nothing new starts.",
        "Resume the campaign. If that happens again, read the log of its process.",
        30 * MINUTE,
        on_delay_s=5.0,
        suppressed_by=_EXPLAINED,
    ),
    Definition(
        CAMPAIGN_PAUSED,
        "A campaign has paused by itself",
        "high",
        "The instrument stands idle until somebody looks.",
        "Read the reason it gives, put that right, and resume it or end it.",
        HOUR,
        on_delay_s=5.0,
        suppressed_by=(STOP_ALL, WORKER_LOST, WORKER_FAILED, INTERLOCK, IN_DOUBT),
    ),
    Definition(
        CAMPAIGN_FAILED,
        "A campaign has failed",
        "medium",
        "Its question stays open; what it measured is kept.",
        "Read why, and decide whether to start another.",
        8 * HOUR,
    ),
    Definition(
        APPROVAL,
        "An experiment has been waiting for approval for long",
        "medium",
        "The campaign and its instrument stand still.",
        "Approve, edit or reject it.",
        30 * MINUTE,
        suppressed_by=_EXPLAINED,
    ),
    Definition(
        GRANT,
        "A campaign's leave to approve its own experiments ends soon",
        "low",
        "From then on each of its experiments waits for a person.",
        "Grant it anew if it is to go on unattended.",
        GRANT_S,
        suppressed_by=_EXPLAINED,
    ),
    Definition(
        DRIFT,
        "A reference has left its limits",
        "high",
        "The instrument may have drifted: what it measures now cannot be compared with what it measured before.",
        "Look at the instrument. Recalibrate it, or accept the new level, and say so as the campaign is resumed.",
        HOUR,
        off_delay_s=0.0,
    ),
    Definition(
        STOCK,
        "A stock runs low",
        "low",
        "Campaigns that need it will soon stop.",
        "Fill it up, and enter how much was added.",
        8 * HOUR,
    ),
    Definition(
        STOCK_EMPTY,
        "A stock is used up",
        "medium",
        "Campaigns that need it wait or pause.",
        "Fill it up, and enter how much was added.",
        HOUR,
    ),
    Definition(
        LEDGER_SPACE,
        "The disk of the ledger is filling up",
        "low",
        "When it is full nothing is recorded any more, and campaigns stop.",
        "Free some space on the disk, or move old backups elsewhere.",
        24 * HOUR,
        on_delay_s=MINUTE,
        off_delay_s=MINUTE,
    ),
    Definition(
        LEDGER_FULL,
        "The disk of the ledger is nearly full",
        "critical",
        "Soon nothing is recorded any more: runs are stopped, and campaigns with them.",
        "Free space on the disk now, or pause the campaigns.",
        10 * MINUTE,
        off_delay_s=MINUTE,
    ),
    Definition(
        SIGN_IN,
        "Somebody fails to sign in again and again",
        "medium",
        "Somebody may be trying passwords.",
        "Ask the person whether it was them. If not, give out another password; the audit says where it came from.",
        HOUR,
        off_delay_s=MINUTE,
    ),
    Definition(
        BLIND,
        "Some alarms cannot be told",
        "medium",
        "What these alarms watch may be wrong without a sign of it.",
        "Read the reason in the detail; until it is put right, look for yourself.",
        HOUR,
        on_delay_s=20.0,
    ),
)

CATALOGUE: Mapping[str, Definition] = {one.id: one for one in _DEFINITIONS}
"""Every definition, by id."""
