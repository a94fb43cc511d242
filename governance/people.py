"""People: accounts, how they sign in, their sessions and tokens."""

from __future__ import annotations

from athanor.governance._people import Audit, PeopleError, Person, SignInRefused
from athanor.governance.access import IDLE_S, SESSION_S, TOKEN_S, Access, Caller, SignedIn
from athanor.governance.accounts import LOGIN, LONGEST, SHORTEST, STEP_S
from athanor.governance.identities import Identities, Identity, Proven

__all__ = [
    "IDLE_S",
    "LOGIN",
    "LONGEST",
    "PEOPLE",
    "SESSION_S",
    "SHORTEST",
    "STEP_S",
    "TOKEN_S",
    "Access",
    "Audit",
    "Caller",
    "Identity",
    "People",
    "PeopleError",
    "Person",
    "Proven",
    "SignInRefused",
    "SignedIn",
]

PEOPLE = "people.db"
"""The file of accounts, in the data folder."""


class People(Identities):
    """The people of one site: see `PeopleFile` for how it is opened."""
