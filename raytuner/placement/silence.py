"""Notice trials that stop reporting, and end them if the user says so."""

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

_CHECK_EVERY_S = 1.0
# Ray's loop turns at least this often unless the driver itself was stopped (Ctrl-Z) or waits for
# something. Reports wait then, so that time does not count.
_MAX_TURN_S = 2.0
# Without a limit of the user's, a trial is silent after this multiple of the longest wait so far.
_USUAL = 10.0
_LEAST_S = 600.0


class Silence(Callback):
    """Watches how long ago each running trial reported.

    Ray waits for ever for a trial that hangs, and its slot stays occupied. A trial is silent after
    `max_s` without a report, counted from its last report or the start of its process. Time in
    which the driver was stopped does not count.

    Args:
        max_s: Seconds. None: ten times as long as any report has taken so far, and at least ten
            minutes; a silent trial then only causes a warning.
        rule: "warn" logs a warning; "fail" kills the trial's process, and the trial has failed;
            "retry" kills it and lets the trial continue from its last checkpoint (from the start
            if it has none), once: the second time, the trial has failed.
        clock: Returns seconds.

    Raises:
        SettingError: `max_s` is not above 0, or the rule is unknown.
    """

    def __init__(
        self,
        max_s: float | None = None,
        rule: Rule = "retry",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        is_number = isinstance(max_s, int | float) and not isinstance(max_s, bool)
        if max_s is not None and not (is_number and max_s > 0):
            raise SettingError(
                f"max_silence_s is {max_s!r}; it must be a number of seconds above 0"
            )
        if rule not in RULES:
            raise SettingError(f"on_silence is {rule!r}; it must be one of {', '.join(RULES)}")
        self._max_s = max_s
        self._rule: Rule = "warn" if max_s is None else rule
        self._clock = clock
        self._heard: dict[str, tuple[Any, float]] = {}  # running trials, and when each reported
        self._silent: set[str] = set()  # trials that a warning has named
        self._longest_s = self._checked_at = self._elapsed_s = 0.0
        self._last_turn = clock()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_heard": {}}  # trials cannot be pickled with their processes

    def _now(self) -> float:
        """Return for how many seconds the driver has been running."""
        now = self._clock()
        self._elapsed_s += min(now - self._last_turn, _MAX_TURN_S)
        self._last_turn = now
        return self._elapsed_s

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Watch a trial whose process has started."""
        self._heard[trial.trial_id] = trial, self._now()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Note that a trial has reported."""
        now = self._now()
        if trial.trial_id in self._heard:
            self._longest_s = max(self._longest_s, now - self._heard[trial.trial_id][1])
        self._heard[trial.trial_id] = trial, now
        if trial.trial_id in self._silent:
            self._silent.remove(trial.trial_id)
            logger.info("Trial %s reports again.", trial.trial_id)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Find the silent trials."""
        now = self._now()
        if now - self._checked_at < _CHECK_EVERY_S:
            return
        self._checked_at = now
        limit = max(_LEAST_S, _USUAL * self._longest_s) if self._max_s is None else self._max_s
        for trial_id, (trial, heard_at) in list(self._heard.items()):
            if trial.status != trial.RUNNING:
                del self._heard[trial_id]
            elif now - heard_at > limit and trial_id not in self._silent:
                self._end(trial, f"it has not reported for {now - heard_at:.0f} s")

    def _end(self, trial: Any, reason: str) -> None:
        """Treat a silent trial by the rule."""
        is_first = not isinstance(trial, ResilientTrial) or not trial.retries.get("silences")
        retry = self._rule == "retry" and is_first
        if self._rule == "warn":
            self._silent.add(trial.trial_id)
            what = "its slot stays occupied. Set max_silence_s to end silent trials"
        else:
            del self._heard[trial.trial_id]
            kill(trial, reason, retry=retry)
            what = (
                f"it is killed, and {'continues from its last checkpoint' if retry else 'failed'}"
            )
        logger.warning("Trial %s: %s; %s.", trial.trial_id, reason, what)
