"""A search space: the one encoder between configurations and the unit cube."""

from __future__ import annotations

import copy
import difflib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from raytuner.errors import ConfigError, SpaceError
from raytuner.space import spec as specs
from raytuner.space.choices import is_number, is_primitive, same, shown
from raytuner.space.conditions import Activity, Requirement, When, candidates, holds
from raytuner.space.constraints import Constraint, Rule, constraint, pulled_back
from raytuner.space.domains import LISTABLE_LEVELS, REL_TOL, Domain, Kind
from raytuner.space.fidelity import Fidelity, ordered
from raytuner.space.lookalikes import advice_on, lookalikes
from raytuner.space.options import OPTION, Missing, Options, has_options, like_group, unfolded
from raytuner.space.spec import Path, path_name

Config = dict[str, Any]
"""Hyperparameter values by name; dicts and lists may be nested."""

Matrix = npt.NDArray[np.float64]

Mask = npt.NDArray[np.bool_]

_MISSING = object()

_SAME_LEVEL = 1e-9

# The coordinate of a hyperparameter that does not exist in a configuration.
ABSENT = 0.5

# Up to so many combinations of values are gone through for those that keep the constraints.
_LISTABLE = 20_000
# Points that are drawn, so many at a time, before what is allowed counts as not to be found.
_DRAWS, _AT_ONCE = 100_000, 500


@dataclass(frozen=True)
class Column:
    """One hyperparameter that varies: one dimension of the unit cube.

    Attributes:
        path: Keys and list positions that lead to it.
        name: The path's keys joined by "/".
        domain: What it may be.
        requires: Conditions, all of which must hold for it to exist; empty if it always does.
        is_fidelity: Whether it says how much of the real thing a trial is (see `fidelity`).
    """

    path: Path
    name: str
    domain: Domain
    requires: tuple[Requirement, ...] = ()
    is_fidelity: bool = False

    @property
    def kind(self) -> Kind:
        """The domain's kind."""
        return self.domain.kind

    @property
    def n_levels(self) -> int | None:
        """The domain's number of levels, None if there is no end to them."""
        return self.domain.n_levels


@dataclass(frozen=True)
class _Broken:
    """A constraint that does not hold, and the values that break it, by name.

    Its text is made only where it is shown: a search tries thousands of such configurations.
    """

    constraint: Constraint
    values: Mapping[str, Any]

    def __str__(self) -> str:
        received = ", ".join(f"{name}={shown(value)}" for name, value in self.values.items())
        return f"received {received}, expected to keep the constraint {self.constraint.name}"


class Space:
    """All configurations that a search may try.

    Args:
        template: A configuration with domains in the place of what varies. Dicts, lists and
            tuples may be nested; every other value is a constant. A domain with one value is a
            constant too. What is under conditions (see `when`) is left out of configurations in
            which they do not hold; its coordinate is then `ABSENT`. What is marked (see
            `fidelity`) says how much of the real thing a trial is.
        constraints: What every configuration must keep: strings such as `"layers * units <= 1024"`
            or functions of the full configuration (see `raytuner.space.constraints`).

    Raises:
        SpaceError: Nothing varies, two hyperparameters have the same name, a value cannot be
            used, a condition is on something unknown, on itself or never true, or a fidelity has
            no order or is under conditions: named with the key path. All that varies are
            fidelities. A constraint cannot be read, or no configuration keeps all of them: none of
            a finite space, or none of 100,000 draws.

    Attributes:
        columns: What varies, in the order of definition; the d dimensions of the unit cube.
        constraints: What every configuration keeps.
        dim: d.
        fidelities: Positions of the columns that are fidelities.

    >>> from raytuner.space import Categorical, Float
    >>> space = Space(
    ...     {
    ...         "lr": Float(1e-4, 1e-2, log=True),
    ...         "net": {"act": Categorical(["relu", "tanh"]), "layers": 3},
    ...     }
    ... )
    >>> [column.name for column in space.columns]
    ['lr', 'net/act']
    >>> space.decode(np.array([[0.0, 0.9]]))
    [{'lr': 0.0001, 'net': {'act': 'tanh', 'layers': 3}}]
    >>> space.encode([{"lr": 1e-2, "net": {"act": "relu"}}]).tolist()
    [[1.0, 0.25]]
    """

    def __init__(
        self, template: Mapping[str, Any], constraints: Sequence[Rule | Constraint] = ()
    ) -> None:
        if not isinstance(template, Mapping):
            raise SpaceError(f"a space is made from a dict, received {template!r}")
        self._template = _checked(template, ())
        self._has_options = has_options(self._template)
        leaves = self.leaves()
        marked = {path for path, node in _walk(self._template, ()) if isinstance(node, Fidelity)}
        columns = [
            Column(path, path_name(path), x, is_fidelity=path in marked)
            for path, x in leaves.items()
            if _varies(x)
        ]
        if not columns:
            raise SpaceError(nothing_varies(template))
        names = [column.name for column in columns]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise SpaceError(f"{twice}: two hyperparameters have this name; rename one")
        constants = {
            path_name(path): leaf.from_unit(0.5) if isinstance(leaf, Domain) else leaf
            for path, leaf in leaves.items()
            if not _varies(leaf)
        }
        guards = {
            path: _requirements(path, node, columns, constants)
            for path, node in _walk(self._template, ())
            if isinstance(node, When)
        }
        self._guards = {path: found for path, found in guards.items() if found}
        self.columns: tuple[Column, ...] = tuple(
            replace(column, requires=self._requirements_of(column.path)) for column in columns
        )
        self.fidelities = tuple(j for j, c in enumerate(self.columns) if c.is_fidelity)
        self._full = np.array([self.columns[j].domain.snap(np.ones(1))[0] for j in self.fidelities])
        self._check_fidelities()
        self._by_name = {column.name: column for column in self.columns}
        self._activity = Activity([column.requires for column in self.columns], names)
        # Paths of everything that varies or holds what does.
        self._needed = {c.path[:i] for c in self.columns for i in range(len(c.path) + 1)}
        by_name = {path_name(path): leaf for path, leaf in leaves.items()}
        self.constraints: tuple[Constraint, ...] = tuple(
            constraint(rule, by_name) for rule in _rules(constraints)
        )
        self._names = {path_name(path): path for path in leaves}
        self._witness = self._find_allowed()

    def __repr__(self) -> str:
        rules = f", constraints={[c.name for c in self.constraints]}" if self.constraints else ""
        return f"Space({self._template!r}{rules})"

    def constrained(self, constraints: Sequence[Rule | Constraint]) -> Space:
        """The same space with more constraints; one that it has already is no second one.

        Raises:
            SpaceError: As for the constructor.
        """
        known = {one.rule for one in self.constraints}
        more = [rule for rule in _rules(constraints) if _rule_of(rule) not in known]
        return Space(self._template, [*self.constraints, *more]) if more else self

    @property
    def dim(self) -> int:
        """Number of columns d."""
        return len(self.columns)

    @property
    def cardinality(self) -> float:
        """Number of different configurations; `math.inf` if there is no end to them.

        With conditions and more than a million combinations of values, those count that differ
        only in what does not exist; with constraints and more than 20,000, those that break them.
        """
        return self._cardinality

    @cached_property
    def _cardinality(self) -> float:
        product = math.prod(
            math.inf if column.n_levels is None else float(column.n_levels)
            for column in self.columns
        )
        if self.constraints and product <= _LISTABLE:
            return float(len(self.listed()))
        if not self._guards or product > LISTABLE_LEVELS:
            return product
        return float(len(self.listed()))

    def listed(self) -> Matrix:
        """Unit coordinates of every configuration, `cardinality x d`-dim, of a finite space.

        Raises:
            SpaceError: There are more levels than can be listed (`Domain.level_units`).
        """
        levels = np.meshgrid(*(c.domain.level_units() for c in self.columns), indexing="ij")
        every = np.stack([axis.ravel() for axis in levels], axis=1)
        if self._guards:
            every = np.unique(self.snap(every), axis=0)
        return every[self.allowed(every)]

    def allowed(self, X: Matrix) -> Mask:
        """Whether the configurations at unit coordinates keep all constraints.

        Args:
            X: `n x d`-dim.

        Returns:
            `n`-dim.
        """
        if not self.constraints:
            return np.ones(len(X), dtype=bool)
        return np.array([self._broken(config) is None for config in self.decode(X)], dtype=bool)

    def pulled_back(self, start: Matrix, X: Matrix) -> Matrix:
        """`X` moved towards allowed points as far as it must to keep the constraints.

        Args:
            start: `n x d`-dim, allowed.
            X: `n x d`-dim.

        Returns:
            `n x d`-dim, on the way from `start` to `X`.
        """
        return pulled_back(self.allowed, start, X)

    def draw(self, rng: np.random.Generator, n: int, most: int = _DRAWS) -> Matrix:
        """`n` random points that keep the constraints.

        Args:
            rng: Their source.
            n: How many.
            most: Where so many draws do not hold them, the rest are draws that are moved towards
                those found.

        Returns:
            `n x d`-dim.
        """
        found = self._drawn(rng, n, most)
        if len(found) < n:
            known = np.vstack([found, self._witness])
            others = rng.random((n - len(found), self.dim))
            start = known[rng.integers(len(known), size=len(others))]
            found = np.vstack([found, self.pulled_back(start, others)])
        return found

    def _drawn(self, rng: np.random.Generator, n: int, most: int) -> Matrix:
        """Up to `n` points that keep the constraints, out of about `most`."""
        X = rng.random((n, self.dim))
        found, drawn = X[self.allowed(X)], n
        while len(found) < n and drawn < most:
            X = rng.random((_AT_ONCE, self.dim))
            found, drawn = np.vstack([found, X[self.allowed(X)]]), drawn + _AT_ONCE
        return found[:n]

    def active(self, X: Matrix) -> Mask:
        """Whether each hyperparameter exists at unit coordinates.

        Args:
            X: `n x d`-dim.

        Returns:
            `n x d`-dim.
        """
        return self._activity(self._levels(X))

    def in_full(self, X: Matrix) -> Matrix:
        """`X`, `n x d`-dim, with every fidelity at the full one."""
        if not self.fidelities:
            return X
        full = np.array(X, dtype=np.float64)
        full[:, self.fidelities] = self._full
        return full

    def is_full(self, X: Matrix) -> Mask:
        """Whether points, `n x d`-dim, are at full fidelity, `n`-dim; all are without one."""
        full = np.ones(len(X), dtype=bool)
        for j, unit in zip(self.fidelities, self._full, strict=True):
            full &= np.abs(self.columns[j].domain.snap(np.asarray(X)[:, j]) - unit) < _SAME_LEVEL
        return full

    @property
    def template(self) -> Mapping[str, Any]:
        """What the space was made from; not to be changed."""
        found: Mapping[str, Any] = self._template
        return found

    def leaves(self) -> dict[Path, Any]:
        """Every domain and constant by its path, in order."""
        return {
            path: node
            for path, node in _walk(self._template, ())
            if not isinstance(node, When | Fidelity | Mapping | list | tuple)
        }

    def sample(self, rng: np.random.Generator, n: int) -> list[Config]:
        """`n` independent configurations with Ray Tune's own law, full ones as `decode` gives.

        Under constraints, its law among the configurations that keep them; see `draw`.
        """
        return self.decode(self.draw(rng, n))

    def validate(self, config: Mapping[str, Any]) -> None:
        """Check a configuration.

        Constants may be left out. One that is there and a plain number or string must be right.

        Raises:
            ConfigError: Naming the key, what was received and what would be right: a key missing
                or unknown, a value of the wrong type or outside of its domain, or one that does
                not exist for the others; or the constraint that the values break.
        """
        self._validate(self._template, config, ())
        self._check_conditions(config)
        if self.constraints:
            broken = self._broken(self.load(self.dump(config)))
            if broken is not None:
                raise ConfigError(str(broken))

    def _check_conditions(self, config: Mapping[str, Any]) -> None:
        if not self._guards:
            return
        config = self.unfolded(config)
        X = self._encoded([config])
        for path, there in self._there(X).items():
            parent, key = value_at(config, path[:-1]), path[-1]
            if not there[0] and isinstance(parent, Mapping) and key in parent:
                raise ConfigError(
                    f"{path_name(path)}: received {parent[key]!r}, expected no such key, since"
                    f" it is there only when {self.conditions(path)}"
                )

    def encode(self, configs: Sequence[Mapping[str, Any]]) -> Matrix:
        """Unit coordinates of configurations.

        Args:
            configs: n configurations. Only what varies is looked at.

        Returns:
            `n x d`-dim, float64, in [0, 1]; `ABSENT` for what does not exist in a configuration.

        Raises:
            ConfigError: A hyperparameter is missing or outside of its domain.
        """
        return self._encoded([self.unfolded(config) for config in configs])

    def unfolded(
        self, config: Mapping[str, Any], missing: Missing = "constants"
    ) -> Mapping[str, Any]:
        """Return a configuration in which each value lies at its column's path.

        It differs from the configuration where the template has `Options`.

        Args:
            config: The configuration.
            missing: What it may leave out.

        Raises:
            ConfigError: A value is none of its options.
        """
        if not self._has_options:
            return config
        found: Config = unfolded(self._template, config, missing)
        return found

    def _encoded(self, configs: Sequence[Mapping[str, Any]]) -> Matrix:
        X = np.empty((len(configs), self.dim))
        missing: list[tuple[int, int]] = []
        for j, column in enumerate(self.columns):
            values = [_value_at(config, column) for config in configs]
            if column.requires:
                missing += [(i, j) for i, value in enumerate(values) if value is _MISSING]
                stand_in = column.domain.from_unit(ABSENT)
                values = [stand_in if value is _MISSING else value for value in values]
            X[:, j] = column.domain.to_units(values)
        if not self._guards:
            return X
        active = self.active(X)
        for i, j in missing:
            if active[i, j]:
                raise ConfigError(_missing(self.columns[j].name, self.columns[j].domain))
        X[~active] = ABSENT
        return X

    def decode(self, X: Matrix) -> list[Config]:
        """Full configurations at unit coordinates.

        Args:
            X: `n x d`-dim. What lies outside of [0, 1] is moved to it.

        Returns:
            n configurations of plain Python values and the choice objects themselves. Containers
            and constants are copies: changing one configuration changes no other.
        """
        X = self._coordinates(X)
        values = [c.domain.from_units(X[:, j]) for j, c in enumerate(self.columns)]
        there = self._there(X)
        return [
            self._fill(row, {path for path, is_there in there.items() if not is_there[i]})
            for i, row in enumerate(zip(*values, strict=True))
        ]

    def snap(self, X: Matrix) -> Matrix:
        """Unit coordinates of the configurations that `X`, `n x d`-dim, decodes to."""
        snapped = self._levels(X)
        return np.where(self._activity(snapped), snapped, ABSENT) if self._guards else snapped

    def _levels(self, X: Matrix) -> Matrix:
        """`X`, `n x d`-dim, each coordinate moved to its level, also of what does not exist."""
        X = self._coordinates(X)
        return np.stack([c.domain.snap(X[:, j]) for j, c in enumerate(self.columns)], axis=1)

    def _broken(self, config: Config) -> _Broken | None:
        """Return the first constraint that a full configuration breaks, None if it keeps all."""
        values, flat = {}, self.unfolded(config)
        for name in {name for c in self.constraints for name in c.names}:
            value = value_at(flat, self._names[name], _MISSING)
            if value is not _MISSING:
                values[name] = value
        for one in self.constraints:
            if not one.holds(config, values):
                used = {name: values[name] for name in one.names} if one.names else config
                return _Broken(one, used)
        return None

    def _check_fidelities(self) -> None:
        for j in self.fidelities:
            if self.columns[j].requires:
                raise SpaceError(
                    f"{self.columns[j].name}: a fidelity must be there in every configuration, and"
                    " this one is under conditions; leave them out"
                )
        if len(self.fidelities) == self.dim:
            names = ", ".join(column.name for column in self.columns)
            raise SpaceError(
                f"all that varies are fidelities ({names}): there is nothing to search; mark those"
                " only that a larger training has more of"
            )

    def _find_allowed(self) -> Matrix:
        """A point that keeps the constraints, `1 x d`-dim."""
        if not self.constraints:
            return np.full((1, self.dim), 0.5)
        found = self._drawn(np.random.default_rng(0), 1, _DRAWS)
        product = math.prod(c.n_levels or math.inf for c in self.columns)
        if not len(found) and product <= _LISTABLE:
            found = self.listed()[:1]
        if not len(found):
            tried = (
                "none of its configurations" if product <= _LISTABLE else f"none of {_DRAWS} draws"
            )
            names = "the constraint" if len(self.constraints) == 1 else "all of the constraints"
            raise SpaceError(
                f"{tried} keeps {names} {', '.join(c.name for c in self.constraints)}; is it what"
                " you mean? Widen a range, or loosen it"
            )
        if self.fidelities:
            self._check_full_is_allowed()
        return self.snap(found)

    def _check_full_is_allowed(self) -> None:
        if math.prod(c.n_levels or math.inf for c in self.columns) <= _LISTABLE:
            tried, found = "no configuration", bool(self.is_full(self.listed()).any())
        else:
            tried, rng = f"none of {_DRAWS} draws", np.random.default_rng(0)
            parts = (rng.random((_AT_ONCE, self.dim)) for _ in range(_DRAWS // _AT_ONCE))
            found = any(self.allowed(self.in_full(part)).any() for part in parts)
        if not found:
            raise SpaceError(
                f"{tried} at full fidelity"
                f" ({', '.join(self.columns[j].name for j in self.fidelities)}) keeps"
                f" {', '.join(c.name for c in self.constraints)}; the answer is looked for there:"
                " loosen it, or lower the fidelity's upper end"
            )

    def to_spec(self) -> dict[str, Any]:
        """The space as data for JSON or TOML, in the format of `raytuner.space.spec`."""
        spec = {str(key): value for key, value in specs.to_spec(self._template).items()}
        if not self.constraints:
            return spec
        return specs.constrained_spec(spec, [one.rule for one in self.constraints])

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Space:
        """The space that a spec describes.

        Raises:
            SpaceError: Naming the key path of what is wrong and what is allowed.

        >>> Space.from_spec({"lr": {"type": "float", "low": 0, "high": 1}, "epochs": 3})
        Space({'lr': Float(low=0.0, high=1.0, log=False, step=None), 'epochs': 3})
        """
        if not isinstance(spec, Mapping):
            raise SpaceError(f"a spec is a table, received {spec!r}")
        try:
            spec, constraints = specs.parted(spec)
            return cls(specs.from_spec(spec), constraints)
        except RecursionError:
            raise SpaceError("the spec is nested too deep to be read") from None

    def dump(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What varies in a configuration, as JSON, by column name; what does not exist is left out.

        A choice that JSON does not have is written as `{"choice": its position}`.

        Raises:
            ConfigError: A hyperparameter is missing or outside of its domain.
        """
        config = self.unfolded(config)
        there = self.active(self._encoded([config]))[0] if self._guards else np.ones(self.dim, bool)
        return {
            column.name: column.domain.to_json(_value_at(config, column))
            for column, is_there in zip(self.columns, there, strict=True)
            if is_there
        }

    def load(self, data: Mapping[str, Any]) -> Config:
        """The full configuration of which `dump` wrote what varies.

        Raises:
            ConfigError: A name is missing or unknown, or a value is outside of its domain.
        """
        for name in data:
            if name not in self._by_name:
                raise ConfigError(_unknown(str(name), name, data[name], self._by_name))
        values = []
        for column in self.columns:
            if column.name not in data:
                if not column.requires:
                    raise ConfigError(_missing(column.name, column.domain))
                values.append(column.domain.from_unit(ABSENT))
                continue
            try:
                values.append(column.domain.from_json(data[column.name]))
            except ConfigError as error:
                raise ConfigError(f"{column.name}: {error}") from None
        if not self._guards:
            return self._fill(values, set())
        units = [c.domain.to_unit(v) for c, v in zip(self.columns, values, strict=True)]
        X = np.array([units])
        for column, there in zip(self.columns, self.active(X)[0], strict=True):
            if there and column.name not in data:
                raise ConfigError(_missing(column.name, column.domain))
        return self._fill(values, {path for path, there in self._there(X).items() if not there[0]})

    def _fill(self, values: Sequence[Any], absent: Collection[Path]) -> Config:
        config: Config = _filled(self._template, (), iter(values), absent)
        return config

    def _there(self, X: Matrix) -> dict[Path, Mask]:
        """Whether each part that is under conditions is there, `n`-dim, at `n x d` coordinates."""
        if not self._guards:
            return {}
        levels = self._levels(X)
        active = self._activity(levels)
        return {
            path: np.logical_and.reduce([holds(r, levels, active) for r in requirements])
            for path, requirements in self._guards.items()
        }

    def _requirements_of(self, path: Path) -> tuple[Requirement, ...]:
        """The conditions of whatever lies at a path, and of all that holds it."""
        above = (path[:i] for i in range(1, len(path) + 1))
        return tuple(r for part in above for r in self._guards.get(part, ()))

    def conditions(self, path: Path) -> str:
        """Return the conditions of what lies at a path, in words."""
        words = []
        for requirement in self._requirements_of(path):
            column = self.columns[requirement.column]
            values = [repr(column.domain.from_unit(u)) for u in requirement.units]
            words.append(f"{column.name} is {' or '.join(values)}")
        return " and ".join(words)

    def _coordinates(self, X: Matrix) -> Matrix:
        X = np.asarray(X, dtype=np.float64)
        if X.ndim != 2 or X.shape[1] != self.dim:
            raise ConfigError(f"received coordinates of shape {X.shape}, expected (n, {self.dim})")
        if np.isnan(X).any():
            raise ConfigError("received coordinates that are NaN, expected numbers in [0, 1]")
        return np.clip(X, 0, 1)

    def _validate(self, node: Any, value: Any, path: Path) -> None:
        """Check `value`, found at `path`, against that part of the template."""
        name = path_name(path) or "the configuration"
        if isinstance(node, When):
            self._validate(node.node, value, path)
        elif isinstance(node, Fidelity):
            self._validate(node.domain, value, path)
        elif isinstance(node, Domain):
            if not node.contains(value):
                raise ConfigError(_unfit(name, value, node))
        elif isinstance(node, Options):
            try:
                chosen = str(unfolded(node, value)[OPTION])
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from None
            self._validate(node[chosen], value, (*path, chosen))
        elif isinstance(node, Mapping):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{name}: received {value!r}, expected a dict")
            for key in value:
                if key not in node:
                    raise ConfigError(_unknown(path_name((*path, key)), key, value[key], node))
            for key, child in node.items():
                if key in value:
                    self._validate(child, value[key], (*path, key))
                elif (*path, key) in self._needed and not isinstance(child, When):
                    raise ConfigError(_missing(path_name((*path, key)), child))
        elif isinstance(node, list | tuple):
            if not isinstance(value, list | tuple) or len(value) != len(node):
                raise ConfigError(f"{name}: received {value!r}, expected {len(node)} items")
            for i, (child, item) in enumerate(zip(node, value, strict=True)):
                self._validate(child, item, (*path, i))
        elif is_primitive(node) and is_primitive(value) and not _equal(node, value):
            raise ConfigError(f"{name}: received {value!r}, expected the constant {node!r}")


def nothing_varies(template: Mapping[str, Any]) -> str:
    """Return the message of the error about a space without hyperparameters."""
    found = lookalikes(template)
    return (
        f"nothing varies in {dict(template)!r}: a space needs at least one "
        f"hyperparameter with two values or more{f'; {advice_on(found)}' if found else ''}"
    )


def _rules(constraints: Any) -> list[Any]:
    if isinstance(constraints, str) or not isinstance(constraints, Sequence):
        raise SpaceError(
            f"constraints are a list of strings and functions, received {constraints!r}"
        )
    return list(constraints)


def _rule_of(rule: Any) -> Any:
    return rule.rule if isinstance(rule, Constraint) else rule


def _varies(leaf: Any) -> bool:
    return isinstance(leaf, Domain) and leaf.n_levels != 1


def _checked(node: Any, path: Path) -> Any:
    """A copy of a template, containers plain, after a check of its leaves."""
    if isinstance(node, Mapping):
        return like_group(node, {k: _checked(value, (*path, k)) for k, value in node.items()})
    if isinstance(node, When):
        if not path or isinstance(path[-1], int):
            raise SpaceError(
                f"{path_name(path) or 'the space'}: only the value of a key in a dict can be under"
                " conditions; an item of a list cannot be left out"
            )
        return When(_checked(node.node, path), node.conditions)
    if isinstance(node, Fidelity):
        return Fidelity(ordered(node.domain, path_name(path)))
    if isinstance(node, list | tuple):
        items = [_checked(item, (*path, i)) for i, item in enumerate(node)]
        return like(node, items)
    if isinstance(node, Domain):
        return node
    if type(node).__module__ == "ray.tune.search.sample":  # by name: this room does without ray
        raise SpaceError(
            f"{path_name(path)}: received Ray Tune's {type(node).__name__}; translate the whole "
            "space with raytuner.search.tune_space.space_from_tune"
        )
    try:
        return copy.deepcopy(node)
    except Exception as error:  # whatever an object's own code may raise
        raise SpaceError(
            f"{path_name(path)}: {shown(node)} cannot be copied ({error}); keep it out of the "
            "space and hand it to the trainable, for instance with tune.with_parameters"
        ) from None


def like(node: list[Any] | tuple[Any, ...], items: list[Any]) -> Any:
    """The items in a container of the same kind; a named tuple stays one."""
    if isinstance(node, list):
        return items
    return type(node)(*items) if hasattr(node, "_fields") else tuple(items)


def _walk(node: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Paths and parts of a template, each before what it holds, in order."""
    yield path, node
    if isinstance(node, When):
        yield from _walk(node.node, path)
    elif isinstance(node, Fidelity):
        yield path, node.domain
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _walk(value, (*path, key))
    elif isinstance(node, list | tuple):
        for i, item in enumerate(node):
            yield from _walk(item, (*path, i))


def _requirements(
    path: Path, node: When, columns: Sequence[Column], constants: Mapping[str, Any]
) -> tuple[Requirement, ...]:
    """What the conditions of the part at `path` come to; nothing, if they hold always."""
    where, positions = path_name(path), {column.name: j for j, column in enumerate(columns)}
    found = []
    for name, values in node.conditions:
        known = {**positions, **constants}
        full = next((f for f in candidates(name, path[:-1]) if f in known), None)
        if full is None:
            hint = _unknown(where, name, values, known).partition("; known here: ")[2]
            raise SpaceError(f"{where}: it depends on {name!r}, which is not known here: {hint}")
        if full not in positions:
            if not any(_equal(constants[full], value) for value in values):
                raise SpaceError(
                    f"{where}: it depends on {full} being {' or '.join(map(repr, values))}, which"
                    f" is never so: {full} is always {constants[full]!r}"
                )
            continue
        j = positions[full]
        domain = columns[j].domain
        if domain.n_levels is None:
            raise SpaceError(
                f"{where}: it depends on {full}, which is {domain.describe()}; a condition needs a"
                " choice, whole numbers or a step"
            )
        for value in values:
            if not domain.contains(value):
                raise SpaceError(
                    f"{where}: it depends on {full} being {value!r}, which is never so: {full} is"
                    f" {domain.describe()}"
                )
        found.append(Requirement(j, tuple(domain.to_unit(value) for value in values)))
    return tuple(found)


def _filled(node: Any, path: Path, values: Iterator[Any], absent: Collection[Path]) -> Any:
    """A configuration: the template with the next of `values` in each varying leaf's place.

    What is `absent` is left out; its values are used up all the same.
    """
    if isinstance(node, When):
        return _filled(node.node, path, values, absent)
    if isinstance(node, Fidelity):
        return _filled(node.domain, path, values, absent)
    if isinstance(node, Mapping):
        filled = {key: _filled(value, (*path, key), values, absent) for key, value in node.items()}
        if isinstance(node, Options):
            return filled[str(filled[OPTION])]
        return {key: value for key, value in filled.items() if (*path, key) not in absent}
    if isinstance(node, list | tuple):
        items = [_filled(item, (*path, i), values, absent) for i, item in enumerate(node)]
        return like(node, items)
    if isinstance(node, Domain):
        return next(values) if _varies(node) else node.from_unit(0.5)
    return copy.deepcopy(node)


def _value_at(config: Mapping[str, Any], column: Column) -> Any:
    """The checked value of one hyperparameter in a configuration.

    `_MISSING` if it is not there and need not be.
    """
    value = value_at(config, column.path, _MISSING)
    if value is _MISSING and column.requires:
        return _MISSING
    if value is _MISSING:
        raise ConfigError(_missing(column.name, column.domain))
    if not column.domain.contains(value):
        raise ConfigError(_unfit(column.name, value, column.domain))
    return value


def value_at(config: Any, path: Path, default: Any = None) -> Any:
    """What lies at a path of a configuration; ``default`` if nothing does."""
    for key in path:
        inside = key in config if isinstance(config, Mapping) else _is_item(key, config)
        if not inside:
            return default
        config = config[key]
    return config


def _is_item(key: str | int, value: Any) -> bool:
    return isinstance(value, list | tuple) and isinstance(key, int) and key < len(value)


def _equal(constant: Any, value: Any) -> bool:
    if is_number(constant) and is_number(value):
        both_nan = math.isnan(constant) and math.isnan(value)
        return both_nan or math.isclose(constant, value, rel_tol=REL_TOL)
    return same(constant, value, strict=False)


def _unfit(name: str, value: Any, domain: Domain) -> str:
    return f"{name}: received {shown(value)} ({type(value).__name__}), expected {domain.describe()}"


def _missing(name: str, node: Any) -> str:
    expected = node.describe() if isinstance(node, Domain) else "a group of hyperparameters"
    return f"{name}: missing, expected {expected}"


def _unknown(name: str, key: Any, value: Any, known: Iterable[Any]) -> str:
    by_lower = {str(k).lower(): k for k in known}
    close = difflib.get_close_matches(str(key).lower(), by_lower, n=1)
    hint = f"; did you mean {by_lower[close[0]]!r}?" if close else ""
    listed = ", ".join(map(str, known)) or "none"
    return f"{name}: unknown key (received {value!r}); known here: {listed}{hint}"
