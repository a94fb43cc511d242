"""The report of a campaign: one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger


def write_report(ledger: Ledger, campaign_id: str, target: Path) -> Path:
    """Write a campaign's report to a file, whole or not at all; return the file.

    Raises:
        NotFound: there is no such campaign.
        OSError: the file cannot be written.
    """
    from athanor.console.report.build import build
    from athanor.console.report.page import render

    text = render(build(ledger, campaign_id))
    fresh = target.with_name(target.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(target)
    return target


__all__ = ["write_report"]
