"""The part of a record that lies in a smaller search space."""

from __future__ import annotations

from dataclasses import replace

from raytuner.errors import ConfigError
from raytuner.history import History
from raytuner.space import Space


class SubspaceRecord:
    """Copies the trials of a record that lie in a smaller search space, and keeps the copy current.

    Args:
        space: The search space, which lies within the record's.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._source: History | None = None
        self._copy: History | None = None
        self._version = 0  # of the source that the copy has

    def of(self, history: History) -> History:
        """Return the trials of a record that lie in the space, read-only."""
        if self._copy is None or self._source is not history:
            self._source, self._version = history, 0
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
