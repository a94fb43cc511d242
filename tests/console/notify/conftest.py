from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.notify.site import Telling
from tests.console.post import Hook, Post, hooking, posting


@pytest.fixture
def post() -> Iterator[Post]:
    with posting(Post()) as made:
        yield made


@pytest.fixture
def hook() -> Iterator[Hook]:
    with hooking(Hook()) as made:
        yield made


@pytest.fixture
def telling(home: Path, post: Post, hook: Hook) -> Iterator[Telling]:
    made = Telling(home, post, hook)
    yield made
    made.close()
