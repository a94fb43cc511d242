"""What the handlers of the API work with: one ledger, the people of the site, and commands in somebody's name."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from athanor.console.api.door import Answers
from athanor.console.api.limits import Limits, Rate
from athanor.console.api.live import Watch
from athanor.console.api.problems import Denied
from athanor.console.api.shared import Shared
from athanor.console.commands.connecting import Connecting
from athanor.console.commands.decisions import Commands
from athanor.console.commands.moving import Motions
from athanor.console.commands.verification import Verification
from athanor.console.gauges import Gauges
from athanor.console.looks import Looks
from athanor.console.notify.board import Board
from athanor.console.openid import Journeys, Provider
from athanor.console.settings import Settings
from athanor.governance.alarm_catalogue import CATALOGUE
from athanor.governance.alarm_history import Alarms
from athanor.governance.handover import Handovers
from athanor.governance.people import PEOPLE, Caller, People
from athanor.instruments.config import Config
from athanor.instruments.stop import known_places
from athanor.memory.ledger import Ledger
from athanor.memory.places import InstrumentPlace, PlaceError, runtime_dir

log = logging.getLogger(__name__)

READERS = 2
"""So many campaigns' files are read at a time."""
STANDINGS = 8
"""So many workers are asked at a time."""


class Desk:
    """One site, for one console.

    Args:
        ledger: the ledger.
        home: the folder in which the file of accounts is kept.
        settings: the site's settings; None: those that hold by themselves.
    """

    def __init__(self, ledger: Ledger, home: Path, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.ledger = ledger
        self.people = People(home / PEOPLE, self.tell)
        self.answers = Answers()
        self.reading = threading.BoundedSemaphore(READERS)
        self.watch = Watch(ledger)
        self.shared = Shared()
        self.summaries = Shared()  # apart: many campaigns push no other answer out
        self.standings = Shared(at_once=STANDINGS)  # apart: they wait for workers
        self.gauges = Gauges()
        self.motions = Motions()
        self.connecting = Connecting()
        self.limits = Limits({kind: Rate(r.burst, r.per_second) for kind, r in self.settings.limits.items()})
        self.providers = {one.name: Provider(one) for one in self.settings.sign_in.providers}
        self.journeys = Journeys()
        self.notices = Board(ledger)
        self.alarms = Alarms(ledger, CATALOGUE)
        self.handovers = Handovers(ledger)
        self.looks = Looks(ledger)
        self._simulated: dict[str, bool] = {}
        self.verification = Verification(ledger.path, self.tell)

    def tell(self, kind: str, body: dict[str, Any]) -> None:
        """Write an event of the site into the journal."""
        self.ledger.add_event(None, kind, body)

    def note(self, kind: str, body: dict[str, Any]) -> None:
        """As `tell`, where what was asked is answered the same when it cannot be written."""
        try:
            self.tell(kind, body)
        except Exception:
            log.exception("%s could not be written down: %s", kind, body)

    def commands(self, caller: Caller) -> Commands:
        """Commands in the caller's name."""
        return Commands(self.ledger, caller.person.login)

    def is_simulated(self, named: Mapping[str, Any]) -> bool:
        """Whether what a path names is about a simulated instrument; what names none counts as real.

        Raises:
            NotFound: there is no such campaign, experiment or alarm.
            Denied: there is no such instrument.
        """
        if "experiment_id" in named:
            return self._is_simulated_in(self.ledger.experiment(named["experiment_id"]).campaign_id)
        if "campaign_id" in named:
            return self._is_simulated_in(named["campaign_id"])
        if "alarm_id" in named:
            return self.alarms.one(named["alarm_id"]).simulated
        if "instrument" in named:
            return self.is_simulated_at(self.place(named["instrument"]))
        return False

    def _is_simulated_in(self, campaign_id: str) -> bool:
        if campaign_id not in self._simulated:  # a campaign stays what it was made as
            self._simulated[campaign_id] = self.ledger.campaign(campaign_id).simulated
        return self._simulated[campaign_id]

    def is_simulated_at(self, place: InstrumentPlace) -> bool:
        """Whether an instrument's own configuration says that it is simulated; one that cannot be read is real."""
        try:
            return Config.read(place).profile.simulated
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the file
            log.warning("whether %s is simulated cannot be told: %s", place.name, error)
            return False

    def places(self) -> list[InstrumentPlace]:
        """The instruments of this site: of this ledger's folder first, of the data folder, and what is running."""
        found: dict[Path, InstrumentPlace] = {}
        base = self.ledger.path.resolve().parent
        for folder in sorted((base / "instruments").glob("*/")):
            with contextlib.suppress(PlaceError):  # not every folder is one
                place = InstrumentPlace.of(folder.name, base)
                found[place.directory.resolve()] = place
        for place in known_places(runtime_dir()):
            found.setdefault(place.directory.resolve(), place)
        return list(found.values())

    def place(self, name: str) -> InstrumentPlace:
        """An instrument by its name; of several with one name, that of this ledger.

        Raises:
            Denied: there is none, or several elsewhere.
        """
        found = [place for place in self.places() if place.name == name]
        base = self.ledger.path.resolve().parent / "instruments"
        own = [place for place in found if place.directory.resolve().parent == base]
        if len(own or found) == 1:
            return (own or found)[0]
        if found:
            where = ", ".join(str(place.directory) for place in found)
            raise Denied(409, "instrument.ambiguous", f"{len(found)} instruments are called {name!r}: {where}")
        raise Denied(404, "not_found", f"there is no instrument {name!r} here")
