"""Whoever proposes hypotheses: the statistical reasoner (default), a language model, or a recorded transcript."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from athanor.agents.reasoners.language_model import LanguageModelReasoner as LanguageModelReasoner
    from athanor.agents.reasoners.protocol import Proposal as Proposal
    from athanor.agents.reasoners.protocol import Proposals as Proposals
    from athanor.agents.reasoners.protocol import Reasoner as Reasoner
    from athanor.agents.reasoners.protocol import Situation as Situation
    from athanor.agents.reasoners.replay import ReplayReasoner as ReplayReasoner
    from athanor.agents.reasoners.statistical import StatisticalReasoner as StatisticalReasoner

_HOMES = {
    "LanguageModelReasoner": "language_model",
    "Proposal": "protocol",
    "Proposals": "protocol",
    "Reasoner": "protocol",
    "ReplayReasoner": "replay",
    "Situation": "protocol",
    "StatisticalReasoner": "statistical",
}

__all__ = ["make_reasoner", *_HOMES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def make_reasoner(choice: Literal["auto", "statistical", "language-model", "none"] = "auto") -> Reasoner | None:
    """Make the reasoner a campaign asks for.

    "auto" takes the language model where an endpoint is configured (see `ModelSettings`), else the statistical one.

    Raises:
        ModelNotConfigured: "language-model" without a configured endpoint, or one configured in part; the message
            names the missing environment variable.
    """
    from athanor.agents.reasoners.endpoint import ModelSettings
    from athanor.agents.reasoners.language_model import LanguageModelReasoner
    from athanor.agents.reasoners.statistical import StatisticalReasoner

    if choice == "none":
        return None
    if choice == "statistical":
        return StatisticalReasoner()
    settings = ModelSettings.from_environment(required=choice == "language-model")
    return StatisticalReasoner() if settings is None else LanguageModelReasoner(settings)
