"""The smallest space that holds two others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from raytuner.errors import SpaceError
from raytuner.space.choices import is_number, same
from raytuner.space.domains import Categorical, Domain, Ordinal
from raytuner.space.numeric import Float, Integer, Normal
from raytuner.space.space import Space
from raytuner.space.template import Fidelity, Path, When, like, path_name

_MISSING = object()


def hull(first: Space, second: Space) -> Space:
    """The space of all configurations of two spaces that have the same hyperparameters.

    Ranges reach from the lower of the low ends to the higher of the high ones; choices are those of
    the first and then the others of the second. A constant is one more value; two different
    constants are a choice. Of the constraints, those that both have are kept.

    Raises:
        SpaceError: One has a hyperparameter that the other has not, or they differ in kind
            (a number and a choice, a logarithmic range and a linear one) or in conditions.

    >>> hull(Space({"lr": Float(0.1, 0.2), "n": 3}), Space({"lr": Float(0.15, 0.4), "n": 5}))
    Space({'lr': Float(low=0.1, high=0.4, log=False, step=None), 'n': Categorical(choices=(3, 5))})
    """
    shared = [one for one in first.constraints if one in second.constraints]
    return Space(_hull(first.template, second.template, ()), shared)


def differences(first: Space, second: Space) -> list[str]:
    """Return what differs between two spaces, a line each.

    >>> differences(Space({"lr": Float(0.1, 0.2), "n": 3}), Space({"lr": Float(0.1, 0.2), "n": 5}))
    ['n: 3, now 5']
    >>> differences(Space({"lr": Float(0.1, 1)}), Space({"lr": Float(0.1, 1, log=True), "n": 3}))
    ['lr: a number from 0.1 to 1.0, now a number from 0.1 to 1.0 on a log scale', 'n: none, now 3']
    """
    before, after = first.leaves(), second.leaves()
    paths = dict.fromkeys([*before, *after])
    return [
        *(
            f"{path_name(path)}: {_leaf(first, path)}, now {_leaf(second, path)}"
            for path in paths
            if not (
                path in before
                and path in after
                and _equal(before[path], after[path])
                and _marks(first, path) == _marks(second, path)
            )
        ),
        *(
            f"constraint {c.name}: kept, now not"
            for c in first.constraints
            if c not in second.constraints
        ),
        *(
            f"constraint {c.name}: now kept"
            for c in second.constraints
            if c not in first.constraints
        ),
    ]


def _hull(a: Any, b: Any, path: Path) -> Any:
    if isinstance(a, When) or isinstance(b, When):
        if not (isinstance(a, When) and isinstance(b, When) and a.conditions == b.conditions):
            raise SpaceError(f"{path_name(path)}: the two spaces differ in when it is there")
        return When(_hull(a.node, b.node, path), a.conditions)
    if isinstance(a, Fidelity) or isinstance(b, Fidelity):
        if isinstance(a, Domain) or isinstance(b, Domain):
            raise SpaceError(f"{path_name(path)}: it is a fidelity in one of the two spaces only")
        one, other = (node.node if isinstance(node, Fidelity) else node for node in (a, b))
        return Fidelity(_hull(one, other, path))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for one, other in ((a, b), (b, a)):
            for key in one:
                if key not in other:
                    raise SpaceError(
                        f"{path_name((*path, key))}: only one of the two spaces has it; give it a"
                        " constant value in the other"
                    )
        return {key: _hull(value, b[key], (*path, key)) for key, value in a.items()}
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        pairs = zip(a, b, strict=True)
        return like(a, [_hull(x, y, (*path, i)) for i, (x, y) in enumerate(pairs)])
    if _equal(a, b):
        return a
    is_group = any(isinstance(node, Mapping | list | tuple) for node in (a, b))
    try:
        found = None if is_group else _both(a, b)
    except SpaceError as error:
        raise SpaceError(f"{path_name(path)}: {error}") from None
    if found is None:
        raise SpaceError(
            f"{path_name(path)}: {_said(a)} and {_said(b)} are of different kinds; no space holds"
            " both"
        )
    return found


def _both(a: Any, b: Any) -> Domain | None:
    """One domain for what two different leaves hold, if there is one."""
    if not isinstance(a, Domain) and not isinstance(b, Domain):
        return Categorical([a, b])
    if isinstance(a, Float | Integer | Normal) or isinstance(b, Float | Integer | Normal):
        ranges = [_as_range(leaf, other) for leaf, other in ((a, b), (b, a))]
        return None if None in ranges else _wider(*ranges)
    if isinstance(a, Ordinal) or isinstance(b, Ordinal):
        merged = _merged(_listed(a), _listed(b))
        if all(is_number(value) for value in merged):
            return Ordinal(sorted(merged))
        for domain in (a, b):  # whose order holds for both
            if isinstance(domain, Ordinal) and len(domain.values) == len(merged):
                return domain
        return None
    return Categorical(_merged(_listed(a), _listed(b)))


def _as_range(leaf: Any, other: Any) -> Any:
    """A numeric domain; a constant as one of the other's kind that has this value alone."""
    if isinstance(leaf, Float | Integer | Normal):
        return leaf
    if isinstance(leaf, Domain) or not is_number(leaf):
        return None
    if isinstance(other, Normal):
        return other
    if isinstance(other, Integer) and leaf != int(leaf):
        return None
    return replace(other, low=leaf, high=leaf, step=None)


def _wider(a: Any, b: Any) -> Domain | None:
    if type(a) is not type(b):
        return None
    step = a.step if a.step == b.step else None
    if isinstance(a, Normal):  # each holds every number
        return replace(b, step=step)
    if a.log != b.log:
        return None
    return replace(a, low=min(a.low, b.low), high=max(a.high, b.high), step=step)


def _listed(leaf: Any) -> Sequence[Any]:
    if isinstance(leaf, Categorical):
        return leaf.choices
    return leaf.values if isinstance(leaf, Ordinal) else [leaf]


def _merged(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
    return [*a, *(y for y in b if not any(same(x, y, strict=True) for x in a))]


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Domain) or isinstance(b, Domain):
        return bool(a == b)
    return same(a, b, strict=True)


def _leaf(space: Space, path: Path) -> str:
    """Return all that a space says of one leaf, in words."""
    leaf = space.leaves().get(path, _MISSING)
    if leaf is _MISSING:
        return "none"
    words = _said(leaf)
    if isinstance(leaf, Normal):
        words += f" with mean {leaf.mean} and standard deviation {leaf.sd}"
    elif isinstance(leaf, Float | Integer) and leaf.log:
        words += " on a log scale"
    elif isinstance(leaf, Ordinal):
        words += " in this order"
    return words + _marks(space, path)


def _marks(space: Space, path: Path) -> str:
    """Say whether a leaf is a fidelity, and under which conditions it is there."""
    conditions = space.conditions(path)
    is_fidelity = any(column.is_fidelity for column in space.columns if column.path == path)
    return is_fidelity * ", a fidelity" + (f", where {conditions}" if conditions else "")


def _said(leaf: Any) -> str:
    return leaf.describe() if isinstance(leaf, Domain) else repr(leaf)
