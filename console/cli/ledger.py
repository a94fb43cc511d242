"""`athanor ledger`: verify, back up and upgrade the record."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from athanor.console.cli import context, output
from athanor.console.cli.failures import Refused
from athanor.console.wording import count

PANEL = "Ledger"


def add_to(app: typer.Typer) -> None:
    """Add the `ledger` group."""
    group = typer.Typer(no_args_is_help=True, help="Verify, back up and upgrade the record.")
    group.command("verify")(verify)
    group.command("backup")(backup)
    group.command("upgrade")(upgrade)
    app.add_typer(group, name="ledger", rich_help_panel=PANEL)


def verify(ledger: context.LedgerOption = None, json: context.JsonOption = False) -> None:
    """Check that the record is whole.

    Reads the whole journal and names every row that was altered, removed, reordered or cut.
    """
    from athanor.memory import verify as checking

    opened = context.open_ledger(ledger)
    report = checking.verify(opened)
    if json:
        output.emit(
            {
                "ledger": opened.url,
                "rows": report.rows,
                "chains": report.chains,
                "problems": [asdict(problem) for problem in report.problems],
                "notes": [asdict(note) for note in report.notes],
                "ok": report.is_clean,
            }
        )
    for style, found in (("bad", report.problems), ("warn", report.notes)):
        for item in found:
            where = f" {item.chain}" if item.chain else ""
            where += f" row {item.seq}" if item.seq is not None else ""
            output.say(f"[{style}]{item.kind}[/]{output.plain(where)}: {output.plain(item.detail)}")
    if not report.is_clean:
        problems, rows = count(len(report.problems), "problem"), count(report.rows, "row")
        raise Refused(f"The record is not whole: {problems} in {rows}")
    rows, chains = count(report.rows, "row"), count(report.chains, "chain")
    output.say(f"[good]✓[/] {rows} in {chains}, all as they were written.")


def backup(
    target: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Copy the ledger, also while it is in use, and verify the copy."""
    from athanor.memory import maintenance

    if target.exists():
        raise Refused(f"{target} exists already", "Name a new file.")
    url = context.ledger_url(ledger)
    if not context.ledger_path(url).exists():
        raise Refused(f"There is no ledger at {context.ledger_path(url)}")
    maintenance.backup(url, target)
    if json:
        output.emit({"ledger": url, "backup": str(target), "bytes": target.stat().st_size})
    output.say(f"[good]✓[/] {target}: {target.stat().st_size / 1e6:.1f} MB, verified.")


def upgrade(ledger: context.LedgerOption = None, json: context.JsonOption = False) -> None:
    """Bring an older ledger to this version's schema.

    Journal rows are never rewritten. Back up first.
    """
    from athanor.memory import maintenance

    url = context.ledger_url(ledger)
    if not context.ledger_path(url).exists():
        raise Refused(f"There is no ledger at {context.ledger_path(url)}")
    maintenance.upgrade(url)
    if json:
        output.emit({"ledger": url, "upgraded": True})
    output.say("[good]✓[/] The ledger has this version's schema.")
