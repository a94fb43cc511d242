"""Every error a command can meet becomes one clear message with its remedy; a traceback only with --debug."""

from __future__ import annotations

import sys
import traceback

from athanor.console.cli import output
from athanor.console.commands.refused import Refused

__all__ = ["Refused", "explain"]


def _message(error: BaseException) -> tuple[str, bool]:
    """Return what to say about an error, and whether it is one we expect."""
    if isinstance(error, Refused):
        return str(error), True
    if type(error).__module__.startswith("athanor."):
        return str(error) or type(error).__name__, True
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"There is no file {error.filename}", True
    if isinstance(error, PermissionError) and error.filename:
        return f"No permission for {error.filename}", True
    if isinstance(error, OSError):
        return str(error), True
    return f"{type(error).__name__}: {error}", False


def explain(error: BaseException, *, debug: bool) -> int:
    """Write an error to standard error and return the exit code it stands for."""
    if debug:
        traceback.print_exception(error)
    text, expected = _message(error)
    remedy = getattr(error, "remedy", None)
    if not sys.stderr.isatty():
        sys.stderr.write(f"athanor: {text}\n")
        if remedy and remedy not in text:
            sys.stderr.write(f"  {remedy}\n")
    else:
        output.say(f"[bad]✗[/] {output.plain(text)}")
        if remedy and remedy not in text:
            output.say(f"  [quiet]→[/] {output.plain(str(remedy))}")
    if not expected and not debug:
        output.say("  This was not foreseen. Run the same command with --debug for the traceback.", style="quiet")
    return error.code if isinstance(error, Refused) else output.FAILED
