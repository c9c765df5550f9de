"""Numeric domains: ranges of real or whole numbers, and the normal distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import scipy  # scipy.special is loaded on first use: that takes as long as numpy

from raytuner.errors import SpaceError
from raytuner.space.choices import is_number
from raytuner.space.domains import LISTABLE_LEVELS, Domain, Vector

_REL_TOL = 1e-9  # tolerance for a float to count as a multiple of the step, as in Ray Tune
_MOST_LEVELS = 2**53  # up to here a float holds every whole number
# Beyond these the normal quantile is infinite; 2**-53 is also the smallest gap of floats below 1.
_TAIL = 2.0**-53


def _is_finite(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)


class _Number(Domain):
    """A number, perhaps a multiple of a step."""

    step: float | None
    _first: int  # of a range, the first level is this many steps
    _type: ClassVar[type] = float

    def _check(self, *names: str) -> None:
        """Convert the fields and the step to plain numbers, and check them."""
        for name in names if self.step is None else (*names, "step"):
            value, where = getattr(self, name), f"{type(self).__name__}: {name} must be"
            if not _is_finite(value):
                raise SpaceError(f"{where} a finite number, received {value!r}")
            if self._type is int and value % 1:
                raise SpaceError(f"{where} a whole number, received {value!r}")
            self._set(**{name: self._type(value)})
        above = self.step is None or self.step > 0
        self._require(above, f"step must be above 0, received {self.step!r}")

    def _require(self, holds: bool, message: str) -> None:
        if not holds:
            raise SpaceError(f"{self!r}: {message}")

    @cached_property
    def _ratio(self) -> tuple[int, int]:
        """The step as a fraction, from its decimal digits in Python."""
        return Fraction(repr(self.step or 1)).as_integer_ratio()

    def _multiple(self, k: int) -> Any:
        """Return k times the step, rounded once: 0.3 for 3 times 0.1, not 0.30000000000000004."""
        numerator, denominator = self._ratio
        return k * numerator if self._type is int else k * numerator / denominator

    def _multiple_of(self, value: Any) -> int | None:
        """Return the k for which a value is k times the step; None if there is none."""
        step = self.step or 1
        if not math.isfinite(value / step):
            return None
        k = round(value / step)
        slack = 0 if self._type is int else _REL_TOL * max(abs(value), step)
        return k if abs(value - k * step) <= slack else None

    def _of_step(self) -> str:
        return "" if self.step is None else f" that is a multiple of {self.step}"


@dataclass(frozen=True)
class _Range(_Number):
    """A number between two bounds, both included."""

    low: float
    high: float
    log: bool = field(default=False, kw_only=True)
    step: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        self._check("low", "high")
        is_bool = isinstance(self.log, bool)
        self._require(is_bool, f"log must be True or False, received {self.log!r}")
        self._require(self.low <= self.high, "low must not be above high")
        positive = not self.log or self.low > 0
        self._require(positive, f"with log, low must be above 0, received {self.low!r}")
        if not self._has_steps:
            n_levels = 1 if self.low == self.high else None
            self._set(kind="continuous" if n_levels is None else "discrete", n_levels=n_levels)
            return
        step, slack = self.step or 1, 0 if self._type is int else _REL_TOL
        low, high = self.low / step, self.high / step
        first = math.ceil(low - min(abs(low) * slack, 0.25))
        last = math.floor(high + min(abs(high) * slack, 0.25))
        self._require(
            first <= last,
            f"no multiple of step={step} lies between low and high; the nearest are {last * step}"
            f" and {first * step}",
        )
        self._require(
            last - first <= _MOST_LEVELS,
            f"{last - first + 1:,} values are too many (the limit is 2**53); give a narrower range"
            " or a larger step",
        )
        self._set(kind="discrete", n_levels=last - first + 1, _first=first)

    @property
    def _has_steps(self) -> bool:
        return self._type is int or self.step is not None

    def describe(self) -> str:
        """See `Domain.describe`."""
        noun = "a whole number" if self._type is int else "a number"
        return f"{noun} from {self.low} to {self.high}{self._of_step()}"

    def _find(self, value: Any) -> float | None:
        if not _is_finite(value):
            return None
        if self._has_steps:
            k = self._multiple_of(value)
            there = k is not None and self._first <= k < self._first + (self.n_levels or 0)
            return k - self._first if k is not None and there else None
        is_end = math.isclose(value, self.low) or math.isclose(value, self.high)
        if not (self.low <= value <= self.high or is_end):
            return None
        return float(value) if self.n_levels is None else 0

    def _value(self, position: float) -> Any:
        if not self._has_steps:
            return position if self.n_levels is None else self.low
        # A bound counts as a multiple if it is one up to rounding.
        return min(max(self._multiple(self._first + int(position)), self.low), self.high)

    def _cdf(self, position: Vector) -> Vector:
        if self.n_levels is None:
            if self.log:
                return np.log(position / self.low) / math.log(self.high / self.low)
            return (position - self.low) / (self.high - self.low)
        length = self.n_levels - self._rounded
        if self.log:  # log1p keeps neighbouring large numbers apart
            return np.log1p(position / self._first) / math.log1p(length / self._first)
        return position / length

    def _quantile(self, u: Vector) -> Vector:
        if self.n_levels is None:
            width = self.high - self.low
            values = self.low * (self.high / self.low) ** u if self.log else self.low + u * width
            # After rounding, the upper bound must be reached but not passed.
            return np.where(u == 1, self.high, values).clip(self.low, self.high)
        length = self.n_levels - self._rounded
        if self.log:
            return self._first * np.expm1(u * math.log1p(length / self._first))
        return u * length


class Float(_Range):
    """A real number between two bounds, both included.

    Args:
        low: Lower bound; above 0 if `log`.
        high: Upper bound, at least `low`.
        log: Whether the logarithm is uniform instead of the number.
        step: The number is a multiple of this (0.5, not `low + 0.5`). A uniform draw is rounded to
            the nearest multiple, so the two outermost multiples are drawn half as often. None: no
            step.

    Raises:
        SpaceError: A bound or the step is invalid, or the range has no multiple of the step or more
            than 2**53.

    Examples:
        >>> round(Float(1e-4, 1e-2, log=True).to_unit(1e-3), 6)
        0.5
        >>> Float(0, 1, step=0.25).from_unit(0.3)
        0.25
    """

    _rounded: ClassVar[bool] = True


class Integer(_Range):
    """A whole number between two bounds, both included.

    Args:
        low: Lower bound; above 0 if `log`.
        high: Upper bound, at least `low`.
        log: Whether small numbers are likelier: the probability of k is proportional to
            log((k + 1) / k).
        step: The number is a multiple of this; `log` then counts in steps. None: no step.

    Raises:
        SpaceError: As for `Float`.

    Examples:
        >>> Integer(1, 4).level_units().tolist()
        [0.125, 0.375, 0.625, 0.875]
        >>> [Integer(1, 10, step=3).from_unit(u) for u in (0, 0.5, 1)]
        [3, 6, 9]
    """

    _type: ClassVar[type] = int


@dataclass(frozen=True)
class Normal(_Number):
    """A real number with a normal distribution, without bounds.

    Decoding reaches 8.21 `sd` on either side of the mean. Up to 5 `sd` from the mean, encoding is
    accurate to 1e-9 `sd`. Farther out, coordinates close to 1 lose digits.

    Args:
        mean: Mean.
        sd: Standard deviation, above 0.
        step: The draw is rounded to the nearest multiple of this. None: no step.

    Raises:
        SpaceError: An argument is invalid.

    Examples:
        >>> Normal(10, 2).from_unit(0.5)
        10.0
        >>> Normal(0, 1, step=0.5).from_unit(0.6)
        0.5
    """

    mean: float = 0.0
    sd: float = 1.0
    step: float | None = field(default=None, kw_only=True)
    _rounded: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._check("mean", "sd")
        self._require(self.sd > 0, f"sd must be above 0, received {self.sd!r}")
        self._set(kind="continuous" if self.step is None else "discrete", n_levels=None)

    def describe(self) -> str:
        """See `Domain.describe`."""
        return f"a finite number{self._of_step()}"

    @property
    def n_reachable(self) -> int | None:
        """See `Domain.n_reachable`. With a step, decoding reaches finitely many multiples."""
        return len(self.level_units()) if self._has_few() else None

    def level_units(self) -> Vector:
        """See `Domain.level_units`. Far out, multiples that share a coordinate count once."""
        if not self._has_few():
            return super().level_units()
        first, last = self._position(np.array([0.0, 1.0]))
        units = self.snap(self._unit(np.arange(first, last + 1)))
        return units[np.unique(units.round(12), return_index=True)[1]]

    def _has_few(self) -> bool:
        """Return whether decoding reaches few enough multiples to list."""
        first, last = self._position(np.array([0.0, 1.0]))
        return self.step is not None and last - first < LISTABLE_LEVELS

    def _find(self, value: Any) -> float | None:
        if not _is_finite(value):
            return None
        return float(value) if self.step is None else self._multiple_of(value)

    def _value(self, position: float) -> float:
        return position if self.step is None else self._multiple(int(position))

    def _cdf(self, position: Vector) -> Vector:
        return np.asarray(scipy.special.ndtr((position * (self.step or 1) - self.mean) / self.sd))

    def _quantile(self, u: Vector) -> Vector:
        z = scipy.special.ndtri(u.clip(_TAIL, 1 - _TAIL))
        return np.asarray((self.mean + self.sd * z) / (self.step or 1))
