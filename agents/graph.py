"""The order of the steps. LangGraph sequences them; ledger, statistics, policy, planner and worker know nothing of it.

State holds ids and counters only. Every node looks the ledger up first and does nothing when its work is done, so a
checkpoint is a convenience: without one, the same campaign goes on from the ledger.
"""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

# Tracing would send prompts to a third party; strict msgpack refuses to build arbitrary types from a checkpoint file.
for _name in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING_V2"):
    os.environ[_name] = "false"
os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer  # noqa: E402
from langgraph.checkpoint.sqlite import SqliteSaver  # noqa: E402
from langgraph.graph import END, START, StateGraph  # noqa: E402

if TYPE_CHECKING:
    from athanor.agents.nodes import Nodes

Route = Literal["go", "again", "stop"]

STEPS = (
    "recall",
    "hypothesise",
    "register",
    "plan",
    "validate",
    "approve",
    "commit_intent",
    "dispatch",
    "await_run",
    "ingest",
    "test",
    "remember",
    "decide",
)
"""The edges of the graph, in order; `decide` leads back to `recall` or out."""


class State(TypedDict, total=False):
    """What a checkpoint holds: ids and one word saying where to go next."""

    campaign: str
    experiment: str
    route: Route


def _onward(state: State) -> Route:
    return state.get("route", "go")


def build(nodes: Nodes, saver: SqliteSaver) -> Any:
    """Compile the loop: `recall → … → decide`, ending where a node routes to `stop`."""
    graph = StateGraph(State)
    for name in STEPS:
        graph.add_node(name, getattr(nodes, name))
    graph.add_edge(START, STEPS[0])
    for name, following in itertools.pairwise(STEPS):
        # `again`: this experiment will not run (rejected, expired, edited); decide, then plan anew.
        graph.add_conditional_edges(name, _onward, {"go": following, "again": "decide", "stop": END})
    graph.add_conditional_edges("decide", _onward, {"go": "recall", "again": "recall", "stop": END})
    return graph.compile(checkpointer=saver)


@contextmanager
def checkpoints(path: Path) -> Iterator[SqliteSaver]:
    """A saver on its own SQLite file, which may be deleted between runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        saver = SqliteSaver(connection, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
        saver.setup()
        yield saver
    finally:
        connection.close()


def recursion_limit(experiments: int) -> int:
    """Super-steps enough for a budget: every step once per experiment, and as much again for those decided against."""
    return 2 * len(STEPS) * experiments + 200
