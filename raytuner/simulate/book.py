"""Which trials are in which status, in Ray's order."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import overload

from ray.tune.experiment import Trial

_ORDER = (Trial.PENDING, Trial.PAUSED, Trial.RUNNING, Trial.TERMINATED, Trial.ERROR)
_LIVE = (Trial.PENDING, Trial.PAUSED, Trial.RUNNING)


class TrialBook:
    """All trials by status, each status in Ray's order.

    Ray keeps one list, and schedulers look through all of it at each turn for a trial that waits.
    Here the ones that wait come first, so that looking is cheap however many have ended.
    """

    def __init__(self) -> None:
        self._places: dict[str, list[int]] = {status: [] for status in _ORDER}
        self._at: dict[int, Trial] = {}
        self._place: dict[Trial, int] = {}
        self._filed: dict[Trial, str] = {}
        self._next = 0
        self.changes = 0

    def add(self, trial: Trial) -> None:
        """Enter a new trial at the end."""
        self._enter(trial)

    def refile(self, trial: Trial) -> None:
        """Enter a trial's present status."""
        was, now = self._filed[trial], trial.status
        if was == now:
            return
        self._take_out(was, self._place[trial])
        insort(self._places[now], self._place[trial])
        self._filed[trial] = now
        self.changes += 1

    def move_to_end(self, trial: Trial) -> None:
        """Put a trial last, as Ray does with one that it retries."""
        place = self._place[trial]
        self._take_out(self._filed[trial], place)
        del self._at[place]
        self._enter(trial)

    def count(self, status: str) -> int:
        """How many trials have a status."""
        return len(self._places[status])

    def live(self) -> int:
        """How many have not ended."""
        return sum(len(self._places[status]) for status in _LIVE)

    def unfinished(self) -> list[Trial]:
        """Those that have not ended, in Ray's order."""
        places = sorted(place for status in _LIVE for place in self._places[status])
        return [self._at[place] for place in places]

    def __len__(self) -> int:
        return len(self._at)

    def __iter__(self) -> Iterator[Trial]:
        at = self._at
        for status in _ORDER:
            for place in self._places[status]:
                yield at[place]

    def _enter(self, trial: Trial) -> None:
        self._at[self._next] = trial
        self._place[trial] = self._next
        self._filed[trial] = trial.status
        insort(self._places[trial.status], self._next)
        self._next += 1
        self.changes += 1

    def _take_out(self, status: str, place: int) -> None:
        places = self._places[status]
        del places[bisect_left(places, place)]


class TrialsView(Sequence[Trial]):
    """What ``get_trials()`` gives: all trials, those that wait first."""

    def __init__(self, book: TrialBook) -> None:
        self._book = book

    def __len__(self) -> int:
        return len(self._book)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._book)

    def __contains__(self, trial: object) -> bool:
        return any(trial is other for other in self._book)

    @overload
    def __getitem__(self, index: int) -> Trial: ...
    @overload
    def __getitem__(self, index: slice) -> list[Trial]: ...
    def __getitem__(self, index: int | slice) -> Trial | list[Trial]:
        if isinstance(index, slice):
            return list(self._book)[index]
        place = index + len(self) if index < 0 else index
        for trial in islice(self._book, max(place, 0), None):
            if place >= 0:
                return trial
        raise IndexError(f"trial {index} of {len(self)}")
