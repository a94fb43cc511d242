"""What a person types to move an axis, and what they are asked before it moves."""

from __future__ import annotations

import io
import weakref
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from athanor.console.api.problems import problem_of
from athanor.console.cli.app import run
from athanor.console.commands import moving
from athanor.console.commands.moving import NoTarget, target_of
from athanor.console.commands.refused import Refused
from athanor.governance.orders import Orders
from athanor.instruments.config import Config
from athanor.instruments.laboratory import load
from athanor.instruments.profile import AxisSpec
from athanor.instruments.takeover import TakeOver
from athanor.instruments.words import Refused as Declined
from athanor.memory.ledger import Ledger
from athanor.memory.places import InstrumentPlace, keys_dir
from athanor.memory.signing import GateKey
from tests.instruments.rig import until

HEATER = AxisSpec(unit="degC", minimum=0, maximum=100)
STAGES = AxisSpec(allowed=(2, 3, 4))
CYCLES = AxisSpec(minimum=1, maximum=9, integer=True)
GAS = AxisSpec(allowed=("argon", "2"))


@pytest.mark.parametrize(
    ("spec", "text", "unit", "value"),
    [
        (HEATER, "80", None, 80.0),
        (HEATER, "-1.5e1", "degC", -15.0),
        (STAGES, "3", None, 3),
        (CYCLES, "3.0", None, 3),
        (CYCLES, "3.5", None, 3.5),
        (GAS, "2", None, "2"),
    ],
)
def test_a_value_is_read_in_the_axiss_own_unit_and_kind(spec: AxisSpec, text: str, unit: Any, value: Any) -> None:
    found = target_of(spec, "x", text, unit)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(("spec", "text", "unit"), [(HEATER, "80", "K"), (STAGES, "3", "mm"), (HEATER, "hot", None)])
def test_another_unit_or_no_number_is_refused(spec: AxisSpec, text: str, unit: str | None) -> None:
    with pytest.raises(NoTarget):
        target_of(spec, "x", text, unit)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class NoWorker:
    def close(self) -> None:
        pass


@pytest.mark.parametrize(("typed", "asked", "moved"), [("n\n", True, False), ("\n", True, False), ("y\n", True, True)])
def test_at_a_terminal_it_asks_first(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: str,
    asked: bool,
    moved: bool,
) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    ledger = Ledger.create(home / "ledger.db")
    place = InstrumentPlace.of("snar-flow", home)
    place.directory.mkdir(parents=True)
    Config(load("snar-flow").profile(), {}).write(place)
    key = GateKey.load_or_create(keys_dir())
    orders = Orders(ledger, key, "ada")
    TakeOver(place, key.public).take("ada", lambda: orders.take_over("snar-flow", timedelta(hours=1), "look"))
    carried: list[Any] = []

    def carry_out(commands: Any, client: Any, plan: Any, order: Any) -> dict[str, Any]:
        carried.append(order)
        return {"from": 60.0, "to": 80.0}

    monkeypatch.setattr(moving, "connected", lambda *_: NoWorker())
    monkeypatch.setattr(moving.MoveCommands, "carry_out", carry_out)
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    code = run(["move", "snar-flow", "temperature", "80"])
    said = capsys.readouterr().err
    assert ("temperature: unknown → 80.0 degC. Move it?" in said) == asked, said
    assert "simulated" in said
    assert (code == 0, bool(carried), bool(ledger.events(kinds=("move_ordered",)))) == (moved, moved, moved)


class Line:
    """The line to a worker."""

    def close(self) -> None:
        pass


class Refusing:
    """Commands of a person that come to nothing."""

    person = "ada"

    def carry_out(self, client: Line, plan: Any, order: Any) -> Any:
        try:
            raise Declined("takeover.ended", "somebody else has it")
        except Declined as error:
            raise Refused("it was not moved as asked") from error


def test_a_motion_that_failed_holds_on_to_no_more_than_what_is_said_of_it(home: Path) -> None:
    """The line to the worker, and all that was heard over it, are gone though the motion is remembered."""
    place = InstrumentPlace.of("snar-flow", home)
    plan = moving.Plan(place, Config(load("snar-flow").profile(), {}), HEATER, "temperature", 60.0, "tenure")
    with Ledger.create(home / "ledger.db") as ledger:
        orders = Orders(ledger, GateKey.load_or_create(keys_dir()), "ada")
        order = orders.move("snar-flow", "temperature", 60.0, "tenure", 0, "look")
    line: Any = Line()
    held = weakref.ref(line)
    commands: Any = Refusing()
    motion = moving.Motions().begin(commands, plan, line, order)
    assert motion.over.wait(30) and motion.state == "failed"
    problem = problem_of(motion.problem or AssertionError())
    assert problem is not None and problem[1].code == "takeover.ended"
    del line
    until(lambda: held() is None)
