"""The guides say what is true: every command in them exists with its options, and the Python in them runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from athanor.agents.spec import load
from athanor.console.cli.app import app

ROOT = Path(__file__).parents[2]
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
READERS = ("developer", "operator", "scientist")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(guide: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", guide.read_text(), flags=re.DOTALL)


def commands() -> list[tuple[str, str]]:
    return [
        (guide.name, line)
        for guide in GUIDES
        for block in blocks(guide, "sh")
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip() and not line.startswith(("#", "pip install "))
    ] + [("README.md", line) for line in re.findall(r"`(athanor [^`]*)`", (ROOT / "README.md").read_text())]


def test_there_is_a_guide_for_each_of_the_three() -> None:
    found = [guide for guide in GUIDES if guide.stem in READERS]
    assert len(found) == len(READERS)
    assert all(len(guide.read_text().splitlines()) < 90 for guide in found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`]*`", "", page.read_text())  # a formula may look like a link
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    missing = [t for t in targets if t and "://" not in t and not (page.parent / t).exists()]
    assert missing == []


@pytest.mark.parametrize(("guide", "line"), commands())
def test_every_command_exists_with_its_options(guide: str, line: str) -> None:
    program, *words = shlex.split(line, comments=True)
    assert program == "athanor"
    command = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, f"{guide}: {line}"
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    used = {word for word in words if word.startswith("--")}
    if command.name not in ("stop-all", "serve"):  # they hand their options on
        assert used <= known, f"{guide}: {line}"
        needed = {
            parameter.opts[0] for parameter in command.params if parameter.required and parameter.opts[0][0] == "-"
        }
        assert needed <= used, f"{guide}: {line}"


def test_the_campaign_file_of_the_readme_is_a_good_one(tmp_path: Path) -> None:
    [text] = blocks(ROOT / "README.md", "yaml")
    file = tmp_path / "campaign.yaml"
    file.write_text(text)
    assert load(file).budget.experiments == 40
    assert len(text.splitlines()) <= 15


def test_the_developers_python_runs(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [code] = blocks(ROOT / "docs" / "guides" / "developer.md", "python")
    names: dict[str, object] = {}
    exec(compile(code, "developer.md", "exec"), names)
    assert names["campaign"].state == "queued"  # type: ignore[attr-defined]
    assert set(names["expected"]) == {"sty", "e_factor"}  # type: ignore[call-overload]
