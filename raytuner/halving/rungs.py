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


def rung_levels(
    grace_period: float, max_t: float, reduction_factor: int, bracket: int = 0
) -> tuple[float, ...]:
    """Levels at which a trial of one bracket is judged, ascending.

    The levels are `grace_period * reduction_factor ** (k + bracket)` for k = 0, 1, ... strictly
    below `max_t`: a trial that reaches `max_t` is complete, there is nothing left to decide.

    Args:
        grace_period: The first level of bracket 0, in units of `t` (iterations, seconds, ...),
            positive. Whole numbers give whole levels.
        max_t: A trial's full resource, in the same units, at least `grace_period`. When the two
            are equal there is no level, and no trial is ever judged.
        reduction_factor: How many times more resource the next level takes, a whole number of at
            least 2; about 1 in `reduction_factor` trials goes on.
        bracket: How many of the lowest levels to leave out. Defaults to 0.

    Returns:
        The levels: ints if `grace_period` is one, else floats.

    Raises:
        SettingError: If an argument is outside of what it may be, or the bracket has no level.

    Example:
        >>> rung_levels(1, 729, 3)
        (1, 3, 9, 27, 81, 243)
        >>> rung_levels(1, 729, 3, bracket=4)
        (81, 243)
        >>> rung_levels(30.0, 600, 4)
        (30.0, 120.0, 480.0)
    """
    bracket = _whole("bracket", bracket, least=0)
    return bracket_levels(grace_period, max_t, reduction_factor, bracket + 1)[bracket]


def bracket_levels(
    grace_period: float, max_t: float, reduction_factor: int, brackets: int | None = 1
) -> tuple[tuple[float, ...], ...]:
    """Rung levels of each bracket, bracket 0 first: each leaves out one more of the low levels.

    Args:
        grace_period: See `rung_levels`.
        max_t: See `rung_levels`.
        reduction_factor: See `rung_levels`.
        brackets: How many brackets, at least 1. Defaults to 1. Each must have a level below
            `max_t`, save that bracket 0 may have none (when `grace_period == max_t`). None: all of
            Hyperband's (Li et al. 2018), each that has a level and one more that has none.

    Returns:
        One tuple of levels a bracket.

    Raises:
        SettingError: If an argument is outside of what it may be; names what would be right.

    Example:
        >>> bracket_levels(1, 10, 3, brackets=2)
        ((1, 3, 9), (3, 9))
        >>> bracket_levels(1, 10, 3, brackets=None)
        ((1, 3, 9), (3, 9), (9,), ())
    """
    grace_period = amount("grace_period", grace_period)
    max_t = amount("max_t", max_t)
    reduction_factor = _whole("reduction_factor", reduction_factor, least=2)
    if brackets is not None:
        brackets = _whole("brackets", brackets, least=1)
    if max_t < grace_period:
        raise SettingError(
            f"max_t={max_t} is below grace_period={grace_period}: no trial could be judged; "
            f"max_t must be at least grace_period"
        )
    levels = _levels(grace_period, max_t, reduction_factor)
    if brackets is None:
        return tuple(levels[bracket:] for bracket in range(len(levels) + 1))
    possible = max(1, len(levels))
    if brackets > possible:
        raise SettingError(
            f"brackets={brackets} is too many: with grace_period={grace_period}, max_t={max_t} and "
            f"reduction_factor={reduction_factor} at most {possible} can have a rung before max_t"
        )
    return tuple(levels[bracket:] for bracket in range(brackets))


def bracket_weights(levels: Sequence[Sequence[float]], reduction_factor: int) -> tuple[float, ...]:
    """Probability with which a trial is put into each bracket.

    Proportional to `reduction_factor ** s / (s + 1)`, s being the bracket's number of rungs: the
    number of configurations that Hyperband starts in a bracket of s halvings so that every
    bracket costs about the same (Li et al. 2018, "Hyperband: A Novel Bandit-Based Approach to
    Hyperparameter Optimization", JMLR 18(185), Algorithm 1, without the rounding up).

    Args:
        levels: Rung levels of each bracket, as from `bracket_levels`.
        reduction_factor: See `rung_levels`.

    Returns:
        One probability a bracket; they sum to 1.

    Example:
        >>> bracket_weights(((1, 3), (3,)), 3)
        (0.6666666666666666, 0.3333333333333333)
    """
    most = max(len(rungs) for rungs in levels)
    # Divided by reduction_factor ** most, which cancels, so that nothing overflows.
    weights = [float(reduction_factor) ** (len(r) - most) / (len(r) + 1) for r in levels]
    return tuple(weight / sum(weights) for weight in weights)


def _levels(grace_period: float, max_t: float, reduction_factor: int) -> tuple[float, ...]:
    """Levels of bracket 0, of arguments already checked."""
    levels: list[float] = []
    exact = Fraction(grace_period)
    while exact < max_t:
        levels.append(int(exact) if isinstance(grace_period, int) else float(exact))
        exact *= reduction_factor
    # An exact level just below max_t can round up to max_t when it becomes a float.
    return tuple(level for level in levels if level < max_t)


def amount(name: str, value: object) -> float:
    """Check an amount of resource.

    Args:
        name: The argument's name, for the message.
        value: What was given for it.

    Returns:
        The value as a plain int or float, positive and finite.

    Raises:
        SettingError: If it is anything else, a bool included.
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
