"""Ask a console elsewhere for Stop All: `python -m athanor.console.cli.remote_stop URL [--instrument NAME] ...`.

Exit status as that of `athanor stop-all`: 0 standstill confirmed, 1 not, 3 nothing was running.
"""

from __future__ import annotations

import argparse
import sys


def main(argv: list[str]) -> int:
    """Ask, and say what came of it."""
    parser = argparse.ArgumentParser(prog="athanor stop-all --server")
    parser.add_argument("url")
    parser.add_argument("--instrument")
    parser.add_argument("--reason", default="no reason given")
    asked, _ = parser.parse_known_args(argv)

    def say(text: str) -> None:
        sys.stderr.write(f"{asked.url}: {text}\n")
        sys.stderr.flush()

    from athanor.console.client import Client, ServerProblem
    from athanor.console.commands.refused import Refused

    try:
        with Client.from_environment(asked.url) as client:
            told = client.stop_all(asked.reason, asked.instrument)
    except (ServerProblem, Refused) as problem:
        text = str(problem)
        say(text if "NOTHING WAS STOPPED" in text else f"NOTHING WAS STOPPED: {text}")
        if problem.remedy:
            say(problem.remedy)
        return 1
    for one in told.instruments:
        stands = "stands still, confirmed" if one.confirmed else "NOT CONFIRMED: go and look"
        say(f"{one.name}: {stands if one.is_running else 'was not running'}; {one.latched}")
    say(told.notice)
    if told.running == 0:
        say("no instrument was running; those known there are latched")
        return 3
    return 0 if told.confirmed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
