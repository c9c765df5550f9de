"""Rung levels and brackets, in exact arithmetic.

Logarithms in floating point miscount rungs: `log(243) / log(3)` is 4.999... and `log(125) / log(5)`
is 3.000...4. Here levels are multiplied out and compared as whole numbers or fractions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from numbers import Integral, Real

from raytuner.errors import SettingError


def bracket_levels(
    grace_period: float, max_t: float, reduction_factor: int, brackets: int | None = 1
) -> tuple[tuple[float, ...], ...]:
    """Return the levels at which trials are judged, for each bracket, bracket 0 first.

    The levels of bracket b are `grace_period * reduction_factor ** (k + b)` for k = 0, 1, ...
    strictly below `max_t`: a trial that reaches `max_t` is complete.

    Args:
        grace_period: The first level of bracket 0, in units of `t` (iterations, seconds, ...),
            positive. Whole numbers give whole levels.
        max_t: A trial's full resource, in the same units, at least `grace_period`.
        reduction_factor: How many times more resource the next level takes, a whole number of at
            least 2; about 1 in `reduction_factor` trials goes on.
        brackets: How many brackets, at least 1. Defaults to 1. Each must have a level below
            `max_t`, except that bracket 0 may have none (when `grace_period == max_t`). None: all
            of Hyperband's (Li et al. 2018), each that has a level and one more that has none.

    Returns:
        One ascending tuple of levels for each bracket: ints if `grace_period` is one, else floats.

    Raises:
        SettingError: An argument is out of its range; the message names what is valid.

    Example:
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
            f"max_t={max_t} is below grace_period={grace_period}: no trial could be judged; "
            f"max_t must be at least grace_period"
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

    Example:
        >>> bracket_weights(((1, 3), (3,)), 3)
        (0.6666666666666666, 0.3333333333333333)
    """
    most = max(len(rungs) for rungs in levels)
    # Divided by reduction_factor ** most, which cancels, so that nothing overflows.
    weights = [float(reduction_factor) ** (len(r) - most) / (len(r) + 1) for r in levels]
    return tuple(weight / sum(weights) for weight in weights)


def amount(name: str, value: object) -> float:
    """Return an amount of resource as an int or float; raise a SettingError for anything else.

    It must be positive and finite, and no bool. `name` is the argument's, for the message.
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
