"""Trials that stop reporting: they are noticed, told of, and ended by the user's rule."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Literal

from ray.tune import Callback

from raytuner.controller.retries import ResilientTrial, kill
from raytuner.errors import SettingError

logger = logging.getLogger(__name__)

Rule = Literal["warn", "retry", "fail"]
RULES: tuple[Rule, ...] = ("warn", "retry", "fail")

_EVERY_S = 1.0
# Ray's loop comes by this often, unless the driver is stopped (Ctrl-Z) or waits for something
# itself. Reports then wait for it: the trials are not silent.
_LOOP_S = 2.0
# Without a bound of the user's: what nobody would wait for, of trials that had reported faster.
_USUAL = 10.0
_LEAST_S = 600.0


class Silence(Callback):
    """Watches how long ago each running trial has reported.

    A trial is silent if it has not reported for ``max_s``, from the moment at which its process was
    there. Time in which the driver itself stood still does not count. Ray itself waits for it for
    ever, and its slot, and all that it holds, with it.

    Args:
        max_s: Seconds. None: ten times as long as any trial has taken for a report so far, and at
            least ten minutes; a silent trial is then only told of.
        rule: What becomes of a silent trial: "warn" only says so; "fail" kills its process, and the
            trial has failed; "retry" kills it, and lets it go on from its last checkpoint (from its
            start, if it has none), once: the second time it has failed.
        clock: Tells seconds.

    Raises:
        SettingError: ``max_s`` is not above 0, or there is no such rule.
    """

    def __init__(
        self,
        max_s: float | None = None,
        rule: Rule = "retry",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        _check(max_s, rule)
        self._max_s = max_s
        self._rule: Rule = "warn" if max_s is None else rule
        self._clock = clock
        self._heard: dict[str, tuple[Any, float]] = {}  # the trials that run, and when of each
        self._told: set[str] = set()
        self._longest = 0.0
        self._looked_at = 0.0
        self._elapsed = 0.0
        self._last = clock()

    def __getstate__(self) -> dict[str, Any]:
        # Restored, it has heard nothing yet; trials cannot be pickled with their processes.
        fresh = {"_heard": {}, "_told": set(), "_looked_at": 0.0, "_elapsed": 0.0}
        return {**self.__dict__, **fresh}

    def _now(self) -> float:
        """Return for how many seconds the driver has watched."""
        now = self._clock()
        self._elapsed += min(now - self._last, _LOOP_S)
        self._last = now
        return self._elapsed

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its process is there."""
        self._heard[trial.trial_id] = (trial, self._now())

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """It has reported."""
        now = self._now()
        if trial.trial_id in self._heard:
            self._longest = max(self._longest, now - self._heard[trial.trial_id][1])
        self._heard[trial.trial_id] = (trial, now)
        if trial.trial_id in self._told:
            self._told.discard(trial.trial_id)
            logger.info("Trial %s reports again.", trial.trial_id)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look who is silent."""
        now = self._now()
        if now - self._looked_at < _EVERY_S:
            return
        self._looked_at = now
        most = max(_LEAST_S, _USUAL * self._longest) if self._max_s is None else self._max_s
        for trial_id, (trial, heard_at) in list(self._heard.items()):
            if trial.status != trial.RUNNING:
                del self._heard[trial_id]
            elif now - heard_at > most and trial_id not in self._told:
                self._told.add(trial_id)
                self._end(trial, f"it has not reported for {now - heard_at:.0f} s")

    def _end(self, trial: Any, reason: str) -> None:
        is_first = not isinstance(trial, ResilientTrial) or not trial.retries.get("silences")
        again = self._rule == "retry" and is_first
        what = {
            "warn": "; its slot is not free. A bound, max_silence_s, would end it",
            "fail": "; it is killed, and has failed",
            "retry": "; it is killed, "
            + ("and goes on from its last checkpoint" if again else "for the second time"),
        }
        logger.warning("Trial %s: %s%s.", trial.trial_id, reason, what[self._rule])
        if self._rule == "warn":
            return
        self._told.discard(trial.trial_id)
        kill(trial, reason, retry=again)


def _check(max_s: Any, rule: object) -> None:
    is_number = isinstance(max_s, int | float) and not isinstance(max_s, bool)
    if max_s is not None and not (is_number and max_s > 0):
        raise SettingError(f"max_silence_s is {max_s!r}; it must be a number of seconds above 0")
    if rule not in RULES:
        raise SettingError(f"on_silence is {rule!r}; it must be one of {', '.join(RULES)}")
