"""The `athanor` command."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; `stop-all` is handed on before anything else is imported."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] == "stop-all":
        from athanor.instruments import stop

        sys.exit(stop.main(arguments[1:]))
    from athanor.console.cli.app import run

    sys.exit(run(arguments))


__all__ = ["main"]
