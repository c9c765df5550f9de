"""A search space: the encoder between configurations and the unit cube."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import compress
from typing import Any

import numpy as np

from raytuner.errors import ConfigError, SpaceError
from raytuner.space import spec as specs
from raytuner.space.columns import SAME_LEVEL, Activity, Mask, Matrix, columns_and_guards, needs_of
from raytuner.space.constraints import Constraint, Rule, constraint, rules_of
from raytuner.space.lookalikes import nothing_varies
from raytuner.space.template import (
    MISSING,
    Options,
    Path,
    check,
    checked_leaf,
    filled,
    is_leaf,
    named,
    path_name,
    rebuilt,
    unfolded,
    unknown,
    value_at,
    varies,
    walk,
)

Config = dict[str, Any]
"""Hyperparameter values by name; dicts and lists may be nested."""

ABSENT = 0.5
"""The coordinate of a hyperparameter that does not exist in a configuration."""

# Spaces with at most this many combinations of values are checked completely for allowed ones.
_LISTABLE = 20_000
# Points that are drawn, so many at a time, before what is allowed counts as not to be found.
_DRAWS, _AT_ONCE = 100_000, 100
_HALVINGS = 12  # a point is pulled back to within this many halvings of the boundary


class Space:
    """A search space: all configurations that a search may try.

    Args:
        template: A configuration with domains in place of the hyperparameters. Dicts, lists and
            tuples may be nested. Every other value is a constant, and so is a domain with one
            value. A conditional part (see `when`) is left out of configurations in which its
            conditions do not hold; its coordinate is then `ABSENT`. A fidelity (see `Fidelity`)
            says how close a trial is to the real training.
        constraints: Constraints on every configuration: strings such as
            `"layers * units <= 1024"`, or functions of the full configuration (see
            `raytuner.space.constraints`).

    Raises:
        SpaceError: Nothing but fidelities varies. Two hyperparameters have the same name. A value
            cannot be used. A condition has an unknown name, depends on itself, or never holds. A
            fidelity has no order or has conditions. A constraint cannot be parsed. None of the
            configurations (all, or 100,000 draws) satisfies all constraints.

    Attributes:
        columns: The hyperparameters that vary, in order: the d dimensions of the unit cube.
        constraints: The constraints on every configuration.
        fidelities: Positions of the columns that are fidelities.
        template: The template; do not change it.

    Examples:
        >>> from raytuner.space import Categorical, Float
        >>> space = Space({"lr": Float(0.1, 1), "net": {"act": Categorical(["a", "b"]), "n": 3}})
        >>> [column.name for column in space.columns]
        ['lr', 'net/act']
        >>> space.decode([[0.0, 0.9]])
        [{'lr': 0.1, 'net': {'act': 'b', 'n': 3}}]
        >>> space.encode([{"lr": 1, "net": {"act": "a"}}]).tolist()
        [[1.0, 0.25]]
    """

    def __init__(
        self, template: Mapping[str, Any], constraints: Sequence[Rule | Constraint] = ()
    ) -> None:
        if not isinstance(template, Mapping):
            raise SpaceError(f"a space needs a dict, received {template!r}")
        self.template: Mapping[str, Any] = rebuilt(template, checked_leaf)
        parts = list(walk(self.template))
        self._has_options = any(isinstance(node, Options) for _, node in parts)
        self._leaves = {path: node for path, node in parts if is_leaf(node)}
        if not any(map(varies, self._leaves.values())):
            raise SpaceError(nothing_varies(template))
        self.columns, self._guards = columns_and_guards(parts)
        self._parents = {need.column for needs in self._guards.values() for need in needs}
        self._activity = Activity(self.columns)
        self.dim = len(self.columns)
        self.fidelities = tuple(j for j, c in enumerate(self.columns) if c.is_fidelity)
        self._full = np.array([self.columns[j].domain.snap(np.ones(1))[0] for j in self.fidelities])
        counts = [c.domain.n_reachable or math.inf for c in self.columns]
        self._combinations = math.prod(map(float, counts))
        paths = {path_name(path): path for path in self._leaves}
        self.constraints = tuple(constraint(rule, paths) for rule in rules_of(constraints))
        self._named = {name: paths[name] for one in self.constraints for name in one.names}
        if self.constraints:
            self._witness = self._find_witness()

    def __repr__(self) -> str:
        rules = f", constraints={[c.name for c in self.constraints]}" if self.constraints else ""
        return f"Space({self.template!r}{rules})"

    def constrained(self, constraints: Sequence[Rule | Constraint]) -> Space:
        """Return the space with more constraints; duplicates are ignored."""
        rules = [one.rule for one in self.constraints]
        for one in rules_of(constraints):
            if one not in rules:
                rules.append(one)
        return Space(self.template, rules) if len(rules) > len(self.constraints) else self

    def leaves(self) -> dict[Path, Any]:
        """Return every domain and constant by path, in order."""
        return self._leaves

    def conditions(self, path: Path) -> str:
        """Return the conditions of the part at a path, as text."""
        words = []
        for need in needs_of(path, self._guards):
            column = self.columns[need.column]
            values = map(repr, map(column.domain.from_unit, need.units))
            words.append(f"{column.name} is {' or '.join(values)}")
        return " and ".join(words)

    def active(self, X: Matrix) -> Mask:
        """Return whether each hyperparameter exists, `n x d`-dim, at `n x d`-dim coordinates."""
        return self._activity(self._levels(X, self._parents))

    def _absent(self, X: Matrix, active: Mask) -> list[set[Path]]:
        """Return the paths of the parts that do not exist at each of n points, `n x d`-dim."""
        found: list[set[Path]] = [set() for _ in X]
        for path, needs in self._guards.items():
            exists = np.logical_and.reduce([need.holds(X, active) for need in needs])
            for i in np.flatnonzero(~exists):
                found[i].add(path)
        return found

    def snap(self, X: Matrix) -> Matrix:
        """Return the coordinates, `n x d`-dim, of the configurations that `X` decodes to."""
        snapped = self._levels(X, range(self.dim))
        snapped[~self._activity(snapped)] = ABSENT
        return snapped

    def _levels(self, X: Matrix, columns: Iterable[int]) -> Matrix:
        """Return `X`, clipped to the cube, with the coordinates of some columns at their levels."""
        X = np.asarray(X, dtype=np.float64)
        if X.ndim != 2 or X.shape[1] != self.dim:
            raise ConfigError(f"received coordinates of shape {X.shape}, expected (n, {self.dim})")
        if np.isnan(X).any():
            raise ConfigError("received coordinates that are NaN, expected numbers in [0, 1]")
        X = X.clip(0, 1)
        for j in columns:
            X[:, j] = self.columns[j].domain.snap(X[:, j])
        return X

    def in_full(self, X: Matrix) -> Matrix:
        """Return `X`, `n x d`-dim, with every fidelity at its full value."""
        if not self.fidelities:
            return X
        full = np.array(X, dtype=np.float64)
        full[:, self.fidelities] = self._full
        return full

    def is_full(self, X: Matrix) -> Mask:
        """Return whether points, `n x d`-dim, are at full fidelity; always true without one."""
        off = self._levels(X, self.fidelities)[:, self.fidelities] - self._full
        found: Mask = (np.abs(off) < SAME_LEVEL).all(axis=1)
        return found

    @cached_property
    def cardinality(self) -> float:
        """Number of different configurations; `math.inf` if infinite.

        Above 20,000 combinations of values, this is the number of combinations. It then includes
        combinations that violate a constraint or differ only in parts that do not exist.
        """
        if self._combinations > _LISTABLE or not (self.constraints or self._guards):
            return self._combinations
        return float(len(self.listed()))

    def listed(self) -> Matrix:
        """Return the coordinates of all configurations of a finite space, `cardinality x d`-dim."""
        levels = np.meshgrid(*(c.domain.level_units() for c in self.columns), indexing="ij")
        every = np.stack([axis.ravel() for axis in levels], axis=1)
        every = np.unique(self.snap(every), axis=0) if self._guards else every
        return every[self.allowed(every)]

    def allowed(self, X: Matrix) -> Mask:
        """Return whether the configurations at `n x d`-dim coordinates satisfy all constraints."""
        if not self.constraints:
            return np.ones(len(X), dtype=bool)
        return np.array([self._broken(config) is None for config in self.decode(X)], dtype=bool)

    def _broken(self, config: Config) -> str | None:
        """Return the error about the first constraint that a full configuration violates."""
        flat = self.unfolded(config)
        found = {name: value_at(flat, path, MISSING) for name, path in self._named.items()}
        values = {name: value for name, value in found.items() if value is not MISSING}
        for one in self.constraints:
            if not one.holds(config, values):
                received = {name: values[name] for name in one.names} or config
                text = ", ".join(f"{name}={value!r}" for name, value in received.items())
                return f"received {text}, which violates the constraint {one.name}"
        return None

    def _find_witness(self) -> Matrix:
        """Return a point at full fidelity, `1 x d`-dim, that satisfies the constraints."""
        rng, few = np.random.default_rng(0), self._combinations <= _LISTABLE
        for attempt in range(2 if few else _DRAWS // _AT_ONCE):
            whole = few and attempt
            X = self.in_full(self.listed() if whole else rng.random((_AT_ONCE, self.dim)))
            found = X[self.allowed(X)]
            if len(found):
                return self.snap(found[:1])
        names = ", ".join(self.columns[j].name for j in self.fidelities)
        raise SpaceError(
            f"none of {'its configurations' if few else f'{_DRAWS} draws'}"
            f"{names and f' at full fidelity ({names})'} satisfies"
            f" {'the constraint' if len(self.constraints) == 1 else 'all constraints'}"
            f" {', '.join(one.name for one in self.constraints)}; widen a range, or loosen it"
        )

    def pulled_back(self, start: Matrix, X: Matrix) -> Matrix:
        """Return points, `n x d`-dim, between `start` and `X` that satisfy the constraints.

        Bisection finds points close to `X`. `start` must be allowed.
        """
        found = np.array(X, dtype=np.float64)
        rows = np.flatnonzero(~self.allowed(found))
        start, way = start[rows], found[rows] - start[rows]
        near, far = np.zeros((len(rows), 1)), np.ones((len(rows), 1))
        for _ in range(_HALVINGS if len(rows) else 0):
            middle = (near + far) / 2
            keeps = self.allowed(start + middle * way)[:, None]
            near, far = np.where(keeps, middle, near), np.where(keeps, far, middle)
        found[rows] = start + near * way
        return found

    def draw(self, rng: np.random.Generator, n: int, most: int = _DRAWS) -> Matrix:
        """Return `n` random points, `n x d`-dim, that satisfy the constraints.

        If `most` draws give too few, further draws are moved towards the points found.
        """
        X, drawn = rng.random((n, self.dim)), n
        found = X[self.allowed(X)]
        while len(found) < n and drawn < most:
            X = rng.random((_AT_ONCE, self.dim))
            found, drawn = np.vstack([found, X[self.allowed(X)]]), drawn + _AT_ONCE
        if len(found) < n:
            known = np.vstack([found, self._witness])
            others = rng.random((n - len(found), self.dim))
            start = known[rng.integers(len(known), size=len(others))]
            found = np.vstack([found, self.pulled_back(start, others)])
        return found[:n]

    def sample(self, rng: np.random.Generator, n: int) -> list[Config]:
        """Return `n` independent full configurations from Ray Tune's distribution; see `draw`."""
        return self.decode(self.draw(rng, n))

    def validate(self, config: Mapping[str, Any]) -> None:
        """Check a configuration.

        Constants may be left out. If given, a plain number or string must be right.

        Raises:
            ConfigError: A key is missing or unknown, a value has the wrong type or is outside its
                domain, a conditional value should not exist, or a constraint is violated. The
                message names the key, the value, and what is valid.
        """
        flat = self.unfolded(config)
        check(self.template, flat)
        for path in self._absent(*self._encoded([flat]))[0] if self._guards else ():
            if (value := value_at(flat, path, MISSING)) is not MISSING:
                raise ConfigError(
                    f"{path_name(path)}: received {value!r}, but this key exists only when"
                    f" {self.conditions(path)}"
                )
        if self.constraints and (broken := self._broken(self.load(self.dump(config)))):
            raise ConfigError(broken)

    def unfolded(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a configuration with each value at its column's path, as in `Options`."""
        if not self._has_options:
            return config
        found: Config = unfolded(self.template, config)
        return found

    def encode(self, configs: Sequence[Mapping[str, Any]]) -> Matrix:
        """Return the coordinates of configurations, `n x d`-dim float64; `ABSENT` for no value.

        Raises:
            ConfigError: A hyperparameter is missing or outside its domain.
        """
        return self._encoded(list(map(self.unfolded, configs)))[0]

    def _encoded(
        self, configs: Sequence[Mapping[str, Any]], *, by_name: bool = False
    ) -> tuple[Matrix, Mask]:
        """Return the coordinates of configurations, unfolded or flat, and which values exist."""
        X = np.full((len(configs), self.dim), np.nan)
        for j, column in enumerate(self.columns):
            path = (column.name,) if by_name else column.path
            values = [value_at(config, path, MISSING) for config in configs]
            there = [value is not MISSING for value in values]
            with named(column.name):
                X[there, j] = column.domain.to_units([v for v in values if v is not MISSING])
        missed = np.isnan(X)
        X[missed] = ABSENT
        active = self._activity(X)
        if (wrong := missed & active).any():
            raise self.columns[int(wrong.any(axis=0).argmax())].missing()
        X[~active] = ABSENT
        return X, active

    def decode(self, X: Matrix) -> list[Config]:
        """Return the full configurations at unit coordinates, `n x d`-dim.

        Coordinates are clipped to [0, 1]. Values are plain Python values or the objects of a choice
        themselves. Containers and constants are copies.
        """
        X = self._levels(X, self._parents)
        values = [c.domain.from_units(X[:, j]) for j, c in enumerate(self.columns)]
        rows = zip(*values, strict=True)
        pairs = zip(rows, self._absent(X, self._activity(X)), strict=True)
        return [filled(self.template, iter(row), absent) for row, absent in pairs]

    def dump(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the hyperparameters that exist in a configuration as JSON, by column name.

        A choice that JSON cannot hold is written as `{"choice": its position}`.

        Raises:
            ConfigError: A hyperparameter is missing or outside its domain.
        """
        config, columns = self.unfolded(config), self.columns
        if self._guards:
            columns = tuple(compress(columns, self._encoded([config])[1][0]))
        found = {}
        for column in columns:
            if (value := value_at(config, column.path, MISSING)) is MISSING:
                raise column.missing()
            with named(column.name):
                found[column.name] = column.domain.to_json(value)
        return found

    def load(self, data: Mapping[str, Any]) -> Config:
        """Return the full configuration from the output of `dump`.

        Raises:
            ConfigError: A name is missing or unknown, or a value is outside its domain.
        """
        names = [column.name for column in self.columns]
        for name in data:
            if name not in names:
                raise ConfigError(unknown(name, name, data[name], names))
        flat = {}
        for column in self.columns:
            if column.name in data:
                with named(column.name):
                    flat[column.name] = column.domain.from_json(data[column.name])
            elif not self._guards:
                raise column.missing()
        absent: set[Path] = set()
        if self._guards:
            (absent,) = self._absent(*self._encoded([flat], by_name=True))
        values = (
            flat[c.name] if c.name in flat else c.domain.from_unit(ABSENT) for c in self.columns
        )
        config: Config = filled(self.template, values, absent)
        return config

    def to_spec(self) -> dict[str, Any]:
        """Return the space as data for JSON or TOML, in the format of `raytuner.space.spec`."""
        return specs.space_spec(self.template, [one.rule for one in self.constraints])

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Space:
        """Return the space that a spec describes.

        Raises:
            SpaceError: The spec is invalid. The message names the key and what is allowed.

        Examples:
            >>> Space.from_spec({"lr": {"type": "float", "low": 0, "high": 1}, "epochs": 3})
            Space({'lr': Float(low=0.0, high=1.0, log=False, step=None), 'epochs': 3})
        """
        try:
            return cls(*specs.template_and_rules(spec))
        except RecursionError:
            raise SpaceError("the spec of a space is nested too deeply") from None
