"""What a command of a person raises when it cannot do what was asked."""

from __future__ import annotations


class Refused(Exception):
    """A command cannot do what was asked; the message says why, `remedy` what to do, `code` how a shell ends."""

    def __init__(self, message: str, remedy: str | None = None, code: int = 1) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.code = code
