"""Arrays over a long list, of which few parts change at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Part = TypeVar("Part")

SIZE = 64
"""Items in a piece: few to go over again, and yet few pieces."""


class Pieces(Generic[Part]):
    """Remembers what was made of each stretch of ``SIZE`` items, until one of them changes.

    What is made of 100,000 trials for each of 100,000 proposals would otherwise take days.

    Example:
        >>> pieces, items = Pieces(lambda start, stop: sum(items[start:stop])), [1] * 1000
        >>> sum(pieces.all(len(items)))
        1000
        >>> items[999] = 5
        >>> pieces.touch(999)
        >>> sum(pieces.all(len(items)))
        1004
    """

    def __init__(self, make: Callable[[int, int], Part]) -> None:
        self._make = make
        self._parts: list[Part | None] = []

    def touch(self, item: int) -> None:
        """An item, or the first beyond the last, is not as it was."""
        piece = item // SIZE
        if piece < len(self._parts):
            self._parts[piece] = None

    def all(self, n: int) -> Sequence[Part]:
        """What is made of each stretch of ``n`` items."""
        made = []
        self._parts += [None] * (-(-n // SIZE) - len(self._parts))
        for piece, part in enumerate(self._parts):
            start = piece * SIZE
            if part is None:
                part = self._parts[piece] = self._make(start, min(start + SIZE, n))
            made.append(part)
        return made
