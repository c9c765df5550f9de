"""Hyperparameters that exist only where others have certain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from raytuner.errors import SpaceError

# Unit coordinates of one level may differ in their last bits.
_SAME_UNIT = 1e-12


@dataclass(frozen=True)
class When:
    """A part of a search space under conditions; see :func:`when`.

    Attributes:
        node: What is there if all conditions hold: a domain, a group (dict) or a constant.
        conditions: Names of hyperparameters, each with the values of which it must have one.
    """

    node: Any
    conditions: tuple[tuple[str, tuple[Any, ...]], ...]


def when(node: Any, /, **conditions: Any) -> When:
    """A part of a search space that is there only if other hyperparameters have certain values.

    Where a condition does not hold, the key is left out of the trial's configuration, and the
    model knows that the value does not exist, rather than comparing it.

    Args:
        node: A domain of Ray Tune's or raytuner's, a group of such (a dict), or a constant; the
            value of a key in a dict.
        conditions: By name of another hyperparameter, the value that it must have, or a list or
            set of values of which it must have one. All must hold. A name is looked up beside the
            key, then in the groups around it; a path such as ``"net/act"`` is given with ``**``.
            The other hyperparameter must have levels (a choice, whole numbers, a step), and may
            itself be there only under conditions: without it, the condition does not hold.

    Raises:
        SpaceError: No condition, or one that allows no value. Names and values are checked when
            the space is made.

    Example:
        >>> from raytuner.space import Categorical, Float, Space
        >>> space = Space(
        ...     {
        ...         "optimizer": Categorical(["sgd", "adam"]),
        ...         "momentum": when(Float(0, 1), optimizer="sgd"),
        ...     }
        ... )
        >>> import numpy as np
        >>> space.decode(np.array([[0.1, 0.5], [0.9, 0.5]]))
        [{'optimizer': 'sgd', 'momentum': 0.5}, {'optimizer': 'adam'}]
    """
    if not conditions:
        raise SpaceError(
            f"when({node!r}) has no condition; give one by name, such as optimizer='sgd'"
        )
    allowed = {name: tuple(v) if isinstance(v, list | set | frozenset) else (v,) for name, v in
               conditions.items()}  # fmt: skip
    for name, values in allowed.items():
        if not values:
            raise SpaceError(f"when({node!r}): {name} has no value to be; give one or more")
    if isinstance(node, When):
        return When(node.node, (*node.conditions, *allowed.items()))
    return When(node, tuple(allowed.items()))


@dataclass(frozen=True)
class Requirement:
    """What a condition comes to in the unit cube.

    Attributes:
        column: Position of the column that must have one of some values.
        units: Unit coordinates of these.
    """

    column: int
    units: tuple[float, ...]


class Activity:
    """Which hyperparameters exist at points of the unit cube.

    Args:
        requires: Of each of the d columns, its conditions.
        names: Of each column, for messages.

    Raises:
        SpaceError: Conditions in a circle.
    """

    def __init__(self, requires: Sequence[Sequence[Requirement]], names: Sequence[str]) -> None:
        order = in_order(requires, names)
        self._requires = [(j, r) for j in order for r in requires[j]]

    def __call__(self, X: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """``(..., d)`` of ``(..., d)`` coordinates, those of levels exactly."""
        there = np.ones(X.shape, dtype=bool)
        for j, requirement in self._requires:
            there[..., j] &= holds(requirement, X, there)
        return there


def holds(
    requirement: Requirement, X: npt.NDArray[np.float64], there: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """``(...)`` whether a condition holds at ``(..., d)`` coordinates.

    Args:
        requirement: The condition.
        X: The coordinates, those of levels exactly.
        there: ``(..., d)`` which hyperparameters exist, as far as it is known.
    """
    units = X[..., requirement.column, None] - np.array(requirement.units)
    found: npt.NDArray[np.bool_] = (np.abs(units) <= _SAME_UNIT).any(axis=-1)
    return found & there[..., requirement.column]


def in_order(requirements: Sequence[Sequence[Requirement]], names: Sequence[str]) -> list[int]:
    """Columns such that each comes after those that it depends on.

    Args:
        requirements: Of each column.
        names: Of each column, for the message.

    Raises:
        SpaceError: There is no such order.
    """
    order: list[int] = []
    state = dict.fromkeys(range(len(names)), "new")

    def visit(j: int, above: tuple[int, ...]) -> None:
        if state[j] == "open":
            circle = [names[k] for k in (*above[above.index(j) :], j)]
            raise SpaceError(f"conditions in a circle: {' needs '.join(circle)}")
        if state[j] == "new":
            state[j] = "open"
            for requirement in requirements[j]:
                visit(requirement.column, (*above, j))
            state[j] = "done"
            order.append(j)

    for j in range(len(names)):
        visit(j, ())
    return order


def candidates(name: str, scope: Sequence[Any]) -> list[str]:
    """Full names that a condition's name may mean, innermost first.

    Example:
        >>> candidates("act", ("net", "head"))
        ['net/head/act', 'net/act', 'act']
    """
    outer = [scope[:i] for i in range(len(scope), -1, -1)]
    return ["/".join([*map(str, path), name]) for path in outer]
