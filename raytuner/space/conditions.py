"""Conditions under which hyperparameters exist, as requirements on the coordinates of others."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import numpy.typing as npt

from raytuner.errors import SpaceError
from raytuner.space.choices import is_number, same
from raytuner.space.domains import Domain
from raytuner.space.template import Path, When, is_leaf, path_name, varies

Matrix = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Unit coordinates of one level may differ in their last bits.
_SAME_UNIT = 1e-12


@dataclass(frozen=True)
class Requirement:
    """A condition in the unit cube: a hyperparameter exists and has one of some values.

    Attributes:
        column: Position of its column.
        units: Unit coordinates of the values.
    """

    column: int
    units: tuple[float, ...]

    def holds(self, X: Matrix, active: Mask) -> Mask:
        """Return whether it holds, `...`-dim, at `... x d`-dim coordinates.

        Args:
            X: The coordinates, those of levels exactly.
            active: Which hyperparameters exist, `... x d`-dim, as far as it is known.
        """
        off = np.abs(X[..., self.column, None] - np.array(self.units))
        found: Mask = (off <= _SAME_UNIT).any(axis=-1) & active[..., self.column]
        return found


class Activity:
    """Computes which hyperparameters exist at points of the unit cube.

    Args:
        requires: The conditions of each of the d columns.
        names: The name of each column, for messages.

    Raises:
        SpaceError: Conditions in a circle.
    """

    def __init__(self, requires: Sequence[Sequence[Requirement]], names: Sequence[str]) -> None:
        graph = {j: [r.column for r in conditions] for j, conditions in enumerate(requires)}
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            circle = [names[j] for j in reversed(error.args[1])]
            raise SpaceError(f"conditions in a circle: {' needs '.join(circle)}") from None
        self._requires = [(j, requirement) for j in order for requirement in requires[j]]

    def __call__(self, X: Matrix) -> Mask:
        """Return `... x d`-dim bool at `... x d`-dim coordinates, those of levels exactly."""
        active = np.ones(X.shape, dtype=bool)
        for j, requirement in self._requires:
            active[..., j] &= requirement.holds(X, active)
        return active


class Conditions:
    """The conditions of the parts of a space.

    Args:
        parts: The paths and parts of its template.

    Attributes:
        guards: The requirements of each part that may be absent, by its path.
        parents: The columns that others depend on.
        active: Computes which columns exist.

    Raises:
        SpaceError: A condition is on something unknown or without levels, never holds, or needs
            itself.
    """

    def __init__(self, parts: Sequence[tuple[Path, Any]]) -> None:
        leaves = {path: node for path, node in parts if is_leaf(node)}
        domains = {path: leaf for path, leaf in leaves.items() if varies(leaf)}
        self._domains = {path_name(path): domain for path, domain in domains.items()}
        self._constants = {
            path_name(path): leaf.from_unit(0.5) if isinstance(leaf, Domain) else leaf
            for path, leaf in leaves.items()
            if path not in domains
        }
        guards = {path: self._read(path, node) for path, node in parts if isinstance(node, When)}
        self.guards = {path: found for path, found in guards.items() if found}
        self.parents = {r.column for found in self.guards.values() for r in found}
        self.active = Activity([self.of(path) for path in domains], list(self._domains))

    def of(self, path: Path) -> tuple[Requirement, ...]:
        """Return the requirements of what lies at a path, its own and those of what holds it."""
        above = (path[: i + 1] for i in range(len(path)))
        return tuple(r for part in above for r in self.guards.get(part, ()))

    def text(self, path: Path) -> str:
        """Return the conditions of what lies at a path, as text."""
        words = []
        for requirement in self.of(path):
            name, domain = list(self._domains.items())[requirement.column]
            values = map(repr, map(domain.from_unit, requirement.units))
            words.append(f"{name} is {' or '.join(values)}")
        return " and ".join(words)

    def absent(self, X: Matrix) -> list[list[Path]]:
        """Return the paths of the parts that do not exist, a list for each of n points.

        `X` is `n x d`-dim, with the parents at their levels.
        """
        found: list[list[Path]] = [[] for _ in X]
        if not self.guards:
            return found
        active = self.active(X)
        for path, conditions in self.guards.items():
            exists = np.logical_and.reduce([one.holds(X, active) for one in conditions])
            for i in np.flatnonzero(~exists):
                found[i].append(path)
        return found

    def _read(self, path: Path, node: When) -> tuple[Requirement, ...]:
        """Return the requirements of a part, without those that always hold."""
        if isinstance(path[-1], int):
            raise SpaceError(f"{path_name(path)}: an item of a list cannot be under conditions")
        where, found = f"{path_name(path)}: it depends on ", []
        for name, values in node.conditions:
            # A name belongs to the part's own group, or else to the next one around it.
            names = [path_name((*path[:i], name)) for i in range(len(path) - 1, -1, -1)]
            known = [*self._domains, *self._constants]
            full = next((one for one in names if one in known), None)
            if full is None:
                hint = known_names(name, known)
                raise SpaceError(f"{where}{name!r}, which is not known here: {hint}")
            if full not in self._domains:
                constant = self._constants[full]
                if not any(equal(constant, value) for value in values):
                    wanted = " or ".join(map(repr, values))
                    raise SpaceError(
                        f"{where}{full} being {wanted}, which is never so: {full} is always"
                        f" {constant!r}"
                    )
                continue
            domain, column = self._domains[full], list(self._domains).index(full)
            if domain.kind == "continuous":
                raise SpaceError(
                    f"{where}{full}, which is {domain.describe()}; a condition needs a choice,"
                    " whole numbers or a step"
                )
            for value in values:
                if not domain.contains(value):
                    raise SpaceError(
                        f"{where}{full} being {value!r}, which is never so: {full} is"
                        f" {domain.describe()}"
                    )
            found.append(Requirement(column, tuple(map(domain.to_unit, values))))
        return tuple(found)


def known_names(name: Any, known: Iterable[Any]) -> str:
    """Return a list of known names, with a hint if one of them is close to another name."""
    by_lower = {str(one).lower(): one for one in known}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1)
    hint = f"; did you mean {by_lower[close[0]]!r}?" if close else ""
    return (", ".join(map(str, known)) or "none") + hint


def equal(constant: Any, value: Any) -> bool:
    """Whether a value is a constant; floats may differ by a relative 1e-9."""
    close = is_number(constant) and is_number(value) and math.isclose(constant, value)
    return close or same(constant, value, strict=False)
