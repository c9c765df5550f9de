"""What one hyperparameter may be, and its place on the unit interval.

The unit coordinate of a value is the cumulative distribution function of Ray Tune's own sampling
distribution of that domain; for a level of a discrete domain, the midpoint of the level's step of
it. So uniform or quasi-random points of the unit cube, decoded, follow exactly Tune's law, and
what is unlikely under it takes little room in the cube. Any number in [0, 1] decodes to a value
of the domain, 0 and 1 included.

Domains are immutable and check themselves when made.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from numbers import Real
from typing import Any, Literal

import numpy as np

from raytuner.errors import ConfigError, SpaceError
from raytuner.space.choices import ChoiceIndex, is_number, is_primitive, same, shown
from raytuner.space.levels import (
    BoundedGrid,
    Grid,
    NormalGrid,
    Vector,
    multiple,
    multiples,
    normal_cdf,
    normal_quantile,
)

Kind = Literal["continuous", "discrete", "categorical"]

REL_TOL = 1e-9
"""Relative tolerance within which a float counts as a bound or a multiple of the step."""

LISTABLE_LEVELS = 1_000_000
"""`Domain.level_units` lists at most this many levels."""

_INT64 = 2**63
_EXACT_FLOATS = 2**53


class Domain(ABC):
    """One hyperparameter's values and their law. See `Float`, `Integer` and the others."""

    @property
    @abstractmethod
    def kind(self) -> Kind:
        """Either "continuous", "discrete" (ordered levels) or "categorical" (levels, no order)."""

    @property
    @abstractmethod
    def _grid(self) -> Grid | None:
        """The levels; None if the domain is continuous."""

    @abstractmethod
    def contains(self, value: Any) -> bool:
        """Whether `value` belongs to the domain: right type, within the bounds, on the step.

        numpy scalars count as the plain numbers they hold, whole floats as integers and integers
        as floats; booleans and strings are never numbers. Floats have a tolerance of rel 1e-9.
        """

    @abstractmethod
    def describe(self) -> str:
        """What a value has to be, to end a sentence such as "received 3, expected ..."."""

    @abstractmethod
    def cast(self, value: Any) -> Any:
        """A contained value as this domain's plain type: float, int or the choice itself."""

    # A domain has either levels or a continuous law, and defines the pair of methods it needs.
    def _level(self, value: Any) -> int:
        """Index of the level that a contained value is."""
        raise NotImplementedError

    def _value(self, index: int) -> Any:
        """Value of the level with this index."""
        raise NotImplementedError

    def _cdf(self, values: Vector) -> Vector:
        raise NotImplementedError

    def _quantile(self, u: Vector) -> Vector:
        raise NotImplementedError

    @property
    def n_levels(self) -> int | None:
        """Number of different values; None if there is no end to them."""
        return None if self._grid is None else self._grid.n

    def to_unit(self, value: Any) -> float:
        """Unit coordinate of a value.

        Raises:
            ConfigError: The domain does not contain the value.
        """
        if not self.contains(value):
            raise ConfigError(f"received {shown(value)}, expected {self.describe()}")
        return float(self.to_units([value])[0])

    def from_unit(self, u: float) -> Any:
        """Value at a unit coordinate, a plain float, int or the choice itself."""
        return self.from_units(np.array([u], dtype=np.float64))[0]

    def to_units(self, values: Sequence[Any]) -> Vector:
        """Unit coordinates, `n`-dim, of `n` values known to be contained."""
        if self._grid is None:
            return np.clip(self._cdf(np.array(values, dtype=np.float64)), 0, 1)
        return self._grid.unit(np.array([self._level(v) for v in values], dtype=np.float64))

    def from_units(self, u: Vector) -> list[Any]:
        """Values at unit coordinates `u`, `n`-dim; what lies outside of [0, 1] is moved to it."""
        u = np.clip(u, 0, 1)
        if self._grid is None:
            return list(self._quantile(u).tolist())
        return [self._value(int(i)) for i in self._grid.index(u)]

    def snap(self, u: Vector) -> Vector:
        """Coordinates of the values that `u` decodes to, in the shape of `u`.

        A continuous domain leaves `u` as it is. Otherwise a coordinate moves to the midpoint of
        the step that it lies in. Takes no more time or memory with more levels.

        >>> Integer(1, 4).snap(np.array([0.0, 0.3, 1.0])).tolist()
        [0.125, 0.375, 0.875]
        """
        u = np.clip(np.asarray(u, dtype=np.float64), 0, 1)
        return u if self._grid is None else self._grid.unit(self._grid.index(u))

    def neighbours(self, u: float) -> Vector:
        """Unit coordinates of the next level below and above the level at `u`, ascending.

        There are fewer than two at an end, and none in a continuous domain.

        >>> Integer(1, 4).neighbours(0.125).tolist()
        [0.375]
        """
        if self._grid is None:
            return np.empty(0)
        here = float(self._grid.index(np.clip([u], 0.0, 1.0))[0])
        nearby = np.array([here - 1, here + 1])
        if self._grid.n is not None:
            nearby = nearby[(nearby >= 0) & (nearby < self._grid.n)]
        units = self.snap(self._grid.unit(nearby))
        return units[units != self.snap(np.array([u]))]  # far out, levels share a coordinate

    def level_units(self) -> Vector:
        """Unit coordinates of all levels, `n_levels`-dim, ascending.

        Raises:
            SpaceError: The levels have no end, or are more than `LISTABLE_LEVELS`.
        """
        n = self.n_levels
        if self._grid is None or n is None or n > LISTABLE_LEVELS:
            raise SpaceError(
                f"{self!r} has {'no end of' if n is None else n} levels; level_units() lists at "
                f"most {LISTABLE_LEVELS}: use snap() instead"
            )
        return self._grid.unit(np.arange(n, dtype=np.float64))

    def to_json(self, value: Any) -> Any:
        """A contained value as JSON."""
        return self.cast(value)

    def from_json(self, data: Any) -> Any:
        """The value that `to_json` wrote.

        Raises:
            ConfigError: It is not a value of this domain.
        """
        if not self.contains(data):
            raise ConfigError(f"received {shown(data)}, expected {self.describe()}")
        return self.cast(data)


@dataclass(frozen=True)
class Float(Domain):
    """A real number between two bounds, both included.

    Args:
        low: Lower bound; above 0 if `log`.
        high: Upper bound, at least `low`.
        log: The logarithm is uniform rather than the number.
        step: The number is a multiple of this (so 0.5, not `low + 0.5`): a uniform draw between
            the outermost multiples within the bounds is rounded to the nearest, hence the two
            ends are drawn half as often as the others. Values are decimal multiples of the step:
            0.3, not 0.30000000000000004. None for no step.

    Raises:
        SpaceError: A bound or the step is not such a number, or no multiple of the step lies
            between the bounds, or more than 2**53 do.

    >>> round(Float(1e-4, 1e-2, log=True).to_unit(1e-3), 6)
    0.5
    >>> Float(0, 1, step=0.25).from_unit(0.3)
    0.25
    """

    low: float
    high: float
    log: bool = field(default=False, kw_only=True)
    step: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _normalise(self, _real, "low", "high", "step")
        _check_range(self)
        if not math.isfinite(self.high - self.low):
            raise SpaceError(f"{self!r}: high - low overflows; give a narrower range")
        if self.step is not None:
            _check_resolution(self, max(abs(self.low), abs(self.high)), self.step)
            _check_multiples(self, self.step)

    @property
    def kind(self) -> Kind:
        """Either "continuous" or, with a step, "discrete"."""
        return "continuous" if self._grid is None else "discrete"

    @cached_property
    def _grid(self) -> BoundedGrid | None:
        if self.step is not None:
            first, last = multiples(self.low, self.high, self.step)
            return BoundedGrid(first, last - first + 1, log=self.log, rounded=True)
        # Two neighbouring floats may share their logarithm.
        one = math.log(self.low) == math.log(self.high) if self.log else self.low == self.high
        return BoundedGrid(0, 1) if one else None

    def contains(self, value: Any) -> bool:
        """See `Domain.contains`."""
        if not is_number(value) or not math.isfinite(value):
            return False
        inside = self.low <= value <= self.high or any(
            math.isclose(value, end, rel_tol=REL_TOL) for end in (self.low, self.high)
        )
        if not inside or self.step is None or self._grid is None:
            return inside
        return 0 <= self._level(value) < self._grid.n and _is_multiple(value, self.step)

    def describe(self) -> str:
        """See `Domain.describe`."""
        return _describe_range("a number", self)

    def cast(self, value: Any) -> float:
        """See `Domain.cast`. With a step, the nearest multiple."""
        return float(value) if self.step is None else self._value(self._level(value))

    def _level(self, value: Any) -> int:
        if self.step is None or self._grid is None:
            return 0
        return round(float(value) / self.step) - self._grid.first

    def _value(self, index: int) -> float:
        if self.step is None or self._grid is None:
            return self.low
        # `multiples` counts a bound as a multiple if it is one up to rounding.
        value = multiple(self._grid.first + index, self.step)
        return min(max(value, self.low), self.high)

    def _cdf(self, values: Vector) -> Vector:
        if self.log:
            low = math.log(self.low)
            return (np.log(values) - low) / (math.log(self.high) - low)
        return (values - self.low) / (self.high - self.low)

    def _quantile(self, u: Vector) -> Vector:
        if self.log:
            low = math.log(self.low)
            values = np.exp(low + u * (math.log(self.high) - low))
        else:
            values = self.low + u * (self.high - self.low)
        # Rounding must neither miss the bounds nor pass them.
        values = np.where(u == 0, self.low, np.where(u == 1, self.high, values))
        return np.clip(values, self.low, self.high)


@dataclass(frozen=True)
class Integer(Domain):
    """A whole number between two bounds, both included.

    Args:
        low: Lower bound; above 0 if `log`.
        high: Upper bound, at least `low`.
        log: Small numbers are likelier: k is drawn with chance proportional to log((k + 1) / k).
        step: The number is a multiple of this; `log` then counts in steps. None for no step.

    Near 2**53 levels (with `log`, from 2**46) neighbouring numbers share a coordinate.

    Raises:
        SpaceError: A bound or the step is not such a number, or no multiple of the step lies
            between the bounds, or more than 2**53 do.

    >>> Integer(1, 4).level_units().tolist()
    [0.125, 0.375, 0.625, 0.875]
    >>> [Integer(1, 10, step=3).from_unit(u) for u in (0, 0.5, 1)]
    [3, 6, 9]
    """

    low: int
    high: int
    log: bool = field(default=False, kw_only=True)
    step: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _normalise(self, _whole, "low", "high", "step")
        _check_range(self)
        _check_multiples(self, self._step)

    @property
    def kind(self) -> Kind:
        """Always "discrete"."""
        return "discrete"

    @property
    def _step(self) -> int:
        return 1 if self.step is None else self.step

    @cached_property
    def _grid(self) -> BoundedGrid:
        first, last = multiples(self.low, self.high, self._step)
        return BoundedGrid(first, last - first + 1, log=self.log)

    def contains(self, value: Any) -> bool:
        """See `Domain.contains`."""
        return (
            is_number(value)
            and math.isfinite(value)
            and int(value) == value
            and self.low <= value <= self.high
            and int(value) % self._step == 0
        )

    def describe(self) -> str:
        """See `Domain.describe`."""
        return _describe_range("a whole number", self)

    def cast(self, value: Any) -> int:
        """See `Domain.cast`."""
        return int(value)

    def _level(self, value: Any) -> int:
        return int(value) // self._step - self._grid.first

    def _value(self, index: int) -> int:
        return (self._grid.first + index) * self._step


@dataclass(frozen=True)
class Normal(Domain):
    """A real number with a normal law, without bounds.

    Args:
        mean: Mean.
        sd: Standard deviation, above 0.
        step: The draw is rounded to the nearest multiple of this. None for no step.

    Decoding reaches 8.21 sd either side of the mean. Values are encoded to rel 1e-9 of `sd` up to
    5 sd from the mean; farther out, coordinates crowd against 1 and lose digits.

    Raises:
        SpaceError: An argument is not such a number.

    >>> Normal(10, 2).from_unit(0.5)
    10.0
    >>> Normal(0, 1, step=0.5).from_unit(0.6)
    0.5
    """

    mean: float = 0.0
    sd: float = 1.0
    step: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _normalise(self, _real, "mean", "sd", "step")
        if self.sd <= 0:
            raise SpaceError(f"{self!r}: sd must be above 0, received {self.sd!r}")
        reach = abs(self.mean) + 10 * self.sd
        if not math.isfinite(reach):
            raise SpaceError(f"{self!r}: mean and sd overflow; give smaller ones")
        _check_step(self)
        if self.step is not None:
            _check_resolution(self, reach, self.step)

    @property
    def kind(self) -> Kind:
        """Either "continuous" or, with a step, "discrete"."""
        return "continuous" if self.step is None else "discrete"

    @cached_property
    def _grid(self) -> NormalGrid | None:
        return None if self.step is None else NormalGrid(self.mean, self.sd, self.step)

    def contains(self, value: Any) -> bool:
        """See `Domain.contains`."""
        if not is_number(value) or not math.isfinite(value):
            return False
        if self.step is None:
            return True
        return math.isfinite(float(value) / self.step) and _is_multiple(value, self.step)

    def describe(self) -> str:
        """See `Domain.describe`."""
        return "a finite number" + _describe_step(self.step)

    def cast(self, value: Any) -> float:
        """See `Domain.cast`. With a step, the nearest multiple."""
        return float(value) if self.step is None else self._value(self._level(value))

    def _level(self, value: Any) -> int:
        return 0 if self.step is None else round(float(value) / self.step)

    def _value(self, index: int) -> float:
        return index if self.step is None else multiple(index, self.step)

    def _cdf(self, values: Vector) -> Vector:
        return normal_cdf(values, self.mean, self.sd)

    def _quantile(self, u: Vector) -> Vector:
        return normal_quantile(u, self.mean, self.sd)


class _Listed(Domain):
    """A domain whose values are listed, all equally likely."""

    @property
    @abstractmethod
    def _objects(self) -> Sequence[Any]:
        """The listed objects."""

    @cached_property
    def _index(self) -> ChoiceIndex:
        return ChoiceIndex(self._objects)

    @cached_property
    def _grid(self) -> BoundedGrid:
        return BoundedGrid(0, len(self._objects))

    def contains(self, value: Any) -> bool:
        """Whether `value` is one of those listed: same type and equal, or else only equal."""
        return self._index.find(value) is not None

    def __repr__(self) -> str:
        name = "choices" if isinstance(self, Categorical) else "values"
        comma = "," if len(self._objects) == 1 else ""
        return f"{type(self).__name__}({name}=({', '.join(map(shown, self._objects))}{comma}))"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Listed) or type(other) is not type(self):
            return NotImplemented
        return same(self._objects, other._objects, strict=True, deep=True)

    def __hash__(self) -> int:
        return hash((type(self), len(self._objects)))

    def describe(self) -> str:
        """See `Domain.describe`."""
        listed = ", ".join(shown(o) for o in self._objects[:20])
        return f"one of {listed}" + (", ..." if len(self._objects) > 20 else "")

    def cast(self, value: Any) -> Any:
        """The listed object that `value` is."""
        return self._objects[self._level(value)]

    def _level(self, value: Any) -> int:
        index = self._index.find(value)
        if index is None:
            raise ConfigError(f"received {shown(value)}, expected {self.describe()}")
        return index

    def _value(self, index: int) -> Any:
        return self._objects[index]

    def to_json(self, value: Any) -> Any:
        """The value itself if JSON has it, otherwise `{"choice": its position}`."""
        index = self._level(value)
        listed = self._objects[index]
        finite = not isinstance(listed, float) or math.isfinite(listed)
        return listed if is_primitive(listed) and finite else {"choice": index}

    def from_json(self, data: Any) -> Any:
        """See `Domain.from_json`."""
        if not isinstance(data, dict):
            return super().from_json(data)
        index = data.get("choice")
        if type(index) is not int or not 0 <= index < len(self._objects):
            raise ConfigError(
                f'received {data!r}, expected {{"choice": i}} with i from 0 to '
                f"{len(self._objects) - 1}"
            )
        return self._objects[index]


@dataclass(frozen=True, eq=False, repr=False)
class Categorical(_Listed):
    """One of several objects, of any type, without an order.

    Args:
        choices: The objects, at least one, no two the same. 1, 1.0 and True are different.

    Raises:
        SpaceError: No choices, twice the same, or a domain among them.

    >>> Categorical(["sgd", "adam"]).from_unit(0.7)
    'adam'
    """

    choices: Sequence[Any]

    def __post_init__(self) -> None:
        _normalise(self, _tuple, "choices")
        _check_listed(self)

    @property
    def kind(self) -> Kind:
        """Always "categorical"."""
        return "categorical"

    @property
    def _objects(self) -> Sequence[Any]:
        return self.choices


@dataclass(frozen=True, eq=False, repr=False)
class Ordinal(_Listed):
    """One of several values in order, spaced by rank: neighbours are alike, ends differ most.

    Args:
        values: Numbers, strictly increasing or decreasing, or other objects in the order meant.

    Raises:
        SpaceError: No values, twice the same, numbers out of order, or a domain among them.

    >>> Ordinal([16, 64, 512]).to_unit(64)
    0.5
    >>> Ordinal(["low", "high"]).from_unit(1.0)
    'high'
    """

    values: Sequence[Any]

    def __post_init__(self) -> None:
        _normalise(self, _tuple, "values")
        _check_listed(self)
        if all(is_number(v) for v in self.values) and not is_monotone(self.values):
            raise SpaceError(
                f"{self!r}: numbers must be strictly increasing or decreasing; use Categorical "
                "for values without an order"
            )

    @property
    def kind(self) -> Kind:
        """Always "discrete"."""
        return "discrete"

    @property
    def _objects(self) -> Sequence[Any]:
        return self.values


def is_monotone(numbers: Sequence[Any]) -> bool:
    """Whether numbers strictly increase or strictly decrease.

    >>> is_monotone([1, 2.5, 4]), is_monotone([3, 2, 2])
    (True, False)
    """
    pairs = list(pairwise(numbers))
    return all(a < b for a, b in pairs) or all(a > b for a, b in pairs)


def _normalise(domain: Domain, to: Callable[[str, Any], Any], *names: str) -> None:
    """Replace fields of a new domain by their plain types; a step may be None.

    `to(where, value)` converts one value, or raises a SpaceError that starts with `where`.
    """
    for name in names:
        value = getattr(domain, name)
        if value is not None or name != "step":
            plain = to(f"{type(domain).__name__}: {name}", value)
            object.__setattr__(domain, name, plain)  # the dataclass is frozen


def _real(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise SpaceError(f"{where} must be a number, received {value!r}")
    if not is_number(value) or not math.isfinite(value):
        raise SpaceError(f"{where} must be finite, received {value!r}")
    return float(value)


def _whole(where: str, value: Any) -> int:
    _real(where, value)
    if int(value) != value:
        raise SpaceError(f"{where} must be a whole number, received {value!r}")
    if not -_INT64 <= value <= _INT64:  # an excluded upper bound may be the number after
        raise SpaceError(f"{where} must fit in 64 bits, received {value!r}")
    return int(value)


def _tuple(where: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise SpaceError(f"{where} must be a list of objects, received {value!r}")
    objects = tuple(value)
    if not objects:
        raise SpaceError(f"{where} must hold at least one object, received {value!r}")
    return objects


def _check_range(domain: Float | Integer) -> None:
    if not isinstance(domain.log, bool):
        raise SpaceError(f"{domain!r}: log must be True or False, received {domain.log!r}")
    if domain.low > domain.high:
        raise SpaceError(f"{domain!r}: low must not be above high")
    if domain.log and domain.low <= 0:
        raise SpaceError(f"{domain!r}: with log, low must be above 0, received {domain.low!r}")
    _check_step(domain)


def _check_step(domain: Float | Integer | Normal) -> None:
    if domain.step is not None and domain.step <= 0:
        raise SpaceError(f"{domain!r}: step must be above 0, received {domain.step!r}")


def _check_resolution(domain: Float | Normal, largest: float, step: float) -> None:
    if largest / step >= _EXACT_FLOATS:
        raise SpaceError(
            f"{domain!r}: a float of {largest:g} has no digits for a step of {step}; leave it out"
        )


def _check_multiples(domain: Float | Integer, step: float) -> None:
    first, last = multiples(domain.low, domain.high, step)
    if first > last:
        raise SpaceError(
            f"{domain!r}: no multiple of step={step} lies between low and high; the nearest are "
            f"{last * step} and {first * step}"
        )
    if last - first > _EXACT_FLOATS:
        raise SpaceError(
            f"{domain!r} has {last - first + 1:,} values, more than a search can tell apart (2**53,"
            " the whole numbers that a float holds exactly); give a narrower range or a larger step"
        )


def _check_listed(domain: _Listed) -> None:
    for value in domain._objects:
        try:
            holds_domain = _holds_domain(value)
        except RecursionError:
            raise SpaceError("a choice is nested too deep, or holds itself") from None
        if holds_domain:
            raise SpaceError(
                f"{domain!r}: {shown(value)} is or holds a domain; give a hyperparameter that "
                "exists only for one choice a key of its own beside this one, with a condition: "
                "raytuner.when"
            )
    if domain._index.duplicate is not None:
        i, j = domain._index.duplicate
        raise SpaceError(
            f"{domain!r}: {shown(domain._objects[j])} is listed twice (positions {i} and {j}); "
            "list each once, all are equally likely"
        )


def _holds_domain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_domain(v) for v in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_domain(v) for v in value)
    return isinstance(value, Domain)


def _is_multiple(value: Any, step: float) -> bool:
    return bool(abs(value - round(value / step) * step) <= REL_TOL * max(abs(value), step))


def _describe_step(step: float | None) -> str:
    return "" if step is None else f" that is a multiple of {step}"


def _describe_range(noun: str, domain: Float | Integer) -> str:
    return f"{noun} from {domain.low} to {domain.high}{_describe_step(domain.step)}"
