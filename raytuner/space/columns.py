"""The columns of a search space: the hyperparameters that vary, and when each exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import numpy.typing as npt

from raytuner.errors import ConfigError, SpaceError
from raytuner.space.domains import Categorical, Domain, Kind
from raytuner.space.template import Fidelity, Path, When, is_leaf, known_names, path_name, varies

Matrix = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

SAME_LEVEL = 1e-9
"""Coordinates of one level may differ by this, in their last bits."""


@dataclass(frozen=True)
class Requirement:
    """A condition: the hyperparameter of a column exists and is at one of some coordinates."""

    column: int
    units: tuple[float, ...]

    def holds(self, X: Matrix, active: Mask) -> Mask:
        """Return whether it holds, `...`-dim, at `... x d`-dim coordinates."""
        off = np.abs(X[..., self.column, None] - np.array(self.units))
        found: Mask = (off <= SAME_LEVEL).any(axis=-1) & active[..., self.column]
        return found


class Activity:
    """Computes which of d hyperparameters exist at points of the unit cube.

    Raises:
        SpaceError: Conditions depend on each other in a circle.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        graph = {j: [r.column for r in column.requires] for j, column in enumerate(columns)}
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            circle = " needs ".join(columns[j].name for j in reversed(error.args[1]))
            raise SpaceError(f"conditions depend on each other: {circle}") from None
        self._requires = [(j, requirement) for j in order for requirement in columns[j].requires]

    def __call__(self, X: Matrix) -> Mask:
        """Return `... x d`-dim bool at `... x d`-dim coordinates, those of levels exactly."""
        active = np.ones(X.shape, dtype=bool)
        for j, requirement in self._requires:
            active[..., j] &= requirement.holds(X, active)
        return active


@dataclass(frozen=True)
class Column:
    """One hyperparameter that varies: one dimension of the unit cube."""

    path: Path
    name: str  # the path's keys joined by "/"
    domain: Domain
    requires: tuple[Requirement, ...] = ()  # all must hold for it to exist
    is_fidelity: bool = False

    @property
    def kind(self) -> Kind:
        """The domain's kind."""
        return self.domain.kind

    @property
    def n_levels(self) -> int | None:
        """The domain's number of levels; None if it is infinite."""
        return self.domain.n_levels

    def missing(self) -> ConfigError:
        """Return the error of a configuration that lacks this hyperparameter."""
        return ConfigError(f"{self.name}: missing, expected {self.domain.describe()}")


Guards = Mapping[Path, tuple[Requirement, ...]]
"""The requirements of each conditional part of a template, without those of its parents."""


def columns_and_guards(parts: Sequence[tuple[Path, Any]]) -> tuple[tuple[Column, ...], Guards]:
    """Return the columns and guards of a template; raises a SpaceError if it is invalid."""
    domains = {path: node for path, node in parts if varies(node)}
    names = list(map(path_name, domains))
    for name in names:
        if names.count(name) > 1:
            raise SpaceError(f"{name}: two hyperparameters have this name; rename one")
    leaves = {path_name(path): node for path, node in parts if is_leaf(node)}
    found = {p: _requirements(p, n, leaves, names) for p, n in parts if isinstance(n, When)}
    guards = {path: needs for path, needs in found.items() if needs}
    marked = {path for path, node in parts if isinstance(node, Fidelity)}
    columns = tuple(
        Column(path, path_name(path), domain, needs_of(path, guards), path in marked)
        for path, domain in domains.items()
    )
    for column in columns:
        if column.is_fidelity and column.requires:
            raise SpaceError(
                f"{column.name}: a fidelity must exist in every configuration; remove its"
                " conditions"
            )
    if all(column.is_fidelity for column in columns):
        raise SpaceError(
            f"only fidelities vary ({', '.join(names)}), so there is nothing to search"
        )
    return columns, guards


def needs_of(path: Path, guards: Guards) -> tuple[Requirement, ...]:
    """Return the requirements of the part at a path, including those of its parents."""
    above = (path[: i + 1] for i in range(len(path)))
    return tuple(need for part in above for need in guards.get(part, ()))


def _requirements(
    path: Path, node: When, leaves: Mapping[str, Any], columns: Sequence[str]
) -> tuple[Requirement, ...]:
    """Return the requirements of a part, without those on constants: they always hold."""
    if isinstance(path[-1], int):
        raise SpaceError(f"{path_name(path)}: an item of a list cannot have conditions")
    where, found = f"{path_name(path)}: it depends on ", []
    for name, values in node.conditions:
        # A name belongs to the part's own group, or else to the next one around it.
        names = [path_name((*path[:i], name)) for i in range(len(path) - 1, -1, -1)]
        full = next((one for one in names if one in leaves), None)
        if full is None:
            hint = known_names(name, leaves)
            raise SpaceError(f"{where}{name!r}, which is unknown: {hint}")
        leaf = leaves[full]
        domain = leaf if isinstance(leaf, Domain) else Categorical([leaf])
        if domain.kind == "continuous":
            raise SpaceError(
                f"{where}{full}, which is {domain.describe()}; a condition needs a choice, an"
                " integer or a number with a step"
            )
        never = [value for value in values if not domain.contains(value)]
        if never and (full in columns or len(never) == len(values)):
            raise SpaceError(
                f"{where}{full} being {never[0]!r}, which never happens: {full} is"
                f" {domain.describe()}"
            )
        if full in columns:
            units = tuple(map(domain.to_unit, values))
            found.append(Requirement(columns.index(full), units))
    return tuple(found)
