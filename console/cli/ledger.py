"""`athanor ledger`: verify, back up and upgrade the record."""

from __future__ import annotations

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
    problems = [{"kind": p.kind, "chain": p.chain, "seq": p.seq, "detail": p.detail} for p in report.problems]
    wrong = [p for p in problems if p["kind"] != "unanchored"]
    chains = report.chains if isinstance(report.chains, int) else len(report.chains)
    if json:
        output.emit(
            {"ledger": opened.url, "rows": report.rows, "chains": chains, "problems": problems, "ok": not wrong}
        )
    for problem in problems:
        style = "warn" if problem["kind"] == "unanchored" else "bad"
        where = f"{problem['chain']} row {problem['seq']}"
        output.say(f"[{style}]{problem['kind']}[/] {output.plain(where)}: {output.plain(str(problem['detail']))}")
    if wrong:
        raise Refused(f"The record is not whole: {count(len(wrong), 'problem')} in {count(report.rows, 'row')}")
    output.say(f"[good]✓[/] {count(report.rows, 'row')} in {count(chains, 'chain')}, all as they were written.")


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
