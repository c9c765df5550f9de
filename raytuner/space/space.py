"""A search space: the one encoder between configurations and the unit cube."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress
from typing import Any

import numpy as np

from raytuner.errors import ConfigError, SpaceError
from raytuner.space import spec as specs
from raytuner.space.choices import is_primitive, shown
from raytuner.space.conditions import Mask, Matrix, equal, known_names
from raytuner.space.constraints import Constraint, Rule, constraint
from raytuner.space.cube import ABSENT, Cube
from raytuner.space.domains import Domain
from raytuner.space.lookalikes import advice_on, lookalikes
from raytuner.space.template import (
    MISSING,
    Options,
    Path,
    When,
    checked,
    filled,
    is_leaf,
    path_name,
    unfolded,
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
        self.template: Mapping[str, Any] = checked(template)
        self._parts = list(walk(self.template))
        self._has_options = any(isinstance(node, Options) for _, node in self._parts)
        leaves = self.leaves()
        if not any(map(varies, leaves.values())):
            raise SpaceError(nothing_varies(template))
        super().__init__(self._parts)
        # Paths of what varies or holds what does, but for what may be absent.
        self._required = {c.path[:i] for c in self.columns for i in range(len(c.path) + 1)}
        self._required -= {path for path, node in self._parts if isinstance(node, When)}
        by_name = {path_name(path): leaf for path, leaf in leaves.items()}
        self.constraints = tuple(constraint(rule, by_name) for rule in _rules(constraints))
        named = {name for one in self.constraints for name in one.names}
        self._named = {path_name(path): path for path in leaves if path_name(path) in named}
        self._find_witness()

    def __repr__(self) -> str:
        rules = f", constraints={[c.name for c in self.constraints]}" if self.constraints else ""
        return f"Space({self.template!r}{rules})"

    def constrained(self, constraints: Sequence[Rule | Constraint]) -> Space:
        """Return the space with more constraints; those that it has already count once.

        Raises:
            SpaceError: As for the constructor.
        """
        known = {one.rule for one in self.constraints}
        rules = [one.rule if isinstance(one, Constraint) else one for one in _rules(constraints)]
        more = [rule for rule in rules if rule not in known]
        return Space(self.template, [*self.constraints, *more]) if more else self

    def leaves(self) -> dict[Path, Any]:
        """Return every domain and constant by its path, in order."""
        return {path: node for path, node in self._parts if is_leaf(node)}

    def allowed(self, X: Matrix) -> Mask:
        """Return whether the configurations at coordinates, `n x d`-dim, keep all constraints."""
        if not self.constraints:
            return np.ones(len(X), dtype=bool)
        return np.array([self._broken(config) is None for config in self.decode(X)], dtype=bool)

    def _broken(self, config: Config) -> tuple[Constraint, Mapping[str, Any]] | None:
        """Return the first constraint that a full configuration breaks, and the values it names."""
        flat = self.unfolded(config)
        found = {name: value_at(flat, path, MISSING) for name, path in self._named.items()}
        values = {name: value for name, value in found.items() if value is not MISSING}
        for one in self.constraints:
            if not one.holds(config, values):
                return one, {name: values[name] for name in one.names} if one.names else config
        return None

    def sample(self, rng: np.random.Generator, n: int) -> list[Config]:
        """Return `n` independent full configurations with Ray Tune's own law.

        Under constraints, it is its law among the configurations that keep them; see `draw`.
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
        flat = self.unfolded(config)
        for path, node in self._parts:
            value = value_at(flat, path, MISSING)
            if value is not MISSING:
                _check_value(node, value, path)
            elif path in self._required and value_at(flat, path[:-1], MISSING) is not MISSING:
                raise ConfigError(_missing(path, node))
        X = self._encoded([flat])[0] if self.conditions.guards else np.empty((1, 0))
        for path in self.conditions.absent(X)[0]:
            if (value := value_at(flat, path, MISSING)) is not MISSING:
                raise ConfigError(
                    f"{path_name(path)}: received {value!r}, expected no such key, since it is"
                    f" there only when {self.conditions.text(path)}"
                )
        broken = self._broken(self.load(self.dump(config))) if self.constraints else None
        if broken is not None:
            received = ", ".join(f"{name}={shown(value)}" for name, value in broken[1].items())
            raise ConfigError(
                f"received {received}, expected to keep the constraint {broken[0].name}"
            )

    def unfolded(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a configuration in which each value lies at its column's path.

        It differs from the configuration where the template has `Options`.

        Raises:
            ConfigError: A value is none of its options.
        """
        if not self._has_options:
            return config
        found: Config = unfolded(self.template, config)
        return found

    def encode(self, configs: Sequence[Mapping[str, Any]]) -> Matrix:
        """Return the unit coordinates of configurations.

        Args:
            configs: n configurations. Only what varies is read.

        Returns:
            `n x d`-dim, float64, in [0, 1]; `ABSENT` for what does not exist in a configuration.

        Raises:
            ConfigError: A hyperparameter is missing or outside of its domain.
        """
        return self._encoded([self.unfolded(config) for config in configs])[0]

    def _encoded(self, configs: Sequence[Mapping[str, Any]]) -> tuple[Matrix, Mask]:
        """Return the coordinates of unfolded configurations, and what exists in them."""
        X = np.full((len(configs), self.dim), np.nan)
        for j, column in enumerate(self.columns):
            values = [value_at(config, column.path, MISSING) for config in configs]
            given = [value for value in values if value is not MISSING]
            units = _naming(column.name, column.domain.to_units, given)
            if len(given) == len(values):
                X[:, j] = units
            else:
                X[[value is not MISSING for value in values], j] = units
        missing = np.isnan(X)
        X[missing] = ABSENT
        active = self.conditions.active(X)
        if (wrong := missing & active).any():
            column = self.columns[int(wrong.any(axis=0).argmax())]
            raise ConfigError(_missing(column.path, column.domain))
        X[~active] = ABSENT
        return X, active

    def decode(self, X: Matrix) -> list[Config]:
        """Return full configurations at unit coordinates.

        Args:
            X: `n x d`-dim; coordinates outside of [0, 1] are moved to it.

        Returns:
            n configurations of plain Python values and the choice objects themselves. Containers
            and constants are copies: changing one configuration changes no other.
        """
        X = self._levels(X, self.conditions.parents)
        values = [c.domain.from_units(X[:, j]) for j, c in enumerate(self.columns)]
        rows = zip(*values, strict=True)
        return [self._filled(*pair) for pair in zip(rows, self.conditions.absent(X), strict=True)]

    def _filled(self, values: Sequence[Any], absent: Sequence[Path]) -> Config:
        config: Config = filled(self.template, iter(values), absent)
        return config

    def dump(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return what varies in a configuration, as JSON, by column name.

        What does not exist is left out. A choice that JSON does not have is written as
        `{"choice": its position}`.

        Raises:
            ConfigError: A hyperparameter is missing or outside of its domain.
        """
        config, columns = self.unfolded(config), self.columns
        if self.conditions.guards:
            columns = tuple(compress(columns, self._encoded([config])[1][0]))
        found = {}
        for column in columns:
            value = value_at(config, column.path, MISSING)
            if value is MISSING:
                raise ConfigError(_missing(column.path, column.domain))
            found[column.name] = _naming(column.name, column.domain.to_json, value)
        return found

    def load(self, data: Mapping[str, Any]) -> Config:
        """Return the full configuration of which `dump` wrote what varies.

        Raises:
            ConfigError: A name is missing or unknown, or a value is outside of its domain.
        """
        names = [column.name for column in self.columns]
        for name in data:
            if name not in names:
                raise ConfigError(_unknown(name, name, data[name], names))
        X, values = np.full((1, self.dim), ABSENT), []
        for j, column in enumerate(self.columns):
            if column.name in data:
                value = _naming(column.name, column.domain.from_json, data[column.name])
                values.append(value)
                if j in self.conditions.parents:
                    X[0, j] = column.domain.to_unit(value)
            else:
                values.append(column.domain.from_unit(ABSENT))
        for column, exists in zip(self.columns, self.conditions.active(X)[0], strict=True):
            if exists and column.name not in data:
                raise ConfigError(_missing(column.path, column.domain))
        return self._filled(values, self.conditions.absent(X)[0])

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
        return cls(*specs.template_and_rules(spec))


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


def _check_value(node: Any, value: Any, path: Path) -> None:
    """Check a value of a configuration against the part of the template at its path."""
    name = path_name(path) or "the configuration"
    if isinstance(node, Domain):
        _naming(name, node.cast, value)
    elif isinstance(node, Mapping):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{name}: received {value!r}, expected a dict")
        for key in value:
            if key not in node:
                raise ConfigError(_unknown(path_name((*path, key)), key, value[key], node))
    elif isinstance(node, list | tuple):
        if not isinstance(value, list | tuple) or len(value) != len(node):
            raise ConfigError(f"{name}: received {value!r}, expected {len(node)} items")
    elif is_primitive(node) and is_primitive(value) and not equal(node, value):
        raise ConfigError(f"{name}: received {value!r}, expected the constant {node!r}")


def _naming(name: str, read: Callable[[Any], Any], value: Any) -> Any:
    """Return `read(value)`, whose error is given the name of a hyperparameter."""
    try:
        return read(value)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def _missing(path: Path, node: Any) -> str:
    expected = node.describe() if isinstance(node, Domain) else "a group of hyperparameters"
    return f"{path_name(path)}: missing, expected {expected}"


def _unknown(name: str, key: Any, value: Any, known: Iterable[Any]) -> str:
    return f"{name}: unknown key (received {value!r}); known here: {known_names(key, known)}"
