"""Whose decisions an instrument obeys: the key of one gate, kept in its folder from its first start on.

Whoever dispatches names the file of the gate's public key. If that alone were believed, a program without the gate's
key could make a key of its own, sign what it likes and have a worker started that believes it.
"""

from __future__ import annotations

import os
from pathlib import Path

from athanor.instruments.laboratory import InstrumentUnavailable
from athanor.memory.places import InstrumentPlace
from athanor.memory.signing import GateKey, KeyProblem, PublicKey, load_public


def trusted_gate(place: InstrumentPlace, given: Path) -> PublicKey:
    """The gate's public key in the file `given`, if it is the one that the instrument has known from its first start.

    Only the worker may call it, which holds the instrument's lock.

    Raises:
        InstrumentUnavailable: it is another key, or one of the two cannot be read.
    """
    known = place.directory / GateKey.public_name
    try:
        public = load_public(given)
        if not known.exists():
            _keep(known, given.read_bytes())
        if load_public(known) == public:
            return public
    except (KeyProblem, OSError) as error:
        raise InstrumentUnavailable(place.name, str(error), _remedy(known)) from error
    detail = f"it obeys the gate whose key is in {known}, and was to be started for the one in {given}"
    raise InstrumentUnavailable(place.name, detail, _remedy(known))


def _remedy(known: Path) -> str:
    return f"set ATHANOR_KEYS to that gate's folder of keys; if its key was replaced on purpose, remove {known}"


def _keep(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.replace(path)
