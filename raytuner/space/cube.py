"""The unit cube of a search space: one dimension for each hyperparameter that varies."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import numpy.typing as npt

from raytuner.errors import ConfigError, SpaceError
from raytuner.space.constraints import Constraint
from raytuner.space.domains import Categorical, Domain, Kind
from raytuner.space.template import Fidelity, Path, When, is_leaf, known_names, path_name, varies

Matrix = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ABSENT = 0.5
"""The coordinate of a hyperparameter that does not exist in a configuration."""

_SAME_LEVEL = 1e-9  # coordinates of one level may differ in their last bits
# Spaces with up to so many combinations of values are searched whole for those that are allowed.
_LISTABLE = 20_000
# Points that are drawn, so many at a time, before what is allowed counts as not to be found.
_DRAWS, _AT_ONCE = 100_000, 100
_HALVINGS = 12  # a point is pulled back to within this many halvings of the boundary


@dataclass(frozen=True)
class Requirement:
    """A condition: the hyperparameter of a column exists and is at one of some coordinates."""

    column: int
    units: tuple[float, ...]

    def holds(self, X: Matrix, active: Mask) -> Mask:
        """Return whether it holds, `...`-dim, at `... x d`-dim coordinates of what is active."""
        off = np.abs(X[..., self.column, None] - np.array(self.units))
        found: Mask = (off <= _SAME_LEVEL).any(axis=-1) & active[..., self.column]
        return found


class Activity:
    """Computes which hyperparameters, of d columns, exist at points of the unit cube.

    Raises:
        SpaceError: Conditions in a circle.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        graph = {j: [r.column for r in column.requires] for j, column in enumerate(columns)}
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            circle = " needs ".join(columns[j].name for j in reversed(error.args[1]))
            raise SpaceError(f"conditions in a circle: {circle}") from None
        self._requires = [(j, requirement) for j in order for requirement in columns[j].requires]

    def __call__(self, X: Matrix) -> Mask:
        """Return `... x d`-dim bool at `... x d`-dim coordinates, those of levels exactly."""
        active = np.ones(X.shape, dtype=bool)
        for j, requirement in self._requires:
            active[..., j] &= requirement.holds(X, active)
        return active


@dataclass(frozen=True)
class Column:
    """One hyperparameter that varies: one dimension of the unit cube.

    Attributes:
        path: Keys and list positions that lead to it.
        name: The path's keys joined by "/".
        domain: Its values and their law.
        requires: Conditions, all of which must hold for it to exist; empty if it always does.
        is_fidelity: Whether it is a fidelity (see `raytuner.space.fidelity`).
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
        """The domain's number of levels; None if it is infinite."""
        return self.domain.n_levels


class Cube(ABC):
    """The unit cube of a search space, `[0, 1]^d`, and the points of it that are allowed.

    `Space` says what its attributes are. `parts` are the paths and parts of the space's template.
    """

    constraints: tuple[Constraint, ...]
    _witness: Matrix

    def __init__(self, parts: Sequence[tuple[Path, Any]]) -> None:
        domains = {path: node for path, node in parts if varies(node)}
        names = list(map(path_name, domains))
        for name in names:
            if names.count(name) > 1:
                raise SpaceError(f"{name}: two hyperparameters have this name; rename one")
        leaves = {path_name(path): node for path, node in parts if is_leaf(node)}
        guards = {
            path: _requirements(path, node, leaves, names)
            for path, node in parts
            if isinstance(node, When)
        }
        self._guards = {path: needs for path, needs in guards.items() if needs}
        self._parents = {need.column for needs in self._guards.values() for need in needs}
        marked = {path for path, node in parts if isinstance(node, Fidelity)}
        self.columns = tuple(
            Column(path, path_name(path), domain, self._needs(path), path in marked)
            for path, domain in domains.items()
        )
        self._activity = Activity(self.columns)
        self.dim = len(self.columns)
        self.fidelities = tuple(j for j, c in enumerate(self.columns) if c.is_fidelity)
        self._full = np.array([self.columns[j].domain.snap(np.ones(1))[0] for j in self.fidelities])
        self._combinations = math.prod(float(c.n_levels or math.inf) for c in self.columns)
        for column in (self.columns[j] for j in self.fidelities):
            if column.requires:
                raise SpaceError(
                    f"{column.name}: a fidelity must be there in every configuration; leave out"
                    " its conditions"
                )
        if len(self.fidelities) == self.dim:
            raise SpaceError(
                f"all that varies are fidelities ({', '.join(names)}): there is nothing to search"
            )

    def _needs(self, path: Path) -> tuple[Requirement, ...]:
        """Return the requirements of what lies at a path, its own and those of what holds it."""
        above = (path[: i + 1] for i in range(len(path)))
        return tuple(need for part in above for need in self._guards.get(part, ()))

    def conditions(self, path: Path) -> str:
        """Return the conditions of what lies at a path, as text."""
        words = []
        for need in self._needs(path):
            column = self.columns[need.column]
            values = map(repr, map(column.domain.from_unit, need.units))
            words.append(f"{column.name} is {' or '.join(values)}")
        return " and ".join(words)

    def _absent(self, X: Matrix, active: Mask) -> list[set[Path]]:
        """Return the paths of the parts that do not exist at each of n points, `n x d`-dim."""
        found: list[set[Path]] = [set() for _ in X]
        for path, needs in self._guards.items():
            exists = np.logical_and.reduce([need.holds(X, active) for need in needs])
            for i in np.flatnonzero(~exists):
                found[i].add(path)
        return found

    def active(self, X: Matrix) -> Mask:
        """Return whether each hyperparameter exists, `n x d`-dim, at `n x d`-dim coordinates."""
        return self._activity(self._levels(X, self._parents))

    def snap(self, X: Matrix) -> Matrix:
        """Return the coordinates of the configurations that `X`, `n x d`-dim, decodes to."""
        snapped = self._levels(X, range(self.dim))
        snapped[~self._activity(snapped)] = ABSENT
        return snapped

    def _levels(self, X: Matrix, columns: Iterable[int]) -> Matrix:
        """Return `X`, moved to the cube, with the coordinates of some columns at their levels."""
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
        """Return `X`, `n x d`-dim, with every fidelity at the full one."""
        if not self.fidelities:
            return X
        full = np.array(X, dtype=np.float64)
        full[:, self.fidelities] = self._full
        return full

    def is_full(self, X: Matrix) -> Mask:
        """Return whether points, `n x d`-dim, are at full fidelity; without one, all are."""
        off = self._levels(X, self.fidelities)[:, self.fidelities] - self._full
        found: Mask = (np.abs(off) < _SAME_LEVEL).all(axis=1)
        return found

    @abstractmethod
    def allowed(self, X: Matrix) -> Mask:
        """Return whether the configurations at coordinates, `n x d`-dim, keep all constraints."""

    @cached_property
    def cardinality(self) -> float:
        """Number of different configurations; `math.inf` if there is no end to them.

        With conditions or constraints and more than 20,000 combinations of values, combinations
        count that differ only in what does not exist, or that break a constraint.
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

    def _find_witness(self) -> Matrix:
        """Return a point at full fidelity, `1 x d`-dim, that keeps the constraints."""
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
            f"{names and f' at full fidelity ({names})'} keeps"
            f" {'the constraint' if len(self.constraints) == 1 else 'all of the constraints'}"
            f" {', '.join(one.name for one in self.constraints)}; widen a range, or loosen it"
        )

    def pulled_back(self, start: Matrix, X: Matrix) -> Matrix:
        """Return points, `n x d`-dim, on the way from `start` to `X` that keep the constraints.

        They are found by bisection, as near to `X` as possible. `start` must be allowed.
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
        """Return `n` random points, `n x d`-dim, that keep the constraints.

        If `most` draws give too few, the rest are draws that are moved towards those found.
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


def _requirements(
    path: Path, node: When, leaves: Mapping[str, Any], columns: Sequence[str]
) -> tuple[Requirement, ...]:
    """Return the requirements of a part, without those on constants, which always hold."""
    if isinstance(path[-1], int):
        raise SpaceError(f"{path_name(path)}: an item of a list cannot be under conditions")
    where, found = f"{path_name(path)}: it depends on ", []
    for name, values in node.conditions:
        # A name belongs to the part's own group, or else to the next one around it.
        names = [path_name((*path[:i], name)) for i in range(len(path) - 1, -1, -1)]
        full = next((one for one in names if one in leaves), None)
        if full is None:
            hint = known_names(name, leaves)
            raise SpaceError(f"{where}{name!r}, which is not known here: {hint}")
        leaf = leaves[full]
        domain = leaf if isinstance(leaf, Domain) else Categorical([leaf])
        if domain.kind == "continuous":
            raise SpaceError(
                f"{where}{full}, which is {domain.describe()}; a condition needs a choice, whole"
                " numbers or a step"
            )
        never = [value for value in values if not domain.contains(value)]
        if never and (full in columns or len(never) == len(values)):
            raise SpaceError(
                f"{where}{full} being {never[0]!r}, which is never so: {full} is"
                f" {domain.describe()}"
            )
        if full in columns:
            units = tuple(map(domain.to_unit, values))
            found.append(Requirement(columns.index(full), units))
    return tuple(found)
