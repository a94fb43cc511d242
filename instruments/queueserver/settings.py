"""What an instrument's queue consists of: the files for its manager, its addresses, and the key it is locked with."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from athanor.instruments.config import Config, take_lock
from athanor.instruments.laboratory import InstrumentUnavailable
from athanor.instruments.queueserver.manager import Manager

if TYPE_CHECKING:
    from athanor.memory.places import InstrumentPlace

PLAN = "athanor_measure"
GROUP = "athanor"

STARTUP = '''\
"""Loaded by the queue's manager into its worker. Written by `athanor instruments queueserver setup`."""

from athanor.instruments.queueserver.environment import enter

RE, athanor_measure = enter({folder!r})
'''
NOTHING = {"allowed_devices": [], "forbidden_devices": [":.*"], "allowed_functions": [], "forbidden_functions": [":.*"]}
ONLY_OURS = {"allowed_plans": [f":^{PLAN}$"], "forbidden_plans": [], **NOTHING}


@dataclass(frozen=True)
class Settings:
    """Kept in `queueserver/settings.json` in the instrument's folder, readable for its owner alone.

    `ledger` and `gate_key` are what the worker is to be started with, as the last executor has said.
    """

    redis: str
    key: str
    ledger: str = ""
    gate_key: str = ""

    @classmethod
    def read(cls, place: InstrumentPlace) -> Settings:
        """Read them. Raises `OSError` or `ValueError`."""
        return cls(**json.loads((folder_of(place) / "settings.json").read_text(encoding="utf-8")))

    def write(self, place: InstrumentPlace) -> None:
        """Write them, whole or not at all."""
        _write(folder_of(place) / "settings.json", json.dumps(asdict(self), indent=1))


def folder_of(place: InstrumentPlace) -> Path:
    """Where the files of an instrument's queue are."""
    return place.directory / "queueserver"


def has_queue(place: InstrumentPlace) -> bool:
    """Whether the experiments of this instrument go through a queue."""
    return (folder_of(place) / "settings.json").exists()


def manager_of(place: InstrumentPlace, settings: Settings) -> Manager:
    """The line to the manager of an instrument's queue."""
    return Manager(_control(place), settings.key)


def _control(place: InstrumentPlace) -> str:
    return f"ipc://{place.sockets / 'queue.sock'}"


def set_up(place: InstrumentPlace, config: Config, redis: str) -> Path:
    """Write what the manager is started with; the folder. From then on this instrument runs through its queue.

    The manager listens on sockets that only this user can open, and its user groups, `root` included, may run one
    plan, ours, which looks by itself at what it is given. A key that was made before is kept.

    Args:
        place: the instrument.
        config: its profile and options.
        redis: address of the Redis server in which the manager keeps its queue.

    Raises:
        InstrumentUnavailable: a worker is running.
    """
    lock = take_lock(place)
    if lock is None:
        raise InstrumentUnavailable(place.name, "its worker is running", "end it first: `athanor stop-all`, or wait")
    try:
        folder = folder_of(place)
        folder.mkdir(mode=0o700, exist_ok=True)
        place.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        (place.sockets / "place.json").write_text(json.dumps({"name": place.name, "directory": str(place.directory)}))
        config.write(place)
        key = Settings.read(place).key if has_queue(place) else secrets.token_urlsafe(24)
        # JSON is YAML as well, and nothing in it needs quoting rules of its own.
        _write(
            folder / "permissions.yaml", json.dumps({"user_groups": {"root": ONLY_OURS, GROUP: ONLY_OURS}}, indent=1)
        )
        _write(folder / "startup.py", STARTUP.format(folder=str(place.directory)))
        _write(folder / "manager.yml", json.dumps(_manager(place, folder, redis), indent=1))
        Settings(redis, key).write(place)
    finally:
        os.close(lock)
    return folder


def remove(place: InstrumentPlace) -> None:
    """Let the instrument's experiments be run by a worker of our own again. Raises `InstrumentUnavailable`."""
    lock = take_lock(place)
    if lock is None:
        raise InstrumentUnavailable(place.name, "its worker is running", "end it first: `athanor stop-all`, or wait")
    try:
        (folder_of(place) / "settings.json").unlink(missing_ok=True)
    finally:
        os.close(lock)


def _manager(place: InstrumentPlace, folder: Path, redis: str) -> dict[str, dict[str, str | bool]]:
    suffix = hashlib.sha256(str(place.directory).encode()).hexdigest()[:8]
    return {
        "network": {
            "zmq_control_addr": _control(place),
            "zmq_info_addr": f"ipc://{place.sockets / 'queue-info.sock'}",
            "zmq_publish_console": False,
            "redis_addr": redis,
            "redis_name_prefix": f"athanor_{place.name}_{suffix}",
        },
        "startup": {
            "startup_script": str(folder / "startup.py"),
            "existing_plans_and_devices_path": str(folder),
            "user_group_permissions_path": str(folder / "permissions.yaml"),
        },
    }


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)
