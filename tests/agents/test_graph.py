"""The order of the steps, on nodes that only say that they were called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.errors import GraphRecursionError
from langgraph.types import Command, interrupt

from athanor.agents import graph
from athanor.agents.nodes import Nodes

Step = Callable[[dict[str, Any]], dict[str, Any]]


class Recording:
    """Nodes that note their name and go on, except where a test says otherwise."""

    def __init__(self, **special: Step) -> None:
        self.called: list[str] = []
        self.special = {"decide": lambda state: {"route": "stop"}, **special}

    def __getattr__(self, name: str) -> Step:
        def step(state: dict[str, Any]) -> dict[str, Any]:
            self.called.append(name)
            special = self.special.get(name)
            return {"route": "go"} if special is None else special(state)

        return step


def run(nodes: Recording, file: Path, start: Any = None, limit: int = 100) -> dict[str, Any]:
    with graph.checkpoints(file) as saver:
        app = graph.build(nodes, saver)  # type: ignore[arg-type]
        config = {"configurable": {"thread_id": "t"}, "recursion_limit": limit}
        result: dict[str, Any] = app.invoke(start or {"campaign": "c", "route": "go"}, config, durability="sync")
        return result


def test_every_step_is_a_node_and_runs_in_order(tmp_path: Path) -> None:
    nodes = Recording()
    run(nodes, tmp_path / "c.db")
    assert tuple(nodes.called) == graph.STEPS
    assert all(callable(getattr(Nodes, name)) for name in graph.STEPS)


@pytest.mark.parametrize("name", graph.STEPS[:-1])
def test_again_goes_straight_to_decide_and_stop_ends(tmp_path: Path, name: str) -> None:
    before = list(graph.STEPS[: graph.STEPS.index(name) + 1])
    again = Recording(**{name: lambda state: {"route": "again"}})
    run(again, tmp_path / "again.db")
    assert again.called == [*before, "decide"]
    stop = Recording(**{name: lambda state: {"route": "stop"}})
    run(stop, tmp_path / "stop.db")
    assert stop.called == before


def test_decide_leads_back_to_recall_until_it_stops(tmp_path: Path) -> None:
    rounds = iter(["go", "again", "stop"])
    nodes = Recording(decide=lambda state: {"route": next(rounds)})
    run(nodes, tmp_path / "c.db")
    assert tuple(nodes.called) == graph.STEPS * 3


def test_an_interrupt_ends_the_invocation_and_repeats_its_own_node_only(tmp_path: Path) -> None:
    def approve(state: dict[str, Any]) -> dict[str, Any]:
        interrupt({"experiment": "c.1"})
        return {"route": "go"}

    nodes = Recording(approve=approve)
    first = run(nodes, tmp_path / "c.db")
    assert [i.value for i in first["__interrupt__"]] == [{"experiment": "c.1"}]
    assert nodes.called[-1] == "approve"
    run(nodes, tmp_path / "c.db", Command(resume=True))  # also by another process: only the file is shared
    assert nodes.called.count("approve") == 2
    assert nodes.called.count("plan") == 1
    assert nodes.called[-1] == "decide"


@pytest.mark.parametrize("experiments", [1, 30])
def test_the_recursion_limit_lasts_for_a_budget_and_as_many_rejections(tmp_path: Path, experiments: int) -> None:
    rounds = iter(range(1, 10**6))

    def decide(state: dict[str, Any]) -> dict[str, Any]:
        return {"route": "stop" if next(rounds) == 2 * experiments else "go"}

    nodes = Recording(decide=decide)
    run(nodes, tmp_path / "c.db", limit=graph.recursion_limit(experiments))
    assert nodes.called.count("dispatch") == 2 * experiments


def test_a_loop_without_end_is_cut_off(tmp_path: Path) -> None:
    with pytest.raises(GraphRecursionError):
        run(Recording(decide=lambda state: {"route": "go"}), tmp_path / "c.db", limit=graph.recursion_limit(1))


def test_the_checkpoint_holds_ids_and_a_word_only() -> None:
    assert set(graph.State.__annotations__) == {"campaign", "experiment", "route"}
