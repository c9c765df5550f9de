"""Levels of discrete hyperparameters and their places on the unit interval.

Every law here is the one Ray Tune samples from. A level owns a step of the cumulative distribution
function; its unit coordinate is the midpoint of that step, and a coordinate decodes to the level
whose step contains it. Nothing is tabulated: a billion levels cost as much as two.

Glossary: `n` number of levels, `i` a level's index counted from 0, `u` a unit coordinate.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy  # scipy.special is loaded on first use: that takes as long as numpy

Vector = npt.NDArray[np.float64]

# Beyond these the normal quantile is infinite; 2**-53 is also the smallest gap of floats below 1.
_TAIL = 2.0**-53


def normal_cdf(x: Vector, mean: float, sd: float) -> Vector:
    """Chance that a normal variable is at most `x`."""
    return np.asarray(scipy.special.ndtr((x - mean) / sd), dtype=np.float64)


def normal_quantile(u: Vector, mean: float, sd: float) -> Vector:
    """Value below which a normal variable lies with chance `u`, kept within 8.21 sd of the mean."""
    return np.asarray(
        mean + sd * scipy.special.ndtri(np.clip(u, _TAIL, 1 - _TAIL)), dtype=np.float64
    )


def multiples(low: float, high: float, step: float) -> tuple[int, int]:
    """First and last `k` with `low <= k * step <= high`.

    Whole numbers are exact. Floats get Tune's tolerance of rel 1e-9, so that 0.3 counts as a
    multiple of 0.1.

    Returns:
        `(first, last)`; `first > last` if no multiple lies between the bounds.

    >>> multiples(1, 10, 3)
    (1, 3)
    >>> multiples(0.1, 0.3, 0.1)
    (1, 3)
    """
    if isinstance(low, int) and isinstance(high, int) and isinstance(step, int):
        return -(-low // step), high // step
    ends = []
    for scaled, inwards in ((low / step, math.ceil), (high / step, math.floor)):
        nearest = round(scaled)
        ends.append(nearest if math.isclose(scaled, nearest) else inwards(scaled))
    return ends[0], ends[1]


def multiple(k: int, step: float) -> float:
    """Return `k * step` for the decimal digits that Python shows of `step`.

    >>> 3 * 0.1, multiple(3, 0.1)
    (0.30000000000000004, 0.3)
    """
    numerator, denominator = _ratio(step)
    return k * numerator / denominator  # whole numbers: rounded once


@lru_cache
def _ratio(step: float) -> tuple[int, int]:
    return Fraction(repr(step)).as_integer_ratio()


class Grid(ABC):
    """Levels with indices and their steps of the cumulative distribution function."""

    n: int | None
    """Number of levels; None when there is no end to them."""

    @abstractmethod
    def unit(self, i: Vector) -> Vector:
        """Unit coordinates (midpoints of the steps) of the levels with indices `i`."""

    @abstractmethod
    def index(self, u: Vector) -> Vector:
        """Indices (whole floats) of the levels whose steps contain `u`, in [0, 1]."""


@dataclass(frozen=True)
class BoundedGrid(Grid):
    """The `n` whole numbers `first, first + 1, ...` under a uniform or log-uniform law.

    Attributes:
        first: The first number; positive if `log`.
        n: How many, at least 1.
        log: The underlying draw is log-uniform.
        rounded: How a continuous draw becomes a level. False: it is rounded down, so that each
            number owns [k, k + 1). True: it is rounded to the nearest, so that each number owns
            [k - 0.5, k + 0.5), and the two ends half of that.

    >>> BoundedGrid(first=1, n=4).unit(np.arange(4.0)).tolist()
    [0.125, 0.375, 0.625, 0.875]
    >>> BoundedGrid(first=0, n=3, rounded=True).unit(np.arange(3.0)).tolist()
    [0.125, 0.5, 0.875]
    """

    first: int
    n: int
    log: bool = False
    rounded: bool = False

    @property
    def _shift(self) -> float:
        return 0.5 if self.rounded else 0.0

    @property
    def _length(self) -> int:
        """Length of the interval that the continuous draw comes from."""
        return self.n - 1 if self.rounded else self.n

    def _cdf(self, x: Vector) -> Vector:
        # x counts from `first`: log1p keeps neighbouring large numbers apart.
        if self.log:
            return np.log1p(x / self.first) / math.log1p(self._length / self.first)
        return x / self._length

    def _quantile(self, u: Vector) -> Vector:
        if self.log:
            return self.first * np.expm1(u * math.log1p(self._length / self.first))
        return u * self._length

    def unit(self, i: Vector) -> Vector:
        """See `Grid.unit`."""
        if self.n == 1:
            return np.full_like(i, 0.5)
        low = np.clip(i - self._shift, 0, self._length)
        high = np.clip(i + 1 - self._shift, 0, self._length)
        return (self._cdf(low) + self._cdf(high)) / 2

    def index(self, u: Vector) -> Vector:
        """See `Grid.index`."""
        if self.n == 1:
            return np.zeros_like(u)
        return np.clip(np.floor(self._quantile(u) + self._shift), 0, self.n - 1)


@dataclass(frozen=True)
class NormalGrid(Grid):
    """All multiples of `step`, a normal draw being rounded to the nearest; `i` may be negative."""

    mean: float
    sd: float
    step: float
    n: None = None

    def unit(self, i: Vector) -> Vector:
        """See `Grid.unit`."""
        low, high = (normal_cdf((i + half) * self.step, self.mean, self.sd) for half in (-0.5, 0.5))
        return (low + high) / 2

    def index(self, u: Vector) -> Vector:
        """See `Grid.index`."""
        return np.rint(normal_quantile(u, self.mean, self.sd) / self.step)
