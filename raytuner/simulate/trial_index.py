"""The list of trials that schedulers get."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from typing import overload

from ray.tune.experiment import Trial

WAITS = (Trial.PENDING, Trial.PAUSED)


class TrialIndex(Sequence[Trial]):
    """All trials in Ray's order, but those that wait come first.

    Schedulers look through Ray's list at each turn for a trial that can run. With these trials
    first that costs the same however many run or have ended.

    Attributes:
        waiting: The trials that are pending or paused, in Ray's order.
    """

    def __init__(self) -> None:
        self._places: dict[Trial, int] = {}
        self.waiting: list[Trial] = []
        self._next = 0

    def add(self, trial: Trial) -> None:
        """Put a new trial last, or move a trial there."""
        self._places.pop(trial, None)
        self._places[trial] = self._next
        self._next += 1
        if trial in self.waiting:
            self.waiting.remove(trial)
        self.update(trial, trial.status)

    def update(self, trial: Trial, status: str) -> None:
        """Take a trial's new status into account."""
        waits, waited = status in WAITS, trial in self.waiting
        if waits and not waited:
            insort(self.waiting, trial, key=self._places.__getitem__)
        elif waited and not waits:
            self.waiting.remove(trial)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Trial]:
        waiting = list(self.waiting)  # schedulers stop trials while they iterate
        yield from waiting
        first = set(waiting)
        yield from (trial for trial in list(self._places) if trial not in first)

    @overload
    def __getitem__(self, index: int) -> Trial: ...
    @overload
    def __getitem__(self, index: slice) -> list[Trial]: ...
    def __getitem__(self, index: int | slice) -> Trial | list[Trial]:
        return list(self)[index]
