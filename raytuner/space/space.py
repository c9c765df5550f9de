"""A search space: the one encoder between configurations and the unit cube."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

import numpy as np

from raytuner.errors import ConfigError, SpaceError
from raytuner.space import spec as specs
from raytuner.space.constraints import Constraint, Rule, constraint
from raytuner.space.cube import ABSENT, Cube, Mask, Matrix
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


class Space(Cube):
    """All configurations that a search may try.

    Args:
        template: A configuration with domains in the place of what varies. Dicts, lists and
            tuples may be nested; every other value is a constant. A domain with one value is a
            constant too. A part under conditions (see `when`) is left out of configurations in
            which they do not hold; its coordinate is then `ABSENT`. A fidelity (see `fidelity`)
            says how close a trial is to the real training.
        constraints: What every configuration must keep: strings such as `"layers * units <= 1024"`
            or functions of the full configuration (see `raytuner.space.constraints`).

    Raises:
        SpaceError: Nothing varies, or only fidelities do; two hyperparameters have the same name;
            a value cannot be used; a condition is on something unknown, on itself or never true; a
            fidelity has no order or is under conditions; a constraint cannot be read; or no
            configuration keeps all constraints: none of a finite space, or none of 100,000 draws.

    Attributes:
        columns: What varies, in the order of definition; the d dimensions of the unit cube.
        constraints: What every configuration keeps.
        fidelities: Positions of the columns that are fidelities.
        template: What the space was made from; not to be changed.

    >>> from raytuner.space import Categorical, Float
    >>> space = Space({"lr": Float(0.1, 1), "net": {"act": Categorical(["relu", "tanh"]), "n": 3}})
    >>> [column.name for column in space.columns]
    ['lr', 'net/act']
    >>> space.decode([[0.0, 0.9]])
    [{'lr': 0.1, 'net': {'act': 'tanh', 'n': 3}}]
    >>> space.encode([{"lr": 1, "net": {"act": "relu"}}]).tolist()
    [[1.0, 0.25]]
    """

    def __init__(
        self, template: Mapping[str, Any], constraints: Sequence[Rule | Constraint] = ()
    ) -> None:
        if not isinstance(template, Mapping):
            raise SpaceError(f"a space is made from a dict, received {template!r}")
        self.template: Mapping[str, Any] = rebuilt(template, checked_leaf)
        parts = list(walk(self.template))
        self._has_options = any(isinstance(node, Options) for _, node in parts)
        self._leaves = {path: node for path, node in parts if is_leaf(node)}
        if not any(map(varies, self._leaves.values())):
            raise SpaceError(nothing_varies(template))
        super().__init__(parts)
        paths = {path_name(path): path for path in self._leaves}
        self.constraints = tuple(constraint(rule, paths) for rule in _rules(constraints))
        named = {name for one in self.constraints for name in one.names}
        self._named = {name: paths[name] for name in named}
        if self.constraints:
            self._witness = self._find_witness()

    def __repr__(self) -> str:
        rules = f", constraints={[c.name for c in self.constraints]}" if self.constraints else ""
        return f"Space({self.template!r}{rules})"

    def constrained(self, constraints: Sequence[Rule | Constraint]) -> Space:
        """Return the space with more constraints; those that it has already count once."""
        rules = [one.rule for one in self.constraints]
        for one in _rules(constraints):
            if one not in rules:
                rules.append(one)
        return Space(self.template, rules) if len(rules) > len(self.constraints) else self

    def leaves(self) -> dict[Path, Any]:
        """Return every domain and constant by its path, in order."""
        return self._leaves

    def allowed(self, X: Matrix) -> Mask:
        """Return whether the configurations at coordinates, `n x d`-dim, keep all constraints."""
        if not self.constraints:
            return np.ones(len(X), dtype=bool)
        return np.array([self._broken(config) is None for config in self.decode(X)], dtype=bool)

    def _broken(self, config: Config) -> str | None:
        """Return the error about the first constraint that a full configuration breaks."""
        flat = self.unfolded(config)
        found = {name: value_at(flat, path, MISSING) for name, path in self._named.items()}
        values = {name: value for name, value in found.items() if value is not MISSING}
        for one in self.constraints:
            if not one.holds(config, values):
                received = {name: values[name] for name in one.names} or config
                text = ", ".join(f"{name}={value!r}" for name, value in received.items())
                return f"received {text}, expected to keep the constraint {one.name}"
        return None

    def sample(self, rng: np.random.Generator, n: int) -> list[Config]:
        """Return `n` independent full configurations with Ray Tune's own law; see `draw`."""
        return self.decode(self.draw(rng, n))

    def validate(self, config: Mapping[str, Any]) -> None:
        """Check a configuration.

        Constants may be left out. One that is there and a plain number or string must be right.

        Raises:
            ConfigError: Naming the key, what was received and what would be right: a key missing
                or unknown, a value of the wrong type or outside of its domain, or one that does
                not exist for the others; or the constraint that the values break.
        """
        flat = self.unfolded(config)
        check(self.template, flat)
        for path in self._absent(*self._encoded([flat]))[0] if self._guards else ():
            if (value := value_at(flat, path, MISSING)) is not MISSING:
                raise ConfigError(
                    f"{path_name(path)}: received {value!r}, expected no such key, since it is"
                    f" there only when {self.conditions(path)}"
                )
        if self.constraints and (broken := self._broken(self.load(self.dump(config)))):
            raise ConfigError(broken)

    def unfolded(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a configuration in which each value lies at its column's path, as in `Options`."""
        if not self._has_options:
            return config
        found: Config = unfolded(self.template, config)
        return found

    def encode(self, configs: Sequence[Mapping[str, Any]]) -> Matrix:
        """Return the unit coordinates of configurations.

        Returns:
            `n x d`-dim, float64, in [0, 1]; `ABSENT` for what does not exist in a configuration.

        Raises:
            ConfigError: A hyperparameter is missing or outside of its domain.
        """
        return self._encoded(list(map(self.unfolded, configs)))[0]

    def _encoded(self, configs: Sequence[Mapping[str, Any]]) -> tuple[Matrix, Mask]:
        """Return the coordinates of unfolded configurations, and what exists in them."""
        X = np.full((len(configs), self.dim), np.nan)
        for j, column in enumerate(self.columns):
            values = [value_at(config, column.path, MISSING) for config in configs]
            there = [value is not MISSING for value in values]
            with named(column.name):
                X[there, j] = column.domain.to_units([v for v in values if v is not MISSING])
        return X, self._only_active(X)

    def _only_active(self, X: Matrix) -> Mask:
        """Return what exists at coordinates, NaN for what is missing; the rest becomes `ABSENT`."""
        missed = np.isnan(X)
        X[missed] = ABSENT
        active = self._activity(X)
        if (wrong := missed & active).any():
            column = self.columns[int(wrong.any(axis=0).argmax())]
            raise ConfigError(f"{column.name}: missing, expected {column.domain.describe()}")
        X[~active] = ABSENT
        return active

    def decode(self, X: Matrix) -> list[Config]:
        """Return full configurations at unit coordinates.

        Coordinates, `n x d`-dim, outside of [0, 1] are moved to it. Values are plain Python values
        and the choice objects themselves, containers and constants are copies.
        """
        X = self._levels(X, self._parents)
        values = [c.domain.from_units(X[:, j]) for j, c in enumerate(self.columns)]
        rows = zip(*values, strict=True)
        pairs = zip(rows, self._absent(X, self._activity(X)), strict=True)
        return [filled(self.template, iter(row), absent) for row, absent in pairs]

    def dump(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return what varies in a configuration, as JSON, by column name.

        What does not exist is left out. A choice that JSON does not have is written as
        `{"choice": its position}`.

        Raises:
            ConfigError: A hyperparameter is missing or outside of its domain.
        """
        config = self.unfolded(config)
        (active,) = self._encoded([config])[1]
        return {
            column.name: column.domain.to_json(value_at(config, column.path))
            for column in compress(self.columns, active)
        }

    def load(self, data: Mapping[str, Any]) -> Config:
        """Return the full configuration of which `dump` wrote what varies.

        Raises:
            ConfigError: A name is missing or unknown, or a value is outside of its domain.
        """
        names = [column.name for column in self.columns]
        for name in data:
            if name not in names:
                raise ConfigError(unknown(name, name, data[name], names))
        X, values = np.full((1, self.dim), np.nan), []
        for j, column in enumerate(self.columns):
            with named(column.name):
                if column.name in data:
                    values.append(column.domain.from_json(data[column.name]))
                    X[0, j] = column.domain.to_unit(values[-1])
                else:
                    values.append(column.domain.from_unit(ABSENT))
        (absent,) = self._absent(X, self._only_active(X))
        config: Config = filled(self.template, iter(values), absent)
        return config

    def to_spec(self) -> dict[str, Any]:
        """Return the space as data for JSON or TOML, in the format of `raytuner.space.spec`."""
        return specs.space_spec(self.template, [one.rule for one in self.constraints])

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Space:
        """Return the space that a spec describes.

        Raises:
            SpaceError: Naming the key path of what is wrong and what is allowed.

        >>> Space.from_spec({"lr": {"type": "float", "low": 0, "high": 1}, "epochs": 3})
        Space({'lr': Float(low=0.0, high=1.0, log=False, step=None), 'epochs': 3})
        """
        try:
            return cls(*specs.template_and_rules(spec))
        except RecursionError:
            raise SpaceError("the spec of a space is nested too deeply") from None


def _rules(constraints: Any) -> list[Rule]:
    if isinstance(constraints, str) or not isinstance(constraints, Sequence):
        raise SpaceError(
            f"constraints are a list of strings and functions, received {constraints!r}"
        )
    return [one.rule if isinstance(one, Constraint) else one for one in constraints]
