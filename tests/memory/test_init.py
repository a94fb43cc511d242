from __future__ import annotations

import pytest

import athanor.memory as memory


@pytest.mark.parametrize("name", memory.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(memory, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        memory.nothing_of_the_kind  # noqa: B018
