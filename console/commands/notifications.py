"""What somebody was told, and that they have taken note."""

from __future__ import annotations

from typing import TYPE_CHECKING

from athanor.memory.errors import NotFound

if TYPE_CHECKING:
    from athanor.console.notify.board import Board, Notification


class NotificationCommands:
    """Commands of one person.

    Args:
        board: what was told.
        person: whose notifications they are about.
    """

    def __init__(self, board: Board, person: str) -> None:
        self._board = board
        self._person = person

    def mine(self, *, unread: bool = False) -> list[Notification]:
        """What this person was told, the newest first."""
        return [one for one in self._board.of(self._person) if not unread or self._person not in one.read_by]

    def read(self, identifier: str) -> Notification:
        """Take note of one, so that nobody else is told of it because of silence. It decides nothing.

        Raises:
            NotFound: this person was told nothing of that id.
        """
        self._board.read([self._one(identifier)], self._person)
        return self._one(identifier)

    def read_all(self) -> int:
        """Take note of all there are; how many there were."""
        unread = self.mine(unread=True)
        self._board.read(unread, self._person)
        return len(unread)

    def _one(self, identifier: str) -> Notification:
        found = next((one for one in self.mine() if one.id == identifier), None)
        if found is None:
            raise NotFound("notification", identifier)
        return found
