"""A search within less than the record holds: a study whose search space was narrowed."""

from __future__ import annotations

from dataclasses import replace

from raytuner.errors import ConfigError
from raytuner.history import History
from raytuner.space import Space


class Narrowed:
    """What a record knows of a narrower search space, kept up to date in memory.

    Trials whose configurations lie outside are left out: in that space they have no place.

    Args:
        space: The search space. All that lies in it lies in the record's space too.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._followed: History | None = None
        self._copy: History | None = None
        self._version = 0  # of the record, up to which it was followed

    def of(self, history: History) -> History:
        """The part of the record that lies within the space; only to be read."""
        if self._copy is None or self._followed is not history:
            self._followed, self._version = history, 0
            self._copy = History(self.space, goal=history.goal)
        for change in history.changes(self._version):
            try:
                config = history.space.load(change.config)
                self.space.validate(config)  # its constants too
            except ConfigError:
                continue
            self._copy.apply(replace(change, config=self.space.dump(config)))
        self._version = history.version
        if (self._copy.time_attr, self._copy.max_t) != (history.time_attr, history.max_t):
            self._copy.time_attr, self._copy.max_t = history.time_attr, history.max_t
        self._copy.left = history.left
        return self._copy
