"""What a run uses up or needs to itself, by the campaign's file; waiting for it, and why it is not to be had.

A sample or a device that another experiment has will be free again: the campaign waits. A stock that runs short will
not refill itself: the campaign pauses before anything is dispatched, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from athanor.instruments.expressions import Unknown
from athanor.instruments.units import NONE, same_unit
from athanor.memory.errors import NotFound, ResourceShort, ResourceTaken
from athanor.memory.resources import Needs

if TYPE_CHECKING:
    from athanor.agents.context import Context
    from athanor.agents.spec import ConsumableSpec, Spec
    from athanor.memory.ledger import Ledger
    from athanor.memory.records import Decision, Experiment, Value

LOOK_S = 0.2


class BadNeed(ValueError):
    """A need that nobody can meet as it is written; names the consumable, sample or device and the remedy."""


def needs_of(spec: Spec, ledger: Ledger, values: Mapping[str, Value]) -> Needs:
    """What a run at these values needs, in the stocks' own units.

    Raises:
        NotFound: there is no such stock.
        BadNeed: an amount that is below 0, that cannot be worked out, or in a unit that is not the stock's.
    """
    amounts = {}
    for name, consumable in spec.consumables.items():
        stock = ledger.consumable(name)
        amounts[name] = _converted(name, _amount(name, consumable, values), consumable.unit, stock.unit)
    samples = () if spec.sample is None else (spec.sample,)
    return Needs(samples=samples, amounts=amounts, devices=tuple(dict.fromkeys(spec.devices)))


def check_needs(spec: Spec, ledger: Ledger, instrument: str) -> list[tuple[str, str, str]]:
    """What of a campaign's needs cannot be met by what the ledger knows, as (field, what is wrong, remedy)."""
    wrong = []
    for name, consumable in spec.consumables.items():
        try:
            _converted(name, 1.0, consumable.unit, ledger.consumable(name).unit)
        except NotFound:
            unit = f" --unit {consumable.unit}" if consumable.unit else ""
            remedy = f"athanor stock add {name} AMOUNT{unit}"
            wrong.append((f"consumables.{name}", "there is no such stock in the ledger", remedy))
        except BadNeed as error:
            wrong.append((f"consumables.{name}", str(error), "give the amount in a unit of the same kind"))
    if spec.sample is not None:
        try:
            if ledger.sample(spec.sample).state == "retired":
                wrong.append(("sample", f"{spec.sample} is retired", "name another sample"))
        except NotFound:
            remedy = f"athanor samples add {spec.sample}"
            wrong.append(("sample", f"there is no sample {spec.sample} in the ledger", remedy))
    if instrument in spec.devices:
        wrong.append(("devices", f"{instrument} is the campaign's own instrument", "remove it from the list"))
    return wrong


def commit(context: Context, experiment: Experiment, decision: Decision) -> str | None:
    """Commit the intent with everything that the run needs; None when it is done, else why the campaign must pause.

    Waits while another experiment has a sample or a device.
    """
    seen, waits_for = -1, None
    while True:
        changes = context.ledger.changes()
        if changes != seen or waits_for is None or "drives it" in waits_for:
            seen = changes
            try:
                context.commit_intent(experiment, decision)
                return None
            except ResourceTaken as error:
                if not error.waits:
                    return f"experiment {experiment.id} cannot start: {error}. Then: athanor resume {context.id}"
                if waits_for != str(error):
                    waits_for = str(error)
                    context.ledger.add_event(context.id, "waiting", {"experiment": experiment.id, "for": waits_for})
                    context.notify()
            except ResourceShort as error:
                return f"{error} for experiment {experiment.id}. {error.remedy}, then athanor resume {context.id}"
            except (NotFound, BadNeed) as error:
                then = f"Put that right, then athanor resume {context.id}"
                return f"experiment {experiment.id} cannot start: {error}. {then}"
        if (cause := _interruption(context, decision)) is not None:
            return f"{cause} while experiment {experiment.id} waited: {waits_for}"
        time.sleep(LOOK_S)


def _interruption(context: Context, decision: Decision) -> str | None:
    """Why not to wait any longer."""
    if (cause := context.standstill()) is not None:
        return cause
    if context.refresh().requested != "none":
        return "paused by a person"
    if context.should_stop():
        return "paused: the command was interrupted"
    if decision.expires_at is not None and decision.expires_at <= datetime.now(UTC):
        return "the approval ran out"
    context.check_lease()
    return None


def _amount(name: str, consumable: ConsumableSpec, values: Mapping[str, Value]) -> float:
    expression = consumable.expression()
    if expression is None:
        assert not isinstance(consumable.amount, str)
        return consumable.amount
    try:
        amount = expression.number({k: v if isinstance(v, str) else float(v) for k, v in values.items()})
    except Unknown as error:
        raise BadNeed(f"nobody can say how much {name} a run uses: {error}") from error
    if amount < 0:
        raise BadNeed(f"a run cannot use {amount:g} of {name}: {consumable.amount} is below 0 there")
    return amount


def _converted(name: str, amount: float, given: str | None, wanted: str | None) -> float:
    if same_unit(given, wanted):
        return amount
    if given in NONE or wanted in NONE:
        raise BadNeed(f"{name} is kept in {wanted or 'plain numbers'}, and the campaign says {given or 'no unit'}")
    import pint

    units = pint.get_application_registry()
    try:
        return float(units.Quantity(amount, given).to(wanted).magnitude)
    except (pint.PintError, AttributeError, ValueError, TypeError) as error:
        raise BadNeed(f"{name} is kept in {wanted}, and {given} cannot be made that") from error
