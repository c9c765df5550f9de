"""Rungs: the levels at which trials are judged, and the values recorded at each."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Sequence
from fractions import Fraction
from numbers import Integral, Real

import numpy as np

from raytuner.errors import SettingError
from raytuner.halving.rule import Action, Alive, Merits, Score, Value, Verdict


def bracket_levels(
    grace_period: float, max_t: float, reduction_factor: int, brackets: int | None = 1
) -> tuple[tuple[float, ...], ...]:
    """Return the levels at which trials are ranked, for each bracket, bracket 0 first.

    The levels of bracket b are `grace_period * reduction_factor ** (k + b)` for k = 0, 1, ...
    strictly below `max_t`: a trial that reaches `max_t` is complete.

    Each bracket must have a level, except bracket 0 (when `grace_period == max_t`). With `brackets`
    None these are Hyperband's (Li et al. 2018): each that has a level, and one that has none.

    See `SuccessiveHalving` for arguments.

    Returns:
        One ascending tuple of levels for each bracket: ints if `grace_period` is one, else floats.

    Raises:
        SettingError: An argument is out of its range; the message names what is valid.

    Examples:
        >>> bracket_levels(1, 10, 3, brackets=2)
        ((1, 3, 9), (3, 9))
        >>> bracket_levels(1, 10, 3, brackets=None)
        ((1, 3, 9), (3, 9), (9,), ())
    """
    grace_period = amount("grace_period", grace_period)
    max_t = amount("max_t", max_t)
    reduction_factor = _whole("reduction_factor", reduction_factor, least=2)
    if max_t < grace_period:
        raise SettingError(
            f"max_t={max_t} is below grace_period={grace_period}; it must be at least grace_period"
        )
    levels: list[float] = []
    exact = Fraction(grace_period)
    while exact < max_t:
        level = int(exact) if isinstance(grace_period, int) else float(exact)
        if level < max_t:  # just below max_t, it can round up to max_t
            levels.append(level)
        exact *= reduction_factor
    if brackets is None:
        return tuple(tuple(levels[bracket:]) for bracket in range(len(levels) + 1))
    brackets, possible = _whole("brackets", brackets, least=1), max(1, len(levels))
    if brackets > possible:
        raise SettingError(
            f"brackets={brackets} is too many: with grace_period={grace_period}, max_t={max_t} and "
            f"reduction_factor={reduction_factor} at most {possible} can have a rung before max_t"
        )
    return tuple(tuple(levels[bracket:]) for bracket in range(brackets))


def bracket_weights(levels: Sequence[Sequence[float]], reduction_factor: int) -> tuple[float, ...]:
    """Return the probability with which a trial is put into each bracket; they sum to 1.

    Proportional to `reduction_factor ** s / (s + 1)`, s being the bracket's number of rungs: the
    number of configurations that Hyperband starts in a bracket of s halvings so that every
    bracket costs about the same (Li et al. 2018, "Hyperband: A Novel Bandit-Based Approach to
    Hyperparameter Optimization", JMLR 18(185), Algorithm 1, without the rounding up).

    Args:
        levels: Rung levels of each bracket, as from `bracket_levels`.
        reduction_factor: See `bracket_levels`.

    Examples:
        >>> bracket_weights(((1, 3), (3,)), 3)
        (0.6666666666666666, 0.3333333333333333)
    """
    most = max(len(rungs) for rungs in levels)
    # Divided by reduction_factor ** most, which cancels, so that nothing overflows.
    weights = [float(reduction_factor) ** (len(r) - most) / (len(r) + 1) for r in levels]
    return tuple(weight / sum(weights) for weight in weights)


def amount(name: str, value: object) -> float:
    """Return a positive, finite amount of resource as an int or float.

    Raises:
        SettingError: It is none, or a bool. `name` is the argument's, for the message.
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        plain = int(value) if isinstance(value, Integral) else float(value)
        if 0 < plain < math.inf:
            return plain
    raise SettingError(f"{name}={value!r} is not a positive, finite number")


def _whole(name: str, value: object, least: int) -> int:
    """A whole number, given as one: 3.0 is taken for a slip, not for 3."""
    if isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least:
        return int(value)
    raise SettingError(f"{name}={value!r} is not a whole number (an int) of at least {least}")


class Rung:
    """The values recorded at one level of one bracket; larger is better.

    A value that is not finite is held as minus infinity. Of scores (`raytuner.halving.rule`) the
    rung holds their merits among all scores recorded there, which change with each new one.

    Attributes:
        bracket: The bracket, from 0.
        level: The level, in units of `t`.
        values: The value of each trial, in the order of recording.
        went_on: The trials that continued, in that order.
    """

    def __init__(self, bracket: int, level: float) -> None:
        self.bracket = bracket
        self.level = level
        self.values: dict[str, float] = {}
        self.went_on: dict[str, None] = {}
        self._merits = Merits()  # of scores
        self._trial_ids: list[str] = []  # of scores, in the order of recording
        self._ascending: list[float] = []
        self._place: dict[str, int] = {}
        # Trials that may continue later, `(value, -place, trial_id)` ascending: the next is last;
        # of those that tie, the first that came.
        self._waiting: list[tuple[float, int, str]] = []

    def record(self, trial_id: str, value: Value) -> float:
        """Record a trial's value, and return it as it is held."""
        self._place[trial_id] = len(self._place)
        if isinstance(value, Score):
            self._weigh(trial_id, value)
            return self.values[trial_id]
        held = float(value) if math.isfinite(value) else -math.inf
        self.values[trial_id] = held
        insort(self._ascending, held)
        return held

    def _weigh(self, trial_id: str, score: Score) -> None:
        """Hold the merit of each score among all of them."""
        self._trial_ids.append(trial_id)
        for row in self._merits.add(score):
            self.values[self._trial_ids[row]] = float(self._merits.held[row])
        self._ascending = np.sort(self._merits.held).tolist()
        self._waiting = sorted(
            (self.values[trial_id], place, trial_id) for _, place, trial_id in self._waiting
        )

    @property
    def has_finite(self) -> bool:
        """True if at least one recorded value is finite."""
        return bool(self._ascending) and math.isfinite(self._ascending[-1])

    def verdict(self, action: Action, held: float, quota: int) -> Verdict:
        """Return a verdict on a held value, as the rung stands now."""
        recorded = len(self._ascending)
        rank = 1 + recorded - bisect_right(self._ascending, held)
        return Verdict(action, self.level, rank, recorded, quota)

    def wait(self, trial_id: str) -> None:
        """Let a recorded trial wait."""
        insort(self._waiting, (self.values[trial_id], -self._place[trial_id], trial_id))

    def go_on(self, trial_id: str) -> None:
        """Let a trial continue; it no longer waits."""
        self.went_on[trial_id] = None
        self.forget(trial_id)

    def forget(self, trial_id: str) -> None:
        """Let a trial neither wait nor continue."""
        for index in range(len(self._waiting) - 1, -1, -1):  # it is often among the best
            if self._waiting[index][2] == trial_id:
                del self._waiting[index]
                return

    def waiting(self, alive: Alive) -> list[str]:
        """Return the trials that wait, the worst first; forget those that are not alive."""
        self._waiting = [entry for entry in self._waiting if alive(entry[2])]
        return [trial_id for _, _, trial_id in self._waiting]

    def best_waiting(self, alive: Alive) -> str | None:
        """Return the best trial that waits; forget those that are not alive.

        None too while the best has no finite value and another recorded trial has one.
        """
        while self._waiting and not alive(self._waiting[-1][2]):
            self._waiting.pop()
        if not self._waiting or (self._waiting[-1][0] == -math.inf and self.has_finite):
            return None
        return self._waiting[-1][2]
