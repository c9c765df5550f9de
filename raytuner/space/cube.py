"""The unit cube of a search space: one dimension for each hyperparameter that varies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from raytuner.errors import ConfigError, SpaceError
from raytuner.space.conditions import Conditions, Mask, Matrix, Requirement
from raytuner.space.domains import Domain, Kind
from raytuner.space.template import Path

ABSENT = 0.5
"""The coordinate of a hyperparameter that does not exist in a configuration."""

_SAME_LEVEL = 1e-9


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


class Cube:
    """The unit cube of a search space, `[0, 1]^d`.

    Args:
        columns: What varies, d hyperparameters.
        conditions: Their conditions.

    Raises:
        SpaceError: Only fidelities vary, or one is under conditions.

    Attributes:
        columns: What varies, in the order of definition.
        fidelities: Positions of the columns that are fidelities.
        conditions: Computes which parts exist.
    """

    def __init__(self, columns: Sequence[Column], conditions: Conditions) -> None:
        self.columns = tuple(columns)
        self.conditions = conditions
        self.fidelities = tuple(j for j, column in enumerate(columns) if column.is_fidelity)
        self._full = np.array([columns[j].domain.snap(np.ones(1))[0] for j in self.fidelities])
        self._combinations = math.prod(float(c.n_levels or math.inf) for c in columns)
        for column in columns:
            if column.is_fidelity and column.requires:
                raise SpaceError(
                    f"{column.name}: a fidelity must be there in every configuration; leave out"
                    " its conditions"
                )
        if len(self.fidelities) == len(columns):
            names = ", ".join(column.name for column in columns)
            raise SpaceError(f"all that varies are fidelities ({names}): nothing is to search")

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
        X = np.clip(X, 0, 1)
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

    def _every(self) -> Matrix:
        """Return all points of a finite cube, those that differ only in what is absent once.

        Raises:
            SpaceError: There are more levels than can be listed (`Domain.level_units`).
        """
        levels = np.meshgrid(*(c.domain.level_units() for c in self.columns), indexing="ij")
        every = np.stack([axis.ravel() for axis in levels], axis=1)
        return np.unique(self.snap(every), axis=0) if self.conditions.guards else every
