"""Serving one laboratory until Ctrl-C: arguments, the folder with its witness log, the profile, the end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import ipaddress
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from athanor.instruments.laboratory import ProcessFailed, UnknownLaboratory, load
from athanor.memory import places
from athanor.sandbox.core import Core
from athanor.sandbox.faults import OptionError
from athanor.sandbox.laboratory import SimulatedLaboratory
from athanor.sandbox.options import Options
from athanor.sandbox.process import WITNESS
from athanor.sandbox.serving.profile import HEAD, Server, profile_text
from athanor.sandbox.serving.station import Station
from athanor.sandbox.witness import Witness

PROTOCOLS = {
    "channel-access": ("channel_access:ChannelAccessServer", "caproto"),
    "opcua": ("opcua:OpcuaServer", "asyncua"),
    "scpi": ("scpi:ScpiServer", ""),
}
LOOPBACK = "127.0.0.1"
LOCK = "serve.lock"
PID = "serve.pid"


class NotServed(Exception):
    """It cannot be served as asked; the message says what would put it right."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        laboratory = _laboratory(given.name)
        options = _options(given, laboratory)
        host = _host(given.host, is_exposed=given.expose)
        server_class = _server_class(given.protocol)
        folder = given.folder or places.home() / "served" / f"{laboratory.name}-{given.protocol}"
        _check_profile(given.profile)
        with _held(folder):
            asyncio.run(_serve(given, laboratory, options, server_class, host, folder))
    except (NotServed, OptionError, UnknownLaboratory) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{given.name} cannot be served at {given.host}:{given.port}: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="athanor sandbox serve", description="Serve a simulated laboratory over the protocol of a real instrument."
    )
    parser.add_argument("name", help="the laboratory")
    parser.add_argument("--protocol", required=True, choices=sorted(PROTOCOLS))
    parser.add_argument("--profile", type=Path, help="write the instrument profile there as well")
    parser.add_argument("--host", default=LOOPBACK, help="address to listen on")
    parser.add_argument("--expose", action="store_true", help="allow an address that other hosts can reach")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--noise", type=float, help="relative standard deviation of the readings")
    parser.add_argument("--time-scale", type=float, help="seconds per simulated second; 0 moves at once")
    parser.add_argument("--timeout", type=float, help="seconds that the profile gives every motion and measurement")
    parser.add_argument("--fault", action="append", default=[], help="such as {kind: dropout, at: 3}; may be repeated")
    parser.add_argument("--folder", type=Path, help="where the witness log is kept")
    return parser


# -- what was asked for ------------------------------------------------------------------------------------------------


def _laboratory(name: str) -> SimulatedLaboratory:
    laboratory = load(name)
    if not isinstance(laboratory, SimulatedLaboratory):
        raise NotServed(f"{name} is no simulated laboratory; only those can be served")
    return laboratory


def _options(given: argparse.Namespace, laboratory: SimulatedLaboratory) -> Options:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        faults = [YAML(typ="safe", pure=True).load(text) for text in given.fault]
    except YAMLError as error:
        raise NotServed(f"--fault: {error}; write it like {{kind: dropout, at: 3}}") from error
    said = {"noise": given.noise, "time_scale": given.time_scale, "timeout_s": given.timeout, "faults": faults or None}
    return Options.parse({name: value for name, value in said.items() if value is not None}, laboratory.physics)


def _host(host: str, *, is_exposed: bool) -> str:
    try:
        address = ipaddress.ip_address(LOOPBACK if host == "localhost" else host)
    except ValueError as error:
        raise NotServed(f"--host: {host!r} is no IP address; give one of this machine's") from error
    if address.is_unspecified:
        raise NotServed(f"--host: {host} is every interface of this machine; give the address of one")
    if not address.is_loopback and not is_exposed:
        raise NotServed(
            f"--host: {host} can be reached from other hosts, and whoever does may move the axes: nobody is asked "
            "for a password; add --expose if that is meant"
        )
    return str(address)


def _server_class(protocol: str) -> Any:
    place, library = PROTOCOLS[protocol]
    module, name = place.split(":")
    try:
        return getattr(import_module(f"athanor.sandbox.serving.{module}"), name)
    except ModuleNotFoundError as error:
        if not library or error.name is None or error.name.split(".")[0] != library:
            raise
        raise NotServed(
            f"{protocol} is served by {library}, which is not installed; pip install 'athanor-lab[serve]'"
        ) from error


def _check_profile(path: Path | None) -> None:
    if path is None:
        return
    if not path.parent.is_dir():
        raise NotServed(f"--profile: there is no folder {path.parent}; make it first")
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(HEAD):
        raise NotServed(f"--profile: {path} was not written by this command; name another file")


# -- serving -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder, for this process alone."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NotServed(f"another process serves from {folder}; end it, or give another --folder") from error
        pid = folder / PID
        pid.write_text(f"{os.getpid()}\n", encoding="utf-8")
        try:
            yield
        finally:
            pid.unlink(missing_ok=True)


async def _serve(
    given: argparse.Namespace,
    laboratory: SimulatedLaboratory,
    options: Options,
    server_class: Any,
    host: str,
    folder: Path,
) -> None:
    for library in ("asyncua", "caproto"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # what they refuse stands in the witness log
    with contextlib.suppress(ProcessFailed):
        laboratory.truth({})  # loads what the physics needs, so that the first measurement takes no longer than others
    with contextlib.closing(Witness(folder / WITNESS)) as witness:
        core = Core(laboratory, options, witness)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, core.ending.set)
        server: Server = server_class(Station(core))
        try:
            address = await server.start(host, given.port)
            witness("start", laboratory=laboratory.name, pid=os.getpid(), options=options.to_dict(), address=address)
            _announce(given, profile_text(server, address), server, address, folder)
            await core.ending.wait()
        finally:
            await server.close()
            witness("exit")


def _announce(given: argparse.Namespace, text: str, server: Server, address: str, folder: Path) -> None:
    """Say where it is; whoever waits for the profile's file finds it whole."""
    if given.profile is not None:
        fresh = given.profile.with_name(f".{given.profile.name}.{os.getpid()}")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(given.profile)
    sys.stdout.write(text)
    sys.stdout.flush()
    say = sys.stderr.write
    say(f"{server.station.name}, simulated, answers over {server.protocol} at {address}; Ctrl-C ends it.\n")
    if given.profile is not None:
        say(f"A campaign reaches it with  laboratory: {{profile: {given.profile}}}\n")
    if server.station.is_reduced_on_board:
        say("Its traces are reduced on board: its detectors give the outcomes.\n")
    say(f"What reaches it is written down in {folder / WITNESS}\n")
    if given.expose:
        say("Warning: other hosts may reach it and move its axes. Nobody is asked for a password.\n")
    sys.stderr.flush()
