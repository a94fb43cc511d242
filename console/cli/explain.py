"""The command that says what the model of a campaign knows, and whether to trust it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from athanor.console import wording
from athanor.console.cli import context, output

if TYPE_CHECKING:
    from athanor.planners.explanations import Explanation

PANEL = "Look"
STYLES = {"serious": "bad", "warning": "warn", "note": "quiet"}


def add_to(app: typer.Typer) -> None:
    """Add the command of this panel."""
    app.command("explain", rich_help_panel=PANEL)(explain)


def explain(
    campaign_id: context.CampaignArgument, ledger: context.LedgerOption = None, json: context.JsonOption = False
) -> None:
    """Say what the model of a campaign knows, and whether to trust it.

    Fits the planner's model to everything measured so far. With --json also maps and every left-out prediction.
    """
    from athanor.console.report.effects import explained

    opened = context.open_ledger(ledger)
    campaign = context.find_campaign(opened, campaign_id)
    found = explained(opened, campaign.id)
    if json:
        output.emit({"campaign": campaign.id, **found.model_dump(mode="json")})
        return
    _show(found)


def _show(found: Explanation) -> None:
    health = found.health
    first = health.verdict.partition(". ")[0].removesuffix(".")
    output.show(f"[bold]{output.plain(first)}.[/]")
    for item in health.findings:
        style = STYLES[item.severity]
        output.show(f"\n[{style}]{item.severity}[/]  {output.plain(wording.prose(item.seen))}")
        output.show(f"  {output.plain(wording.prose(item.means))}")
        output.show(f"  [command]→[/] {output.plain(wording.prose(item.remedy))}")
    if found.calibrations:
        output.show("\nAsked about settings that it was not shown:\n")
        rows = [
            (
                output.plain(item.outcome),
                str(item.settings),
                f"{max(item.r2, 0.0):.0%}",
                f"{item.coverage_50:.0%}",
                f"{item.coverage_90:.0%}",
            )
            for item in found.calibrations
        ]
        heads = ("outcome", "settings", "variation explained", "within 50%", "within 90%")
        output.show(output.table(heads, rows, right=heads[1:]))
    if found.sensitivity is not None:
        output.show("\nWhich parameters matter (share of the variation; in brackets what the data leave open):\n")
        shares = [
            (
                output.plain(item.outcome),
                output.plain(item.parameter),
                f"{item.first:.0%} ({item.first_low:.0%}–{item.first_high:.0%})",
                wording.MISSING
                if item.total is None
                else f"{item.total:.0%} ({item.total_low:.0%}–{item.total_high:.0%})",
            )
            for item in found.sensitivity.importances
        ]
        output.show(output.table(("outcome", "parameter", "alone", "in all"), shares, right=("alone", "in all")))
        if found.sensitivity.is_tied:
            output.show(f"\n{found.sensitivity.what}")


def _share(share: float | None, low: float | None, high: float | None) -> str:
    return wording.MISSING if share is None else f"{share:.0%} ({low:.0%}–{high:.0%})"
