"""Campaigns: what a file would do, starting, resuming and cancelling, and the process that drives one."""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from athanor.console import wording
from athanor.console.commands.autonomy import Autonomy
from athanor.console.commands.decisions import OVER, Commands, is_driven
from athanor.console.commands.refused import Refused
from athanor.memory.records import storable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from athanor.agents.reading import Reading
    from athanor.agents.spec import Spec
    from athanor.instruments.profile import Profile
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Campaign

log = logging.getLogger(__name__)

START_S = 3.0
"""So long it is waited for a campaign's process to take it up or to end; both can be asked for later."""
LOOK_S = 0.05
MOST_PROFILES = 100
TAIL = 2000
"""Characters of a process's log that are told when it ended without a word."""


# -- what there is to start from --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Challenge:
    """A simulated laboratory with its ready campaign."""

    name: str
    domain: str
    area: str
    description: str
    instrument: str
    sources: tuple[str, ...]


def challenges() -> list[Challenge]:
    """Every laboratory that has a ready campaign."""
    from athanor.instruments import laboratory

    found = []
    for name in laboratory.names():
        one: Any = laboratory.load(name)
        if hasattr(one, "campaign_file"):
            about = one.challenge
            found.append(
                Challenge(name, about.domain, about.area, about.description, one.profile().name, tuple(about.sources))
            )
    return found


def ready_campaign(name: str) -> Path:
    """Return the ready campaign file of a laboratory.

    Raises:
        UnknownLaboratory: there is no such laboratory.
        Refused: the laboratory is real, so that there is none.
    """
    from athanor.instruments import laboratory

    found = getattr(laboratory.load(name), "campaign_file", None)
    if found is None:
        raise Refused(
            f"{name} is a real instrument and has no ready campaign", "Write one from its profile: `athanor new`."
        )
    path: Path = found()
    return path


@dataclass(frozen=True)
class NamedProfile:
    """A profile in a folder of this site; `path` is what a campaign's file may name."""

    path: str
    name: str
    title: str
    simulated: bool


def profiles(ledger: Ledger) -> list[NamedProfile]:
    """The profiles that lie in the folders of this site, or in `profiles` in one of them, and can be used."""
    from athanor.instruments.profile import ProfileError, load_profile

    found: dict[str, NamedProfile] = {}
    for folder in profile_folders(ledger):
        for path in sorted([*folder.glob("*.yaml"), *folder.glob("profiles/*.yaml")])[:MOST_PROFILES]:
            try:
                one = load_profile(path)
            except (ProfileError, OSError, ValueError):  # not every file is one
                continue
            name = str(path.relative_to(folder))
            found.setdefault(name, NamedProfile(name, one.name, one.title or one.name, one.simulated))
    return list(found.values())


def draft(profile: str, ledger: Ledger) -> str:
    """Return a commented campaign's file for one of `profiles`.

    Raises:
        Refused: there is no such profile.
        ProfileError: it is wrong.
    """
    from athanor.console.cli import drafts
    from athanor.instruments.profile import ProfileError, is_profile_file

    for folder in profile_folders(ledger):
        try:
            path = (folder / profile).resolve()
            is_there = path.is_relative_to(folder) and is_profile_file(path)
        except (OSError, ValueError):  # no file can have such a name
            is_there = False
        if is_there:
            try:
                return drafts.from_profile(path, folder / "campaign.yaml")
            except ProfileError as error:
                raise error.naming(profile) from error
    raise Refused(f"there is no profile {profile} in the folders of this site", "GET /api/v1/profiles lists them.")


# -- what a file would do ---------------------------------------------------------------------------------------------


def profile_folders(ledger: Ledger) -> tuple[Path, ...]:
    """The folders whose profiles a file may name that came over HTTP: that of the ledger, and the data folder."""
    from athanor.memory import places

    return tuple(dict.fromkeys((ledger.path.resolve().parent, places.home().expanduser().resolve())))


def read(text: str, ledger: Ledger) -> Reading:
    """Read a campaign's file that came over HTTP. Never raises for what is in it."""
    from athanor.agents import reading

    return reading.read(text, profile_folders(ledger), ledger)


def summarise(spec: Spec, profile: Profile) -> list[tuple[str, str]]:
    """Say what a campaign would do, as labelled lines; a line without a label goes on with the one before."""
    from athanor.planners.problem import Continuous, Integer

    problem = spec.problem()
    knobs = []
    for parameter in problem.parameters:
        unit = f" {parameter.unit}" if parameter.unit else ""
        if isinstance(parameter, Continuous | Integer):
            knobs.append(f"{parameter.name} {wording.number(parameter.low)} … {wording.number(parameter.high)}{unit}")
        else:
            knobs.append(f"{parameter.name} {', '.join(wording.number(v) for v in parameter.values)}{unit}")
    goals = [
        f"{o.name} → {wording.number(o.target)}" if o.target is not None else f"{o.goal} {o.name}"
        for o in problem.objectives
    ]
    bounds = [str(c) for c in (*problem.linear_constraints, *problem.input_constraints)]
    for c in problem.outcome_constraints:
        low = f"{wording.number(c.lower)} ≤ " if c.lower is not None else ""
        high = f" ≤ {wording.number(c.upper)}" if c.upper is not None else ""
        bounds.append(f"{low}{c.name}{high} with probability {wording.number(c.probability)}")
    limit = f", {wording.duration(spec.budget.wall_time)} at most" if spec.budget.wall_time else ""
    return [
        ("campaign", spec.name),
        ("instrument", f"{profile.name}{' (simulated)' if profile.simulated else ''}"),
        *[("knobs" if index == 0 else "", text) for index, text in enumerate(knobs)],
        ("objectives", ", ".join(goals)),
        *[("bounds" if index == 0 else "", text) for index, text in enumerate(bounds)],
        ("budget", f"{wording.count(spec.budget.experiments, 'experiment')}{limit}"),
        *([("design", _design(spec))] if spec.design() is not None else []),
        *([("pool", str(spec.pool))] if spec.pool is not None else []),
        ("hypotheses", f"at most {spec.hypotheses.share:.0%} of the budget, error rate {spec.hypotheses.alpha:g}"),
        ("approval", _approval(spec)),
        *([("reference", _references(spec))] if spec.reference else []),
        *([("each run", _needs(spec))] if spec.consumables or spec.sample or spec.devices else []),
        ("seed", str(spec.seed)),
    ]


def _approval(spec: Spec) -> str:
    said = "each experiment" if spec.policy.autonomy == "approve_each" else "granted within the limits"
    return said + (", by somebody else than who proposed it" if spec.policy.proposer_may_not_approve else "")


def _needs(spec: Spec) -> str:
    """Say what a run uses up and needs to itself."""
    uses = [
        f"{name} {wording.number(item.amount)} {item.unit or ''}".rstrip() for name, item in spec.consumables.items()
    ]
    alone = [f"sample {spec.sample}"] if spec.sample else []
    return "; ".join([", ".join(uses)] * bool(uses) + alone + [f"{device} to itself" for device in spec.devices])


def _design(spec: Spec) -> str:
    """Say which design it is, how many runs it has, and whether the budget has room for them."""
    design = spec.design()
    assert design is not None
    runs, left = design.check(spec.problem()), spec.left_to_planner()
    said = f"{design}: {wording.count(runs, 'run')}"
    problem = spec.problem()
    if (problem.linear_constraints or problem.input_constraints) and not design.needs_runs:
        said += " at most, without those that break a bound"
    elif runs > left:
        said += f"; the budget leaves {left} for it, so that it may not be completed"
    return said + ("; then again, in a new order" if runs < left else "")


def _references(spec: Spec) -> str:
    """Say how many experiments of the budget go into references."""
    wanted = spec.reference
    assert wanted is not None
    budget = spec.budget.experiments
    count = wanted.first + wanted.later(budget)
    said = f"{wanted.first} first, then one after every {wanted.every}: about {count} of the budget"
    if wanted.is_sure(spec.problem(), budget):
        return said
    return f"{said}; too few in the baseline to find a shift of 4 sd for sure: state `sd`, or measure more first"


def check_reasoner(spec: Spec) -> None:
    """Refuse a half-configured model endpoint before anything is written or signed.

    Raises:
        ModelNotConfigured: naming the variable to set.
    """
    if spec.reasoner in ("auto", "language-model"):
        from athanor.agents.reasoners.endpoint import ModelSettings

        ModelSettings.from_environment(required=spec.reasoner == "language-model")


def compose(text: str, changes: Sequence[tuple[Sequence[str | int], Any]]) -> str:
    """Return a campaign's file with some fields changed; comments and all else stay. The file is the truth, not a form.

    Args:
        text: YAML.
        changes: paths, such as `("budget", "experiments")`, each with its new value; None takes the field out.

    Raises:
        Refused: the text cannot be read as YAML, or has no such place.
    """
    from io import StringIO

    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

    from athanor.agents.reading import LONGEST, MOST_PARTS, unreadable

    if _parts(changes) > MOST_PARTS or _length(changes) > LONGEST:
        raise Refused("these changes are more than a campaign's file can hold", "Change less at a time.")
    if said := unreadable(text):
        raise Refused(f"the file cannot be changed by a form: {said}", "Put that right in the file first.")
    writer = YAML(typ="rt")
    writer.preserve_quotes = True
    writer.width = 120
    writer.indent(mapping=2, sequence=4, offset=2)
    try:
        document = writer.load(text)
    except Exception as error:  # whatever it is: a number of 90,000 digits, a date of month 99
        raise Refused(
            "the file cannot be changed by a form while it is not YAML", "Put that right in the file first."
        ) from error
    document = CommentedMap() if document is None else document
    for path, value in changes:
        _put(document, list(path), value)
    out = StringIO()
    writer.dump(document, out)
    return out.getvalue()


def _parts(value: Any) -> int:
    """Of how many parts a value is made."""
    if isinstance(value, dict):
        return 1 + sum(1 + _parts(one) for one in value.values())
    return 1 + sum(map(_parts, value)) if isinstance(value, list | tuple) else 1


def _length(changes: Sequence[tuple[Sequence[str | int], Any]]) -> int:
    try:
        return len(json.dumps(list(changes), default=str))
    except (ValueError, RecursionError):  # a number of more digits than can be written
        return sys.maxsize


def _put(node: Any, path: list[str | int], value: Any) -> None:
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    where = ".".join(str(part) for part in path)
    for part, following in zip(path, [*path[1:], None], strict=True):
        is_last = following is None
        if isinstance(node, dict) and isinstance(part, str):
            if is_last and value is None:
                node.pop(part, None)
                return
            if is_last:
                node[part] = value
                return
            if not isinstance(node.get(part), dict | list):
                if value is None:
                    return
                node[part] = CommentedSeq() if isinstance(following, int) else CommentedMap()
            node = node[part]
        elif isinstance(node, list) and isinstance(part, int) and 0 <= part <= len(node):
            if is_last and value is None:
                if part < len(node):
                    del node[part]
                return
            if part == len(node):
                if value is None:
                    return
                node.append(value if is_last else CommentedMap())
            elif is_last:
                node[part] = value
            if is_last:
                return
            node = node[part]
        else:
            raise Refused(f"the file has no place {where}", "Change it in the file.")


def is_real(profile: Profile, ledger: Ledger) -> bool:
    """Whether a campaign on this instrument would move something real; what cannot be told counts as real.

    The configuration that an instrument of that name was started with counts more than the profile that is named now.
    """
    from athanor.instruments.config import Config
    from athanor.memory.places import InstrumentPlace

    for base in (ledger.path.resolve().parent, None):
        place = InstrumentPlace.of(profile.name, base)
        if not (place.directory / "config.json").exists():
            continue
        try:
            if not Config.read(place).profile.simulated:
                return True
        except (OSError, ValueError, KeyError, TypeError):
            return True
    return not profile.simulated


# -- the process that drives a campaign -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Driver:
    """What drives a campaign. `standing`: `driving`, `starting`, `ended`, `failed` or `none`."""

    standing: str
    by: str | None = None
    since: datetime | None = None
    why: str | None = None
    remedy: str | None = None


def driver_of(ledger: Ledger, campaign: Campaign) -> Driver:
    """What drives a campaign now, or became of the process that was last started for it from a console."""
    from athanor.agents.holders import is_process_gone
    from athanor.agents.process import ENDED, STARTED

    events = ledger.events(campaign.id, kinds=(STARTED, ENDED))
    started = next((event for event in reversed(events) if event.kind == STARTED), None)
    by, since = (None, None) if started is None else (str(started.body["by"]), started.created_at)
    if is_driven(ledger, campaign.id):
        return Driver("driving", by, since)
    if started is None:
        return Driver("none")
    process = started.body["process"]
    ended = next((e for e in reversed(events) if e.kind == ENDED and e.body["process"] == process), None)
    if ended is not None:
        why, remedy = ended.body.get("why"), ended.body.get("remedy")
        return Driver("ended" if why is None else "failed", by, ended.created_at, why, remedy)
    if not is_process_gone(process):
        return Driver("starting", by, since)
    if campaign.state in (*OVER, "paused"):
        return Driver("ended", by, since)
    said = _tail(_log_of(ledger, campaign))  # not what an event names: anybody's file could be shown by one
    return Driver("failed", by, since, f"its process ended without a word{said}", "Resume the campaign.")


def _log_of(ledger: Ledger, campaign: Campaign) -> Path:
    """Where the process that drives a campaign writes. Raises `Refused` for a name that no file can have."""
    from athanor.agents.campaign import instrument_place

    if Path(campaign.id).name != campaign.id:
        raise Refused(f"{campaign.id} is no name for a file")
    return instrument_place(campaign, ledger).directory / "drivers" / f"{campaign.id}.log"


def _tail(path: Path) -> str:
    """The last line of a process's log, if it is a file of that name and no link, pipe or device."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(number, "rb") as file:
            about = os.fstat(number)
            if not stat.S_ISREG(about.st_mode):
                return ""
            file.seek(max(0, about.st_size - TAIL))
            text = file.read(TAIL).decode("utf-8", errors="replace").strip()
    except OSError:
        return ""
    return f"; its log ends: {text.splitlines()[-1]}" if text else ""


class CampaignCommands(Commands):
    """What one person does with whole campaigns."""

    def start(self, spec: Spec, *, may_grant: bool) -> tuple[str, Driver]:
        """Open a campaign, grant it what its file asks for if this person may, and have it driven.

        The process that drives it is none of ours: ending this one does not end it. Returns the campaign's id and what
        drives it. Once the campaign is open nothing is raised: whoever is told of an error would open another one.

        Raises:
            Refused: Stop All is latched on the instrument; nothing was opened.
            SpecError: it does not fit the instrument; nothing was opened.
            ModelNotConfigured: it is to ask a model that nobody has configured; nothing was opened.
        """
        from athanor.agents import campaign as campaigns
        from athanor.agents.fitting import resolve

        self._check_latch(resolve(spec)[1])
        check_reasoner(spec)
        campaign_id = campaigns.open_campaign(spec, self.ledger)
        try:
            self.ledger.add_event(campaign_id, "opened", {"by": self.person, "through": "console"})
            return campaign_id, self.drive(self.ledger.campaign(campaign_id), may_grant=may_grant)
        except Exception as error:
            log.exception("%s was opened, and nothing drives it", campaign_id)
            remedy = "It is open: resume it, and do not start it again."
            said = f"it was opened, but nothing could be started for it: {str(error) or type(error).__name__}"
            return campaign_id, Driver("failed", self.person, datetime.now(UTC), said, remedy)

    def _check_latch(self, profile: Profile) -> None:
        from athanor.instruments.latch import Latch
        from athanor.memory.places import InstrumentPlace

        base = self.ledger.path.resolve().parent if profile.simulated else None
        state = Latch(InstrumentPlace.of(profile.name, base)).read()
        if state.engaged:
            raise Refused(
                f"Stop All is latched on {profile.name}: {state.reason or 'no reason given'}",
                "Reset it when it is safe; nothing was started.",
            )

    def resume(
        self,
        campaign: Campaign,
        *,
        may_grant: bool,
        accept_reference: str | None = None,
        recalibrated: str | None = None,
    ) -> Driver:
        """Have a paused or interrupted campaign driven again.

        Raises:
            Refused: it is over, it is driven, or there is nothing to say of a reference.
        """
        if campaign.state in OVER:
            raise Refused(f"{campaign.id} is over ({campaign.state})", "Start another campaign.")
        self._check_not_driven(campaign)
        self.decide_drift(campaign, accept_reference, recalibrated)
        return self.drive(campaign, may_grant=may_grant)

    def _check_not_driven(self, campaign: Campaign) -> None:
        found = driver_of(self.ledger, campaign)
        if found.standing in ("driving", "starting"):
            verb = "drives" if found.standing == "driving" else "is just being started for"
            raise Refused(f"a process {verb} {campaign.id} already{f', by {found.by}' if found.by else ''}")

    def cancel(self, campaign: Campaign, reason: str = "") -> Driver:
        """End a campaign for good, keeping its record: what waits is withdrawn, what runs is finished.

        Raises:
            Refused: it is over.
        """
        if campaign.state in OVER:
            raise Refused(f"{campaign.id} is over already ({campaign.state})")
        if reason.strip():
            self.ledger.add_event(campaign.id, "cancel_reason", {"by": self.person, "reason": storable(reason.strip())})
        self.ledger.request(campaign.id, "cancel", self.person)
        found = driver_of(self.ledger, campaign)
        # What has run meanwhile is taken in first; that is the loop's to do.
        return found if found.standing in ("driving", "starting") else self._launch(campaign)

    def decide_drift(self, campaign: Campaign, accepted: str | None, recalibrated: str | None) -> None:
        """Record what this person makes of a reference that left its limits, if they say something.

        Raises:
            Refused: nothing to decide, both given, or no reason.
        """
        if accepted is None and recalibrated is None:
            return
        from athanor.agents import references
        from athanor.agents.spec import Spec

        if accepted is not None and recalibrated is not None:
            raise Refused("A new level and a recalibration exclude one another", "Give the one that is true.")
        kind = references.ACCEPTED if accepted is not None else references.RECALIBRATED
        spec = Spec.model_validate(campaign.spec)
        why = accepted or recalibrated or ""
        try:
            references.decide(self.ledger, campaign.id, spec, kind, by=self.person, reason=why)
        except references.NoAlarm as error:
            raise Refused(str(error), f"Go on with `athanor resume {campaign.id}`.") from error
        except ValueError as error:
            raise Refused(str(error)) from error

    def drive(self, campaign: Campaign, *, may_grant: bool) -> Driver:
        """Start the process that drives a campaign; grant first what its file asks for, if this person may.

        Without a grant it proposes, and each experiment waits for a person.

        Raises:
            Refused: it is to run by itself, and Stop All is latched.
            ModelNotConfigured: it is to ask a model that nobody has configured.
        """
        from athanor.agents.spec import Spec

        check_reasoner(Spec.model_validate(campaign.spec))
        autonomy = Autonomy(self.ledger, self.person)
        autonomy.gate()  # its key is made here at the latest: the worker checks every decision against its public half
        if may_grant:
            autonomy.renew(campaign)
        return self._launch(campaign)

    def _launch(self, campaign: Campaign) -> Driver:
        from athanor.agents.holders import process_name
        from athanor.agents.process import STARTED
        from athanor.instruments import detached

        path = _log_of(self.ledger, campaign)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [sys.executable, "-m", "athanor.agents.process", self.ledger.url, campaign.id]
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "ab") as output:
            process = detached.start(command, output, environment=os.environ)
        try:
            body = {"process": process_name(process.pid), "by": self.person, "log": str(path)}
            self.ledger.add_event(campaign.id, STARTED, body)
        except BaseException:
            # Nobody would know of it, and another would be started beside it. Asked to, it ends without harm.
            process.terminate()
            raise
        until = time.monotonic() + START_S
        while True:
            found = driver_of(self.ledger, self.ledger.campaign(campaign.id))
            if found.standing != "starting" or time.monotonic() > until:
                return found
            time.sleep(LOOK_S)
