"""Find the trials that are new since the last turn of Ray's loop, without visiting them all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any


class TrialTracker:
    """The trials that a callback has seen so far. A copy has seen none.

    Example:
        >>> from types import SimpleNamespace
        >>> first, second = SimpleNamespace(trial_id="a"), SimpleNamespace(trial_id="b")
        >>> tracker = TrialTracker()
        >>> tracker.new([first]) == [first], tracker.new([first])
        (True, [])
        >>> tracker.new([second, first]) == [second]
        True
        >>> tracker.among(["b", "c"]) == [second]
        True
    """

    def __init__(self) -> None:
        self._by_id: dict[str, Any] = {}

    def __reduce__(self) -> tuple[type[TrialTracker], tuple[()]]:
        return TrialTracker, ()  # a restored experiment has other trial objects

    def new(self, trials: Sequence[Any]) -> list[Any]:
        """Return the trials of Ray's list that were not in it before, and remember them."""
        # They are at the end, and so are old trials that Ray retries.
        unknown = (trial for trial in reversed(trials) if trial.trial_id not in self._by_id)
        fresh = list(islice(unknown, len(trials) - len(self._by_id)))[::-1]
        self._by_id.update((trial.trial_id, trial) for trial in fresh)
        return fresh

    def among(self, trial_ids: Iterable[str]) -> list[Any]:
        """Return the trials with these ids that have been seen."""
        return [self._by_id[one] for one in trial_ids if one in self._by_id]
