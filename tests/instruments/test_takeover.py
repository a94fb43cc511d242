"""The tenure of an instrument: one holder, an end, and nobody without the gate's key."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from athanor.governance.orders import Orders
from athanor.instruments.takeover import HELD, UNKNOWN, TakenOver, TakeOver
from athanor.memory.ledger import Ledger
from athanor.memory.orders import Order, check
from athanor.memory.places import InstrumentPlace, keys_dir
from athanor.memory.signing import GateKey

HOUR = timedelta(hours=1)


class Desk:
    """A ledger, a key, and one instrument."""

    def __init__(self, home: Path) -> None:
        self.ledger = Ledger.create(home / "ledger.db")
        self.key = GateKey.load_or_create(keys_dir())
        self.place = InstrumentPlace.of("reactor", home)
        self.it = TakeOver(self.place, self.key.public)

    def orders(self, person: str) -> Orders:
        return Orders(self.ledger, self.key, person)

    def take(self, person: str, ttl: timedelta = HOUR, reason: str = "new tubing") -> str:
        return self.it.take(person, lambda: self.orders(person).take_over("reactor", ttl, reason)).nonce

    def hand_back(self, person: str) -> None:
        self.it.hand_back(person, lambda nonce: self.orders(person).hand_back("reactor", nonce))

    def release(self, person: str, seen: str | None, reason: str = "she has gone home") -> None:
        self.it.release(
            lambda tenure: self.orders(person).release(
                "reactor", tenure and tenure.nonce, tenure and tenure.holder, reason
            ),
            seen,
        )


@pytest.fixture
def desk(home: Path) -> Desk:
    return Desk(home)


def test_nobody_has_it_at_first(desk: Desk) -> None:
    assert desk.it.read().refusal is None and desk.it.read().tenure is None
    with pytest.raises(TakenOver, match="nobody"):
        desk.hand_back("ada")


def test_one_holder_who_alone_hands_it_back(desk: Desk) -> None:
    desk.take("ada")
    standing = TakeOver(desk.place, desk.key.public).read()
    assert standing.tenure is not None and standing.tenure.holder == "ada"
    assert standing.refusal is not None and standing.refusal[0] == HELD
    assert "ada" in standing.refusal[1] and "new tubing" in standing.refusal[1]
    with pytest.raises(TakenOver, match="ada"):
        desk.take("grace")
    with pytest.raises(TakenOver, match="ada"):
        desk.hand_back("grace")
    desk.hand_back("ada")
    assert desk.it.read().refusal is None
    desk.take("grace")


def test_its_holder_renews_it(desk: Desk) -> None:
    first = desk.take("ada", timedelta(minutes=1))
    second = desk.take("ada", HOUR)
    tenure = desk.it.read().tenure
    assert tenure is not None and tenure.nonce == second != first
    assert tenure.until > datetime.now(UTC) + timedelta(minutes=50)


def test_it_ends_by_itself(desk: Desk) -> None:
    desk.take("ada", timedelta(minutes=1))
    assert desk.it.read(datetime.now(UTC) + timedelta(minutes=2)).refusal is None
    desk.take("ada", timedelta(microseconds=200_000))
    while desk.it.read().tenure is not None:
        pass
    desk.take("grace")


def test_emergency_release_names_who_and_why(desk: Desk) -> None:
    nonce = desk.take("ada")
    desk.release("grace", nonce)
    assert desk.it.read().refusal is None
    [event] = desk.ledger.events(kinds=("release_ordered",))
    assert (event.body["by"], event.body["holder"], event.body["tenure"]) == ("grace", "ada", nonce)
    assert event.body["reason"] == "she has gone home"
    desk.release("grace", nonce)
    assert len(desk.ledger.events(kinds=("release_ordered",))) == 1, "there was nothing to release any more"


def test_only_the_tenure_that_was_looked_at_is_released(desk: Desk) -> None:
    first = desk.take("ada")
    desk.hand_back("ada")
    second = desk.take("eve", reason="a leak")
    for seen in (first, None):
        with pytest.raises(TakenOver, match=r"since you looked: eve has it in hand until .* \(a leak\)"):
            desk.release("grace", seen)
    third = desk.take("eve")
    with pytest.raises(TakenOver, match="eve has it"):
        desk.release("grace", second)  # renewed: she is there
    assert desk.it.read().tenure is not None and not desk.ledger.events(kinds=("release_ordered",))
    desk.release("grace", third)
    assert desk.it.read().refusal is None


def test_what_was_read_and_cannot_be_any_more_is_not_released_unseen(desk: Desk) -> None:
    nonce = desk.take("ada")
    desk.it.path.write_text("{")
    with pytest.raises(TakenOver, match=r"since you looked: .* is corrupt"):
        desk.release("grace", nonce)
    desk.release("grace", None)
    assert desk.it.read().refusal is None


@pytest.mark.parametrize("can_tell", [True, False])
def test_what_is_not_the_gates_is_released_by_who_has_looked(desk: Desk, tmp_path: Path, can_tell: bool) -> None:
    other = GateKey.load_or_create(tmp_path / "elsewhere")
    desk.place.directory.mkdir(parents=True)
    desk.it.path.write_text(json.dumps(Orders(desk.ledger, other, "eve").take_over("reactor", HOUR, "x").as_dict()))
    assert desk.it.read().trouble is not None
    believed = TakeOver(desk.place).read().tenure  # as who has not the key sees it
    assert believed is not None
    desk.release("grace", None if can_tell else believed.nonce)
    assert desk.it.read().refusal is None


def test_everything_is_in_the_journal_before_it_counts(desk: Desk) -> None:
    desk.take("ada")
    desk.hand_back("ada")
    events = desk.ledger.events(kinds=("take_over_ordered", "hand_back_ordered"))
    assert [event.kind for event in events] == ["take_over_ordered", "hand_back_ordered"]
    terms = dict(events[0].body)
    signature = terms.pop("signature")
    from athanor.memory.canonical import canonical

    assert check(Order(canonical(terms), signature), desk.key.public)["by"] == "ada"


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda path: path.unlink(), "was removed"),
        (lambda path: path.write_text("{"), "corrupt"),
        (lambda path: path.write_text("[]"), "corrupt"),
        (lambda path: path.write_text(json.dumps({"body": "{}", "signature": "aa"})), "not the gate's"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read"),
    ],
)
def test_what_cannot_be_read_counts_as_taken_over(desk: Desk, spoil: Callable[[Path], object], what: str) -> None:
    desk.take("ada")
    desk.hand_back("ada")
    spoil(desk.it.path)
    found = desk.it.read().refusal
    assert found is not None and found[0] == UNKNOWN and what in found[1] and "--emergency-release" in found[1]
    with pytest.raises(TakenOver):
        desk.take("ada")
    if desk.it.path.is_dir():
        desk.it.path.rmdir()
    desk.release("grace", None)
    assert desk.it.read().refusal is None


def test_without_the_gates_key_nobody_takes_or_frees_it(desk: Desk, tmp_path: Path) -> None:
    desk.take("ada")
    other = GateKey.load_or_create(tmp_path / "elsewhere")
    forged = Orders(desk.ledger, other, "ada").hand_back("reactor", "n" * 32)
    desk.it.path.write_text(json.dumps(forged.as_dict()))
    found = desk.it.read().refusal
    assert found is not None and found[0] == UNKNOWN, "a forged hand-back hands nothing back"
    assert TakeOver(desk.place).read().refusal is None, "only who has the key can tell: the worker has"


def test_an_order_for_another_instrument_is_none(desk: Desk) -> None:
    order = desk.orders("ada").take_over("another", HOUR, "x")
    desk.place.directory.mkdir(parents=True)
    desk.it.path.write_text(json.dumps(order.as_dict()))
    found = desk.it.read().refusal
    assert found is not None and "is about another" in found[1]


def _grab(home: str, person: str) -> bool:
    ledger = Ledger.open(Path(home) / "ledger.db")
    key = GateKey.load(keys_dir())
    it = TakeOver(InstrumentPlace.of("reactor", Path(home)), key.public)
    try:
        it.take(person, lambda: Orders(ledger, key, person).take_over("reactor", HOUR, "first"))
    except TakenOver:
        return False
    finally:
        ledger.close()
    return True


def test_of_many_at_once_one_has_it(desk: Desk, home: Path) -> None:
    people = [f"person {number}" for number in range(6)]
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        try:
            won = pool.starmap(_grab, [(str(home), person) for person in people])
        finally:
            pool.terminate()
            pool.join()
    assert sum(won) == 1
    tenure = desk.it.read().tenure
    assert tenure is not None and tenure.holder == people[won.index(True)]
    assert len(desk.ledger.events(kinds=("take_over_ordered",))) == 1, "nobody else's was signed"


def _take_and_die(home: str, while_taking: bool) -> None:
    ledger = Ledger.open(Path(home) / "ledger.db")
    key = GateKey.load(keys_dir())
    it = TakeOver(InstrumentPlace.of("reactor", Path(home)), key.public)

    def order() -> Order:
        if while_taking:
            os.kill(os.getpid(), signal.SIGKILL)
        return Orders(ledger, key, "ada").take_over("reactor", HOUR, "first")

    it.take("ada", order)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("while_taking", [False, True])
def test_it_outlives_whoever_took_it_and_no_lock_stays_behind(desk: Desk, home: Path, while_taking: bool) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_take_and_die, args=(str(home), while_taking))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    process.close()
    if while_taking:
        desk.take("grace")
    else:
        with pytest.raises(TakenOver, match="ada"):
            desk.take("grace")
