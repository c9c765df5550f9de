"""The unit cube of a search space: one dimension for each hyperparameter that varies."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from raytuner.errors import ConfigError, SpaceError
from raytuner.space.conditions import Conditions, Mask, Matrix, Requirement
from raytuner.space.constraints import Constraint
from raytuner.space.domains import LISTABLE_LEVELS, Domain, Kind
from raytuner.space.template import Fidelity, Path, path_name, varies

ABSENT = 0.5
"""The coordinate of a hyperparameter that does not exist in a configuration."""

_SAME_LEVEL = 1e-9
# Spaces with up to so many combinations of values are searched whole for those that are allowed.
_LISTABLE = 20_000
# Points that are drawn, so many at a time, before what is allowed counts as not to be found.
_DRAWS, _AT_ONCE = 100_000, 100
_HALVINGS = 12  # a point is pulled back to within this many halvings of the boundary


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

    Args:
        parts: The paths and parts of the space's template.

    Raises:
        SpaceError: Two hyperparameters have the same name, a condition cannot hold, only fidelities
            vary, or one is under conditions.

    Attributes:
        columns: What varies, in the order of definition.
        fidelities: Positions of the columns that are fidelities.
        conditions: Computes which parts exist.
        constraints: What every configuration keeps.
    """

    constraints: tuple[Constraint, ...]

    def __init__(self, parts: Sequence[tuple[Path, Any]]) -> None:
        domains = {path: node for path, node in parts if varies(node)}
        marked = {path for path, node in parts if isinstance(node, Fidelity)}
        names = list(map(path_name, domains))
        for name in names:
            if names.count(name) > 1:
                raise SpaceError(f"{name}: two hyperparameters have this name; rename one")
        self.conditions = Conditions(parts)
        self.columns = tuple(
            Column(path, path_name(path), domain, self.conditions.of(path), path in marked)
            for path, domain in domains.items()
        )
        self.fidelities = tuple(j for j, c in enumerate(self.columns) if c.is_fidelity)
        self._full = np.array([self.columns[j].domain.snap(np.ones(1))[0] for j in self.fidelities])
        self._combinations = math.prod(float(c.n_levels or math.inf) for c in self.columns)
        for column in self.columns:
            if column.is_fidelity and column.requires:
                raise SpaceError(
                    f"{column.name}: a fidelity must be there in every configuration; leave out"
                    " its conditions"
                )
        if len(self.fidelities) == self.dim:
            raise SpaceError(
                f"all that varies are fidelities ({', '.join(names)}): there is nothing to search"
            )

    @property
    def dim(self) -> int:
        """Number of columns d."""
        return len(self.columns)

    def active(self, X: Matrix) -> Mask:
        """Return whether each hyperparameter exists, `n x d`-dim, at `n x d`-dim coordinates."""
        return self.conditions.active(self._levels(X, self.conditions.parents))

    def snap(self, X: Matrix) -> Matrix:
        """Return the coordinates of the configurations that `X`, `n x d`-dim, decodes to."""
        snapped = self._levels(X, range(self.dim))
        if self.conditions.guards:
            snapped[~self.conditions.active(snapped)] = ABSENT
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

        With conditions and more than a million combinations of values, combinations count that
        differ only in what does not exist. With constraints and more than 20,000, combinations
        count that break them.
        """
        limit = _LISTABLE if self.constraints else LISTABLE_LEVELS
        if self._combinations > limit or not (self.constraints or self.conditions.guards):
            return self._combinations
        return float(len(self.listed()))

    def listed(self) -> Matrix:
        """Return the coordinates of every configuration, `cardinality x d`-dim, of a finite space.

        Raises:
            SpaceError: There are more levels than can be listed (`Domain.level_units`).
        """
        every = self._every()
        return every[self.allowed(every)]

    def _every(self) -> Matrix:
        levels = np.meshgrid(*(c.domain.level_units() for c in self.columns), indexing="ij")
        every = np.stack([axis.ravel() for axis in levels], axis=1)
        return np.unique(self.snap(every), axis=0) if self.conditions.guards else every

    def _find_witness(self) -> None:
        """Find a point that keeps the constraints, and check that one at full fidelity does.

        Raises:
            SpaceError: None does, of all points or of many draws.
        """
        self._witness = np.full((1, self.dim), ABSENT)
        if not self.constraints:
            return
        self._witness = self._first_allowed(self._batches(), "")
        if self.fidelities:
            names = ", ".join(self.columns[j].name for j in self.fidelities)
            self._first_allowed(map(self.in_full, self._batches()), f" at full fidelity ({names})")

    def _batches(self) -> Iterator[Matrix]:
        """Yield draws, or a few and then all points if they can be listed."""
        rng = np.random.default_rng(0)
        yield rng.random((_AT_ONCE, self.dim))
        if self._combinations <= _LISTABLE:
            yield self._every()
            return
        for _ in range(_DRAWS // _AT_ONCE):
            yield rng.random((_AT_ONCE, self.dim))

    def _first_allowed(self, batches: Iterable[Matrix], where: str) -> Matrix:
        for X in batches:
            found = X[self.allowed(X)]
            if len(found):
                return self.snap(found[:1])
        finite, names = self._combinations <= _LISTABLE, [c.name for c in self.constraints]
        raise SpaceError(
            f"none of {'its configurations' if finite else f'{_DRAWS} draws'}{where} keeps"
            f" {'the constraint' if len(names) == 1 else 'all of the constraints'}"
            f" {', '.join(names)}; is it what you mean? Widen a range, or loosen it"
        )

    def pulled_back(self, start: Matrix, X: Matrix) -> Matrix:
        """Return `X` moved towards allowed points as far as needed to keep the constraints.

        Args:
            start: `n x d`-dim, allowed.
            X: `n x d`-dim.

        Returns:
            `n x d`-dim points on the way from `start` to `X`, found by bisection; at worst `start`.
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

        Args:
            rng: Their source.
            n: How many.
            most: If this many draws give too few points, the rest are draws that are moved towards
                those found.
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
