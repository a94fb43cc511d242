"""A rehearsal: a campaign run on a simulated laboratory first, `python -m athanor.console.rehearsal FOLDER`.

It has everything of its own in FOLDER: ledger, keys, instrument, sockets. Nothing of it reaches the site's ledger, the
gate's key or an instrument that anybody uses; no model is asked. Nobody has to approve: a key that counts in FOLDER
alone grants everything. It is bounded in experiments and in time, and ends when FOLDER holds a file `cancel`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from athanor.agents.spec import Spec

log = logging.getLogger(__name__)

SPEC = "campaign.json"
REQUEST = "request.json"
LEDGER = "ledger.db"
RESULT = "result.json"
CANCEL = "cancel"
LOG = "log"

LEFT_OUT: dict[str, Any] = {"consumables": {}, "sample": None, "devices": [], "transfer": []}
"""What a rehearsal does without: it uses up no stock, takes no sample or instrument; its ledger has no campaigns."""


def simplified(spec: Spec, laboratory: str, options: Mapping[str, Any], experiments: int) -> tuple[Spec, list[str]]:
    """Return a campaign as it is rehearsed, and in what it differs from the real one.

    Args:
        spec: the campaign.
        laboratory: the simulated laboratory that stands in.
        options: what that laboratory is told.
        experiments: how many at most.
    """
    from athanor.agents.spec import Spec

    said = []
    data = spec.model_dump(mode="json")
    if spec.laboratory.name != laboratory:
        said.append(f"on the simulated laboratory {laboratory}")
    data["laboratory"] = {"name": laboratory, "options": dict(options)}
    data["planner"] = spec.planner_request()  # with its number of runs, which a smaller budget would change
    if spec.budget.experiments > experiments:
        said.append(f"{experiments} experiments instead of {spec.budget.experiments}")
        data["budget"] = {**data["budget"], "experiments": experiments}
    if spec.reference is not None and spec.budget.experiments > experiments:
        said.append("without reference measurements, for which it is too short")
        data["reference"] = None
    if spec.reasoner in ("auto", "language-model"):
        data["reasoner"] = "statistical"
        if spec.reasoner == "language-model":
            said.append("without the language model")
    for name, nothing in LEFT_OUT.items():
        if data[name]:
            said.append(f"without {name}")
        data[name] = nothing
    if spec.policy.autonomy != "auto_within_limits":
        said.append("everything is approved")
    data["policy"] = {**data["policy"], "autonomy": "auto_within_limits", "proposer_may_not_approve": False}
    return Spec.model_validate(data), said


def rehearse(folder: Path, wall_s: float, wanted: threading.Event) -> dict[str, Any]:
    """Run the campaign in a folder until it ends, time is up or somebody cancels it; say what became of it.

    Raises nothing: what goes wrong is the result.
    """
    from athanor.agents.campaign import envelope, open_campaign, run_campaign, shut_down_laboratory
    from athanor.agents.spec import Spec
    from athanor.governance.gate import Gate
    from athanor.memory import places
    from athanor.memory.ledger import Ledger
    from athanor.memory.signing import GateKey

    ends = time.monotonic() + wall_s

    def why_stop() -> str | None:
        if wanted.is_set() or (folder / CANCEL).exists():
            return "it was cancelled"
        return "its time was up" if time.monotonic() > ends else None

    spec = Spec.model_validate_json((folder / SPEC).read_text(encoding="utf-8"))
    with Ledger.create(folder / LEDGER) as ledger:
        campaign_id = open_campaign(spec, ledger)
        gate = Gate(ledger, GateKey.load_or_create(places.keys_dir()), "rehearsal")
        most, instrument = spec.budget.experiments, ledger.campaign(campaign_id).instrument
        gate.grant(campaign_id, instrument, 0, envelope(spec), most, timedelta(seconds=wall_s + 3600))
        problem = None
        try:
            run_campaign(campaign_id, ledger, should_stop=lambda: why_stop() is not None)
        except Exception as error:
            log.exception("the rehearsal failed")
            problem = str(error) or type(error).__name__
        with contextlib.suppress(Exception):
            shut_down_laboratory(ledger, campaign_id)
        campaign = ledger.campaign(campaign_id)
        reason = why_stop() if campaign.state == "paused" and problem is None else None
        return {"state": campaign.state, "reason": reason or campaign.reason, "problem": problem}


def main() -> int:
    """Rehearse in the folder that the command line names, and leave the result there."""
    folder = Path(sys.argv[1])
    logging.basicConfig(level=logging.WARNING)
    with contextlib.suppress(OSError):
        os.nice(10)  # campaigns that are not rehearsals go first
    wanted = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: wanted.set())
    request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
    try:
        result = rehearse(folder, float(request["wall_s"]), wanted)
    except Exception as error:
        log.exception("the rehearsal did not begin")
        result = {"state": "failed", "reason": None, "problem": str(error) or type(error).__name__}
    fresh = folder / f"{RESULT}.new"
    fresh.write_text(json.dumps(result), encoding="utf-8")
    fresh.replace(folder / RESULT)
    return 1 if result["problem"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
