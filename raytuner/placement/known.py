"""Which of Ray's trials are new: looking at all of them at each turn takes longer with each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


class KnownTrials:
    """The trials that a callback has been shown so far. Not pickled with it.

    Example:
        >>> from types import SimpleNamespace
        >>> first, second = SimpleNamespace(trial_id="a"), SimpleNamespace(trial_id="b")
        >>> known = KnownTrials()
        >>> known.new([first]) == [first], known.new([first])
        (True, [])
        >>> known.new([second, first]) == [second]
        True
        >>> known.among(["b", "c"]) == [second]
        True
    """

    def __init__(self) -> None:
        self._by_id: dict[str, Any] = {}

    def __reduce__(self) -> tuple[type[KnownTrials], tuple[()]]:
        return KnownTrials, ()  # the trials of a restored experiment are others

    def new(self, trials: Sequence[Any]) -> list[Any]:
        """Those of Ray's list that were not in it before. They are known from now on."""
        before = len(self._by_id)
        if len(trials) == before:
            return []
        fresh = self._unknown(trials[before:])
        if before + len(fresh) != len(trials):  # Ray puts a trial that it tries again last
            fresh = self._unknown(trials)
        self._by_id.update((trial.trial_id, trial) for trial in fresh)
        return fresh

    def among(self, trial_ids: Iterable[str]) -> list[Any]:
        """Those with these ids."""
        return [self._by_id[one] for one in trial_ids if one in self._by_id]

    def _unknown(self, trials: Sequence[Any]) -> list[Any]:
        return [trial for trial in trials if trial.trial_id not in self._by_id]
