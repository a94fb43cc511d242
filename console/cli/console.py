"""The console's server, and the accounts of those who use it."""

from __future__ import annotations

import gc
import ipaddress
import socket
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from athanor.console.cli import context, output
from athanor.console.cli.failures import Refused

if TYPE_CHECKING:
    from athanor.governance.people import People

PANEL = "Console"
PORT = 8765
FIRST = "owner"
SETTLED_S = 20.0
"""After so long the first pages were served, and all that they need is loaded."""

LoginArgument = Annotated[str, typer.Argument(metavar="LOGIN", help="Who.")]
RoleArgument = Annotated[
    str, typer.Argument(metavar="ROLE", help="observer, scientist, operator, developer, steward or owner.")
]

people_app = typer.Typer(
    name="people", help="Accounts for the console: add people, give roles and passwords.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    """Add the commands of this panel."""
    app.command("console", rich_help_panel=PANEL)(console)
    for name, command in (
        ("list", everybody),
        ("add", add),
        ("role", role),
        ("password", password),
        ("close", close),
        ("open", reopen),
        ("without-second-factor", without_second_factor),
    ):
        people_app.command(name)(command)
    app.add_typer(people_app, rich_help_panel=PANEL)


def console(
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port to listen on.")] = PORT,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="A host name that people type for it; may be repeated.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", exists=True, dir_okay=False, help="A PEM file.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--tls-key", exists=True, dir_okay=False, help="The certificate's key, a PEM file.")
    ] = None,
    ledger: context.LedgerOption = None,
) -> None:
    """Serve the web pages and the HTTP API of this ledger.

    On this computer alone, unless it is given a certificate. Ending it stops no campaign and no instrument.
    """
    if (certificate is None) != (key is None):
        raise Refused("A certificate and its key go together", "Give --tls-certificate and --tls-key, or neither.")
    if certificate is None and not _is_loopback(host):
        raise Refused(
            f"{host} can be reached by others, and passwords would go over the line in the clear",
            "Give --tls-certificate and --tls-key, or listen on 127.0.0.1.",
        )
    server = _server()
    from athanor.console import settings
    from athanor.console.api.app import create_app
    from athanor.console.api.desk import Desk
    from athanor.memory import places

    found = settings.load(places.home())
    opened = context.open_ledger(ledger, create=True)
    desk = Desk(opened, places.home(), found)
    scheme = "http" if certificate is None else "https"
    app = create_app(desk, _hosts(host, port, name or [], scheme))
    config = server.Config(
        app,
        host=host,
        port=port,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody stands between us and who asks
        timeout_graceful_shutdown=5,
        timeout_keep_alive=75,  # longer than those who ask keep a line: else it is cut just as they use it again
    )
    sock = _bound(host, port)
    shown = f"[{host}]" if ":" in host else host
    output.say(f"[good]✓[/] The console is at [name]{scheme}://{shown}:{port}/[/]. Ctrl-C ends it.")
    accounts = desk.people.everybody()
    if not accounts:
        given = desk.people.add(FIRST, "Owner", "owner", context.person())
        output.say(f"  Sign in as [name]{FIRST}[/] with the password  [name]{given}[/]  (shown this once)")
    elif not any(person.role == "owner" and person.is_active for person in accounts):
        output.say("  No account is an owner's. To make one so:  [command]athanor people role LOGIN owner[/]")
    _more_files()
    _share_what_is_freed()
    # Whoever answers waits so long for a thread that computes: fifty pages ask some hundred times a second.
    sys.setswitchinterval(0.0002)
    settling = threading.Timer(SETTLED_S, _settle)
    settling.daemon = True
    settling.start()
    try:
        server.Server(config).run(sockets=[sock])
    finally:
        settling.cancel()
        sock.close()
        opened.close()


def _more_files() -> None:
    """Every page that listens holds a file open; take as many as this account may have."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _server() -> Any:
    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise Refused(f"The console needs {error.name}", "Install it: pip install 'athanor-lab[console]'") from error
    return uvicorn


def _share_what_is_freed() -> None:
    """Tell glibc to keep one stock of freed memory for all threads, and to give large pieces back at once.

    Else each of some forty threads keeps its own, which grows by megabytes a minute for as long as pages are made.
    """
    arena_max, mmap_threshold, trim_threshold = -8, -3, -1
    try:
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
    except (ImportError, OSError, AttributeError, TypeError):  # another library, which has no such habit
        return
    for option, value in ((arena_max, 1), (mmap_threshold, 64 << 10), (trim_threshold, 128 << 10)):
        mallopt(option, value)


def _settle() -> None:
    """Spare the garbage collector what stays for good, which is nearly all there is once the first pages were served.

    Else it looks through all of it, a tenth of a second without an answer to anybody, and only when a quarter as much
    has come up that might be garbage: until then garbage takes up the memory.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # it goes by how much there was at the last time


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Said to be TCP, or asyncio leaves Nagle's algorithm on, and small answers wait 40 ms for an acknowledgement.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise Refused(
            f"{host}:{port} cannot be listened on: {error.strerror or error}", "Give another with --port."
        ) from error
    return sock


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _hosts(host: str, port: int, names: list[str], scheme: str) -> set[str]:
    """The `Host` headers under which the console answers; a port that goes without saying may be left out."""
    known = {f"[{host}]" if ":" in host else host, *names}
    if _is_loopback(host):
        known |= {"127.0.0.1", "localhost", "[::1]"}
    found = {f"{one.lower()}:{port}" for one in known}
    return found | {one.lower() for one in known} if port == {"http": 80, "https": 443}[scheme] else found


# -- accounts ---------------------------------------------------------------------------------------------------------


def _people(ledger: str | None) -> People:
    from athanor.governance.people import PEOPLE, People
    from athanor.memory import places

    opened = context.open_ledger(ledger, create=True)
    return People(places.home() / PEOPLE, lambda kind, body: opened.add_event(None, kind, body))


def everybody(ledger: context.LedgerOption = None, json: context.JsonOption = False) -> None:
    """List the accounts."""
    found = _people(ledger).everybody()
    if json:
        output.emit({"people": [vars(person) for person in found]})
    if not found:
        output.say("Nobody has an account yet. The first start of `athanor console` makes one for the owner.")
    for person in found:
        state = "" if person.is_active else "  [warn]closed[/]"
        factor = "  second factor" if person.has_second_factor else ""
        since = datetime.fromtimestamp(person.added, UTC).date()
        output.say(
            f"[name]{person.login:16}[/] {person.role:10} {output.plain(person.name)}  since {since}{factor}{state}"
        )


def add(
    login: LoginArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name that colleagues know.")],
    role: RoleArgument,
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Add somebody, with a password that must be changed at the first sign-in."""
    _give(login, _people(ledger).add(login, name, role, context.person()), json)  # type: ignore[arg-type]


def password(login: LoginArgument, ledger: context.LedgerOption = None, json: context.JsonOption = False) -> None:
    """Give out another password; the person's sessions end."""
    _give(login, _people(ledger).new_password(login, context.person()), json)


def role(
    login: LoginArgument, role: RoleArgument, ledger: context.LedgerOption = None, json: context.JsonOption = False
) -> None:
    """Give another role; it counts at once."""
    _people(ledger).set_role(login, role, context.person())  # type: ignore[arg-type]
    _done(login, f"is {role} now", json)


def close(login: LoginArgument, ledger: context.LedgerOption = None, json: context.JsonOption = False) -> None:
    """Close an account; its sessions and tokens end."""
    _people(ledger).set_active(login, False, context.person())
    _done(login, "can sign in no more", json)


def reopen(login: LoginArgument, ledger: context.LedgerOption = None, json: context.JsonOption = False) -> None:
    """Open an account again that was closed."""
    _people(ledger).set_active(login, True, context.person())
    _done(login, "can sign in again", json)


def without_second_factor(
    login: LoginArgument, ledger: context.LedgerOption = None, json: context.JsonOption = False
) -> None:
    """Do without somebody's second factor, as when the device is lost; the person's sessions end."""
    _people(ledger).remove_second_factor(login, context.person())
    _done(login, "signs in without a second factor", json)


def _give(login: str, given: str, json: bool) -> None:
    if json:
        output.emit({"login": login, "password": given})
    else:
        output.say(f"[good]✓[/] [name]{output.plain(login)}[/] signs in with  [name]{given}[/]  (shown this once)")


def _done(login: str, said: str, json: bool) -> None:
    if json:
        output.emit({"login": login, "done": said})
    output.say(f"[good]✓[/] [name]{output.plain(login)}[/] {said}.")
