from __future__ import annotations

from tests.sandbox.serving.behaviours import Behaviours, connect, engine, serve

__all__ = ["connect", "engine", "serve"]


class TestScpi(Behaviours):
    protocol = "scpi"
