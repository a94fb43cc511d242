"""The settings that the guides show are settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from athanor.console.settings import load

GUIDES = Path(__file__).parents[2] / "docs" / "guides"


@pytest.mark.parametrize("guide", ["sign-in.md", "notifications.md"])
def test_the_guide_s_file_is_read(guide: str, tmp_path: Path) -> None:
    [text] = re.findall(r"```yaml\n(.*?)```", (GUIDES / guide).read_text(), flags=re.DOTALL)
    for name in re.findall(r"secret_file: ([\w-]+)|password_file: ([\w-]+)", text):
        file = tmp_path / "".join(name)
        file.touch(mode=0o600)
        file.write_text("x")
    (tmp_path / "console.yaml").write_text(text)
    found = load(tmp_path)
    assert found.sign_in.providers or found.notifications.rules
