"""Samples and consumables: what there is, where it is, what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from athanor.console import wording
from athanor.console.cli import context, output
from athanor.console.commands.resources import NoAmount, ResourceCommands

if TYPE_CHECKING:
    from athanor.memory.ledger import Ledger
    from athanor.memory.resources import Change, Level, Sample

PANEL = "Samples and stock"

SampleArgument = Annotated[str, typer.Argument(metavar="SAMPLE", help="Its label or id.")]
StockArgument = Annotated[str, typer.Argument(metavar="CONSUMABLE", help="Its name.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this panel."""
    samples = typer.Typer(
        invoke_without_command=True, help="Samples: where they are, what was done with them.", rich_markup_mode="rich"
    )
    samples.callback()(list_samples)
    samples.command("add")(add_sample)
    samples.command("show")(show_sample)
    samples.command("move")(move_sample)
    samples.command("split")(split_sample)
    samples.command("retire")(retire_sample)
    stock = typer.Typer(
        invoke_without_command=True, help="Consumables: what is left, and when you are told.", rich_markup_mode="rich"
    )
    stock.callback()(list_stock)
    stock.command("add")(add_stock)
    stock.command("set")(set_stock)
    stock.command("show")(show_stock)
    app.add_typer(samples, name="samples", rich_help_panel=PANEL)
    app.add_typer(stock, name="stock", rich_help_panel=PANEL)


# -- samples -------------------------------------------------------------------------------------------------------


def list_samples(
    called: typer.Context,
    retired: Annotated[bool, typer.Option("--retired", help="Also those that are no longer used.")] = False,
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """List the samples; with a subcommand, do something with one."""
    if called.invoked_subcommand is not None:
        return
    opened = _existing(ledger)
    found = opened.samples(with_retired=retired) if opened is not None else []
    if json:
        output.emit({"samples": [item.model_dump() for item in found]})
        return
    if not found:
        typed = context.command("samples", "add", "LABEL", "--at", "WHERE")
        output.say(f"No samples yet. Add one:  [command]{output.plain(typed)}[/]")
        return
    labels = {item.id: item.label for item in found}
    rows = [
        (
            f"[name]{output.plain(item.label)}[/]",
            _state(item),
            output.plain(item.location or wording.MISSING),
            output.plain(labels.get(item.parent_id or "", item.parent_id or "")),
            wording.ago(item.created_at),
            output.plain(item.description),
        )
        for item in found
    ]
    columns = ("sample", "state", "where", "made from", "added", "description")
    output.show(output.table(columns, rows, whole=("sample", "state")))


def add_sample(
    label: Annotated[str, typer.Argument(metavar="LABEL", help="What it is called.")],
    at: Annotated[str | None, typer.Option("--at", metavar="WHERE", help="Where it lies.")] = None,
    parent: Annotated[str | None, typer.Option("--parent", metavar="SAMPLE", help="What it was made from.")] = None,
    description: Annotated[str, typer.Option("--description", help="What it is.", show_default=False)] = "",
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Add a sample."""
    sample = _commands(context.open_ledger(ledger, create=True)).add_sample(label, at, parent, description)
    _done(json, sample.model_dump(), f"added sample [name]{output.plain(label)}[/]")


def show_sample(sample: SampleArgument, ledger: context.LedgerOption = None, json: context.JsonOption = False) -> None:
    """Show a sample and its history."""
    opened = context.open_ledger(ledger)
    found = opened.sample(sample)
    history = opened.sample_history(found.id)
    if json:
        lines = [{"at": item.at, "kind": item.kind, **item.body} for item in history]
        output.emit({"sample": found.model_dump(), "history": lines})
        return
    output.show(f"[name]{output.plain(found.label)}[/]  {_state(found)}  {output.plain(found.description)}")
    output.show(f"  [quiet]where[/]      {output.plain(found.location or wording.MISSING)}")
    if found.parent_id is not None:
        output.show(f"  [quiet]made from[/]  {output.plain(opened.sample(found.parent_id).label)}")
    for item in history:
        output.show(f"  [quiet]{wording.moment(item.at)}[/]  {output.plain(_sample_text(item, found))}")


def move_sample(
    sample: SampleArgument,
    location: Annotated[str, typer.Argument(metavar="WHERE", help="Where it is now.")],
    reason: ReasonOption = "",
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Note where a sample is now."""
    moved = context.open_ledger(ledger).move_sample(sample, location, context.person(), reason)
    where = f"[name]{output.plain(moved.label)}[/] is at {output.plain(location)}"
    _done(json, moved.model_dump(), where)


def split_sample(
    sample: SampleArgument,
    labels: Annotated[list[str], typer.Argument(metavar="LABEL…", help="What its parts are called.")],
    reason: ReasonOption = "",
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Make several samples of one; all parts or none."""
    parts = context.open_ledger(ledger).split_sample(sample, labels, context.person(), reason)
    names = ", ".join(output.plain(part.label) for part in parts)
    _done(json, {"samples": [part.model_dump() for part in parts]}, f"made [name]{names}[/] of {output.plain(sample)}")


def retire_sample(
    sample: SampleArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why it is not used any more.")],
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Take a sample out of use for good; its history stays."""
    opened = context.open_ledger(ledger)
    found = opened.sample(sample)
    opened.retire_sample(found.id, context.person(), reason)
    _done(json, opened.sample(found.id).model_dump(), f"retired [name]{output.plain(found.label)}[/]")


def _state(sample: Sample) -> str:
    if sample.state == "reserved":
        return f"[ember]in {output.plain(sample.experiment_id or '')}[/]"
    return "[quiet]retired[/]" if sample.state == "retired" else "free"


def _sample_text(change: Change, sample: Sample) -> str:
    body = change.body
    why = f": {body['reason']}" if body.get("reason") else ""
    by = f" by {body['by']}" if body.get("by") else ""
    if change.kind == "sample":
        where = f" at {body['location']}" if body["location"] else ""
        return f"added{where}" if body["id"] == sample.id else f"{body['label']} was made of it"
    if change.kind == "sample_move":
        return f"moved to {body['location']}{by}{why}"
    if body.get("used_by"):
        return f"{body['used_by']} is done with it{why}"
    return f"{body['to']} for {body['experiment']}" if body.get("experiment") else f"{body['to']}{by}{why}"


# -- stock ---------------------------------------------------------------------------------------------------------


def list_stock(called: typer.Context, ledger: context.LedgerOption = None, json: context.JsonOption = False) -> None:
    """List the consumables; with a subcommand, do something with one."""
    if called.invoked_subcommand is not None:
        return
    opened = _existing(ledger)
    levels = opened.levels() if opened is not None else []
    if json:
        output.emit({"stock": [_level(level) for level in levels]})
        return
    if not levels:
        typed = context.command("stock", "add", "ethanol", "500", "--unit", "mL", "--low", "50")
        output.say(f"No consumables yet. Add one:  [command]{output.plain(typed)}[/]")
        return
    rows = [
        (
            f"[name]{output.plain(level.consumable.id)}[/]",
            wording.number(level.consumable.amount),
            wording.number(level.reserved),
            f"[warn]{wording.number(level.available)}[/]" if level.is_low else wording.number(level.available),
            wording.number(level.consumable.low),
            output.plain(wording.pretty_unit(level.consumable.unit)),
            "[warn]low[/]" if level.is_low else "",
            output.plain(level.consumable.description),
        )
        for level in levels
    ]
    columns = ("consumable", "there", "promised", "left", "low at", "unit", "", "description")
    right = ("there", "promised", "left", "low at")
    output.show(output.table(columns, rows, right=right, whole=("consumable", *right, "")))


def add_stock(
    consumable: StockArgument,
    amount: Annotated[float, typer.Argument(metavar="AMOUNT", help="How much is added, in the stock's unit.")],
    unit: Annotated[str | None, typer.Option("--unit", help="The unit of a new stock.")] = None,
    low: Annotated[float | None, typer.Option("--low", help="You are told when no more than this is left.")] = None,
    description: Annotated[str, typer.Option("--description", help="What it is.", show_default=False)] = "",
    reason: ReasonOption = "",
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Add to a stock, or begin one."""
    opened = context.open_ledger(ledger, create=True)
    try:
        level = _commands(opened).add_stock(consumable, amount, unit, low, description, reason)
    except NoAmount as error:
        raise typer.BadParameter(str(error), param_hint="--unit" if "unit" in str(error) else "AMOUNT") from error
    _say_level(level, json)


def set_stock(
    consumable: StockArgument,
    amount: Annotated[float | None, typer.Argument(metavar="[AMOUNT]", help="What is really there.")] = None,
    low: Annotated[float | None, typer.Option("--low", help="You are told when no more than this is left.")] = None,
    reason: ReasonOption = "",
    ledger: context.LedgerOption = None,
    json: context.JsonOption = False,
) -> None:
    """Correct what is there, or the level at which you are told."""
    commands = _commands(context.open_ledger(ledger))
    try:
        level = commands.set_stock(consumable, amount, low, reason)
    except NoAmount as error:
        raise typer.BadParameter(str(error), param_hint="--reason" if "why" in str(error) else "AMOUNT") from error
    _say_level(level, json)


def show_stock(
    consumable: StockArgument, ledger: context.LedgerOption = None, json: context.JsonOption = False
) -> None:
    """Show a consumable and what it was used for."""
    opened = context.open_ledger(ledger)
    opened.consumable(consumable)
    [level] = opened.levels([consumable])
    history = opened.stock_history(consumable)
    if json:
        lines = [{"at": item.at, "kind": item.kind, **item.body} for item in history]
        output.emit({**_level(level), "history": lines})
        return
    output.show(_level_text(level))
    for item in history:
        output.show(f"  [quiet]{wording.moment(item.at)}[/]  {output.plain(_stock_text(item, level))}")


def _say_level(level: Level, json: bool) -> None:
    if json:
        output.emit(_level(level))
    output.say(f"[good]✓[/] {_level_text(level)}")


def _commands(opened: Ledger) -> ResourceCommands:
    return ResourceCommands(opened, context.person())


def _level(level: Level) -> dict[str, Any]:
    stock = level.consumable.model_dump()
    return {**stock, "reserved": level.reserved, "available": level.available, "is_low": level.is_low}


def _level_text(level: Level) -> str:
    unit = level.consumable.unit
    parts = [f"[name]{output.plain(level.consumable.id)}[/]  {wording.measured(level.available, None, unit)} left"]
    if level.reserved:
        parts.append(f"{wording.measured(level.reserved, None, unit)} promised to runs under way")
    if level.is_low:
        parts.append(f"[warn]low[/], told at {wording.measured(level.consumable.low, None, unit)}")
    return ", ".join(parts)


def _stock_text(change: Change, level: Level) -> str:
    body, unit = change.body, level.consumable.unit
    if change.kind == "consumable":
        return f"begun with {wording.measured(body['amount'], None, unit)}"
    by = f" by {body['by']}" if body["by"] else ""
    what = body["experiment"] or ""
    sign = "+" if body["change"] > 0 else ""
    amount = f"{sign}{wording.measured(body['change'], None, unit)}" if body["change"] else "level"
    why = f": {body['reason']}" if body["reason"] else ""
    left = wording.measured(body["amount"], None, unit)
    return f"{amount} {body['how']}{by}{f' by {what}' if what else ''}{why} → {left}"


def _existing(ledger: str | None) -> Ledger | None:
    """The ledger, None where there is none yet and none was named: then there is nothing to list."""
    if ledger is None and not context.ledger_path(context.ledger_url(None)).exists():
        return None
    return context.open_ledger(ledger)


def _done(json: bool, result: dict[str, Any], text: str) -> None:
    if json:
        output.emit(result)
    output.say(f"[good]✓[/] {text}")
