from __future__ import annotations

import os
import socket
import subprocess
import sys

from athanor.agents.holders import holder, is_gone


def test_a_living_holder_is_not_gone_and_a_dead_one_is() -> None:
    assert not is_gone(holder())
    code = "from athanor.agents.holders import holder; print(holder())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert is_gone(done.stdout.strip())


def test_a_reused_pid_is_not_the_old_holder() -> None:
    assert is_gone(f"{socket.gethostname()}:{os.getpid()}:12345:abcdef")


def test_nothing_is_known_of_other_hosts_and_strange_names() -> None:
    assert not is_gone("elsewhere.example:1:2:3")
    assert not is_gone("nonsense")
    assert holder() != holder()
