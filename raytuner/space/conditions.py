"""Conditions of hyperparameters, as requirements on the coordinates of others."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
import numpy.typing as npt

from raytuner.errors import SpaceError
from raytuner.space.choices import is_number, same
from raytuner.space.domains import Domain
from raytuner.space.template import Path, When, path_name

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

    def holds(self, X: npt.NDArray[np.float64], active: npt.NDArray[np.bool_]) -> Any:
        """Return whether it holds, `...`-dim bool, at `... x d`-dim coordinates.

        Args:
            X: The coordinates, those of levels exactly.
            active: Which hyperparameters exist, `... x d`-dim, as far as it is known.
        """
        off = np.abs(X[..., self.column, None] - np.array(self.units))
        return (off <= _SAME_UNIT).any(axis=-1) & active[..., self.column]


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

    def __call__(self, X: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Return `... x d`-dim bool at `... x d`-dim coordinates, those of levels exactly."""
        active = np.ones(X.shape, dtype=bool)
        for j, requirement in self._requires:
            active[..., j] &= requirement.holds(X, active)
        return active


def requirements(
    path: Path, node: When, domains: Mapping[str, tuple[int, Domain]], constants: Mapping[str, Any]
) -> tuple[Requirement, ...]:
    """Return the conditions of the part at a path, without those that always hold.

    Args:
        path: The path.
        node: The part.
        domains: By the name of each hyperparameter, its column and its domain.
        constants: Constants by name.

    Raises:
        SpaceError: A condition is on something unknown or without levels, or never holds.
    """
    where, found = f"{path_name(path)}: it depends on ", []
    for name, values in node.conditions:
        # A name belongs to the part's own group, or else to the next one around it that has it.
        names = [path_name((*path[:i], name)) for i in range(len(path) - 1, -1, -1)]
        full = next((f for f in names if f in domains or f in constants), None)
        if full is None:
            known = known_names(name, [*domains, *constants])
            raise SpaceError(f"{where}{name!r}, which is not known here: {known}")
        if full in constants:
            if not any(equal(constants[full], value) for value in values):
                raise SpaceError(
                    f"{where}{full} being {' or '.join(map(repr, values))}, which is never so:"
                    f" {full} is always {constants[full]!r}"
                )
            continue
        column, domain = domains[full]
        if domain.kind == "continuous":
            raise SpaceError(
                f"{where}{full}, which is {domain.describe()}; a condition needs a choice, whole"
                " numbers or a step"
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
