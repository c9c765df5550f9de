"""Slots: who holds one or waits for one, and what Ray may ask for ahead.

Ray requests a worker for each pending trial, and gives workers in the order of the requests: a
trial that is promoted waits behind every new one that was requested before it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, Repeater


class Slots:
    """The trials that hold a slot or wait for one, and the most that ever ran together."""

    def __init__(self) -> None:
        self._trials: dict[str, Trial] = {}
        self._resumed: set[str] = set()  # of these, those that Ray has yet to take up
        self._paused: dict[str, Trial] = {}  # gave up their slot and were not resumed since
        self._most = 0
        self._freed = False
        self._limit: int | None = None

    def enter(self, trial: Trial) -> None:
        """A trial is about to wait for a slot. When it has none any more, its status says so."""
        self._trials.pop(trial.trial_id, None)
        if trial.status == Trial.PAUSED:  # to be resumed: it waits before all others
            self._resumed.add(trial.trial_id)
            self._trials = {trial.trial_id: trial, **self._trials}
        else:
            self._trials[trial.trial_id] = trial

    def first_pending(self) -> Trial | None:
        """Who has waited longest. Ray's own way to it looks at all trials there have ever been."""
        self._counts()
        waiting = (one for one in self._trials.values() if one.status == Trial.PENDING)
        return next(waiting, None)

    def paused(self) -> list[Trial]:
        """Return the trials that gave up their slot by a pause, oldest pause first."""
        self._counts()
        self._paused = {i: one for i, one in self._paused.items() if one.status == Trial.PAUSED}
        return [one for i, one in self._paused.items() if i not in self._trials]

    def taken(self) -> int:
        """How many trials hold a slot or wait for one."""
        return sum(self._counts())

    def ask_for_free_ones(self, tune_controller: Any, promoted: int) -> None:
        """Let Ray request no more workers ahead than there are slots known to be free, or one.

        One request is always needed: by it alone Ray learns of a free slot. Ray's own limit for
        random search is at least 200, behind which no promotion would ever be seen. Where the user
        has set a limit (`max_concurrent_trials`, `TUNE_MAX_PENDING_TRIALS_PG`), it stays.

        Args:
            tune_controller: Ray's controller.
            promoted: How many trials will be resumed next: those slots are theirs.
        """
        search_alg = tune_controller.search_alg
        if max_concurrent_of(search_alg) is not None or "TUNE_MAX_PENDING_TRIALS_PG" in os.environ:
            return
        running, _ = self._counts()
        self._most = max(self._most, running)
        free = self._most - running - promoted
        if not self._freed and isinstance(search_alg, BasicVariantGenerator):
            free = max(free, self._most)  # nobody knows the slots yet: twice as many, and again
        if (limit := max(1, free)) != self._limit:
            self._limit = limit
            # Public, but the wrapper that hooks get warns of it: the controller itself does not.
            bare = getattr(tune_controller, "_tune_controller", tune_controller)
            bare.update_max_pending_trials(limit)

    def _counts(self) -> tuple[int, int]:
        """How many trials run, and how many are pending."""
        left = {i: trial for i, trial in self._trials.items() if not self._is_in(trial)}
        for trial_id, trial in left.items():
            del self._trials[trial_id]
            if trial.status == Trial.PAUSED:
                self._paused[trial_id] = trial
        self._freed = self._freed or bool(left)
        running = sum(trial.status == Trial.RUNNING for trial in self._trials.values())
        return running, len(self._trials) - running

    def _is_in(self, trial: Trial) -> bool:
        if trial.status == Trial.PAUSED:
            return trial.trial_id in self._resumed
        self._resumed.discard(trial.trial_id)
        return trial.status in (Trial.RUNNING, Trial.PENDING)


def max_concurrent_of(search_alg: Any) -> int | None:
    """The limit on trials at a time that the user has set, if any."""
    for layer in _layers(search_alg):
        if isinstance(layer, ConcurrencyLimiter | BasicVariantGenerator):
            limit: int = layer.max_concurrent
            return limit or None
    return None


def repeats(search_alg: Any) -> bool:
    """Whether Ray's `Repeater` runs each configuration several times."""
    return any(isinstance(layer, Repeater) for layer in _layers(search_alg))


def count_out(search_alg: Any, trial_id: str) -> None:
    """Let Ray's limiters not count a paused trial: they would wait for it, for ever."""
    for live in _live_trials(search_alg):
        live.discard(trial_id)


def count_in(search_alg: Any, trial_id: str) -> None:
    """Let Ray's limiters count a trial again: it goes on, or its end is to be heard of."""
    for live in _live_trials(search_alg):
        live.add(trial_id)


def _live_trials(search_alg: Any) -> Iterator[set[str]]:
    for layer in _layers(search_alg):
        if isinstance(layer, ConcurrencyLimiter):
            yield layer.live_trials
        elif isinstance(layer, BasicVariantGenerator):
            yield layer._live_trials  # there is no public way to take a trial out


def _layers(search_alg: Any) -> Iterator[Any]:
    while search_alg is not None:
        yield search_alg
        search_alg = getattr(search_alg, "searcher", None)
