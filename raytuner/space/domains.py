"""Domains: the values of one hyperparameter, and their coordinates in the unit interval.

The unit coordinate `u` of a value is its cumulative probability under Ray Tune's sampling
distribution. For a level, it is the midpoint of its step. So uniform points of the unit cube,
decoded, follow exactly Tune's distribution. A `position` is the index of a level, from 0. In a
continuous domain it is the number itself.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from raytuner.errors import ConfigError, SpaceError
from raytuner.space.choices import is_number, is_primitive, key, loosely, same

Kind = Literal["continuous", "discrete", "categorical"]
Vector = npt.NDArray[np.float64]

_LEAST_ORDERED = 3  # a model cannot use the order of fewer numbers
LISTABLE_LEVELS = 1_000_000
"""`Domain.level_units` lists at most this many levels."""


class Domain(ABC):
    """The values of one hyperparameter and their distribution. Immutable."""

    kind: Kind  # "discrete": ordered levels; "categorical": levels without an order
    n_levels: int | None  # the number of different values; None if it is infinite
    # Whether a continuous draw is rounded to the nearest level; the two ends then have half the
    # probability of the others. Otherwise it is rounded down.
    _rounded: ClassVar[bool] = False

    def _set(self, **values: Any) -> None:
        """Set attributes; the dataclasses are frozen."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @abstractmethod
    def describe(self) -> str:
        """Return what a value must be, for a message such as "received 3, expected ..."."""

    @abstractmethod
    def _find(self, value: Any) -> float | None:
        """Return the position of a value; None if the domain does not contain it."""

    @abstractmethod
    def _value(self, position: float) -> Any:
        """Return the value at a position."""

    @abstractmethod
    def _cdf(self, position: Vector) -> Vector:
        """Return the probability that the continuous draw lies below a position."""

    @abstractmethod
    def _quantile(self, u: Vector) -> Vector:
        """Return the inverse of `_cdf`."""

    def _place(self, value: Any) -> float:
        position = self._find(value)
        if position is None:
            raise ConfigError(
                f"received {value!r} ({type(value).__name__}), expected {self.describe()}"
            )
        return position

    def _unit(self, position: Vector) -> Vector:
        """Return the unit coordinates of positions."""
        n = self.n_levels
        if self.kind == "continuous":
            return self._cdf(position).clip(0, 1)
        if n == 1:
            return np.full_like(position, 0.5)
        low, high = position - self._rounded / 2, position + 1 - self._rounded / 2
        if n is not None:
            end = n - self._rounded
            low, high = low.clip(0, end), high.clip(0, end)
        return (self._cdf(low) + self._cdf(high)) / 2

    def _position(self, u: Vector) -> Vector:
        """Return the positions that coordinates decode to, after clipping them to [0, 1]."""
        n, u = self.n_levels, u.clip(0, 1)
        if n == 1:
            return np.zeros_like(u)
        position = self._quantile(u)
        if self.kind != "continuous":
            position = np.floor(position + self._rounded / 2)
        return position if n is None else position.clip(0, n - 1)

    def contains(self, value: Any) -> bool:
        """Return whether a value has the right type, lies in the bounds and on the step (rel 1e-9).

        Whole floats count as integers. Booleans and strings never count as numbers.
        """
        return self._find(value) is not None

    def cast(self, value: Any) -> Any:
        """Return a value in this domain's plain type.

        Raises:
            ConfigError: The domain does not contain the value.
        """
        return self._value(self._place(value))

    def to_units(self, values: Sequence[Any]) -> Vector:
        """Return the unit coordinates of `n` values, `n`-dim.

        Raises:
            ConfigError: The domain does not contain a value.
        """
        return self._unit(np.array(list(map(self._place, values)), dtype=np.float64))

    def to_unit(self, value: Any) -> float:
        """Return the unit coordinate of one value; see `to_units`."""
        return float(self.to_units([value])[0])

    def from_units(self, u: Vector) -> list[Any]:
        """Return the values at unit coordinates, `n`-dim, after clipping them to [0, 1]."""
        return list(map(self._value, self._position(u).tolist()))

    def from_unit(self, u: float) -> Any:
        """Return the value at one unit coordinate; see `from_units`."""
        return self.from_units(np.array([u], dtype=np.float64))[0]

    def snap(self, u: Vector) -> Vector:
        """Return the coordinates of the values that `u` decodes to, with the shape of `u`."""
        u = np.asarray(u, dtype=np.float64)
        return u.clip(0, 1) if self.kind == "continuous" else self._unit(self._position(u))

    def neighbours(self, u: float) -> Vector:
        """Return the coordinates of the levels next to the one at `u`, ascending: two at most."""
        if self.kind == "continuous":
            return np.empty(0)
        here, n = self._position(np.array([u])), self.n_levels
        nearby = np.concatenate([here - 1, here + 1])
        if n is not None:
            nearby = nearby[(nearby >= 0) & (nearby < n)]
        units = self.snap(self._unit(nearby))
        return units[units != self._unit(here)]  # far out, levels share a coordinate

    @property
    def n_reachable(self) -> int | None:
        """The number of values that decoding can give; None if infinite."""
        return self.n_levels

    def level_units(self) -> Vector:
        """Return the unit coordinates of all levels, ascending.

        Raises:
            SpaceError: There are more than `LISTABLE_LEVELS`.
        """
        n = self.n_levels
        if n is None or n > LISTABLE_LEVELS:
            raise SpaceError(
                f"{self!r} has {'infinitely many' if n is None else n} levels; level_units() lists"
                f" at most {LISTABLE_LEVELS}: use snap() instead"
            )
        return self._unit(np.arange(n, dtype=np.float64))

    def to_json(self, value: Any) -> Any:
        """Return a contained value as JSON."""
        return self.cast(value)

    def from_json(self, data: Any) -> Any:
        """Return the value that `to_json` wrote.

        Raises:
            ConfigError: The data is not a value of this domain.
        """
        return self.cast(data)


@dataclass(frozen=True, eq=False)
class Listed(Domain):
    """A domain with a list of values, all equally likely."""

    values: Sequence[Any]

    def __post_init__(self) -> None:
        """Turn the values into a tuple, and check them."""
        received, name = self.values, type(self).__name__
        is_list = isinstance(received, Iterable) and not isinstance(received, str | bytes | Mapping)
        values = tuple(received) if is_list else ()
        if not values:
            raise SpaceError(f"{name} needs a list of one or more values, received {received!r}")
        self._set(values=values, n_levels=len(values))
        seen: set[Any] = set()
        for one in values:
            if isinstance(one, Domain):
                raise SpaceError(
                    f"{self!r}: {one!r} is a domain; give it a key of its own, with a condition:"
                    " raytuner.when"
                )
            if (known := key(one)) is not None and known in seen:
                raise SpaceError(f"{self!r}: {one!r} is listed twice; list each once")
            seen.add(known)

    @cached_property
    def _places(self) -> dict[Any, int]:
        """Positions by what values share with their copies, and with others that are alike."""
        found: dict[Any, int] = {}
        for name in (key, loosely):
            for i, one in enumerate(self.values):
                with suppress(TypeError):  # what is alike may have no hash
                    if (named := name(one)) is not None:
                        found.setdefault(named, i)
        return found

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Listed) or type(other) is not type(self):
            return NotImplemented
        pairs = zip(self.values, other.values, strict=False)
        return self.n_levels == other.n_levels and all(same(*pair) for pair in pairs)

    def __hash__(self) -> int:
        return hash((type(self), len(self.values)))

    def describe(self) -> str:
        """See `Domain.describe`."""
        listed = ", ".join(map(repr, self.values[:20]))
        return f"one of {listed}" + (", ..." if len(self.values) > 20 else "")

    def _find(self, value: Any) -> float | None:
        """Return the position of the object itself, of a copy, or of the first alike one."""
        if not is_primitive(value):
            for i, one in enumerate(self.values):
                if one is value:
                    return i
        found = self._places.get(key(value))
        with suppress(TypeError):
            return self._places.get(loosely(value)) if found is None else found
        return None

    def _value(self, position: float) -> Any:
        return self.values[int(position)]

    def _cdf(self, position: Vector) -> Vector:
        return position / len(self.values)

    def _quantile(self, u: Vector) -> Vector:
        return u * len(self.values)

    def to_json(self, value: Any) -> Any:
        """Return the choice itself if JSON has it, otherwise `{"choice": its position}`."""
        index = int(self._place(value))
        listed = self.values[index]
        finite = not isinstance(listed, float) or math.isfinite(listed)
        return listed if is_primitive(listed) and finite else {"choice": index}

    def from_json(self, data: Any) -> Any:
        """See `Domain.from_json`."""
        if not isinstance(data, dict):
            return self.cast(data)
        index = data.get("choice")
        if type(index) is not int or not 0 <= index < len(self.values):
            raise ConfigError(
                f'received {data!r}, expected {{"choice": i}} with i from 0 to '
                f"{len(self.values) - 1}"
            )
        return self.values[index]


class Categorical(Listed):
    """One of several objects, of any type, without an order.

    Raises:
        SpaceError: No values, twice the same, or a domain among them. 1, 1.0 and True differ.

    Examples:
        >>> Categorical(["sgd", "adam"]).from_unit(0.7)
        'adam'
    """

    kind = "categorical"


class Ordinal(Listed):
    """A choice between ordered values. The model treats neighbours as similar.

    The values are spaced by rank.

    Args:
        values: Numbers, strictly increasing or decreasing, or other objects in their order.

    Raises:
        SpaceError: There are no values, a value is listed twice, numbers are not in order, or a
            value is a domain.

    Examples:
        >>> Ordinal([16, 64, 512]).to_unit(64)
        0.5
        >>> Ordinal(["low", "high"]).from_unit(1.0)
        'high'
    """

    kind = "discrete"

    def __post_init__(self) -> None:
        """Check the order, too."""
        super().__post_init__()
        if all(map(is_number, self.values)) and not is_ordered(self.values):
            raise SpaceError(
                f"{self!r}: numbers must be strictly increasing or decreasing; use Categorical for"
                " values without an order"
            )


def choice(values: Sequence[Any]) -> Listed:
    """Return an `Ordinal` for three or more ordered numbers, otherwise a `Categorical`.

    Examples:
        >>> choice([16, 32, 64]), choice([0.1, 0.2])
        (Ordinal(values=(16, 32, 64)), Categorical(values=(0.1, 0.2)))
    """
    is_ordinal = len(values) >= _LEAST_ORDERED and is_ordered(values)
    return (Ordinal if is_ordinal else Categorical)(values)


def is_ordered(values: Sequence[Any]) -> bool:
    """Return whether values are numbers that strictly increase or strictly decrease.

    Examples:
        >>> is_ordered([1, 2.5, 4]), is_ordered([3, 2, 2]), is_ordered(["a", "b"])
        (True, False, False)
    """
    if not all(map(is_number, values)):
        return False
    pairs = list(pairwise(values))
    return all(a < b for a, b in pairs) or all(a > b for a, b in pairs)
