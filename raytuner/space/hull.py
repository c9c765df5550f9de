"""The smallest space that holds two others, and what differs between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from raytuner.errors import SpaceError
from raytuner.space.choices import is_number, same
from raytuner.space.domains import Categorical, Domain, Listed, Ordinal
from raytuner.space.numeric import Float, Integer, Normal
from raytuner.space.space import Space
from raytuner.space.template import Fidelity, Path, When, is_leaf, like, path_name


def hull(first: Space, second: Space) -> Space:
    """Return the space of all configurations of two spaces that have the same hyperparameters.

    Ranges reach from the lower of the low ends to the higher of the high ones. Choices are those of
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
    changed = [
        path
        for path in dict.fromkeys([*before, *after])
        if path not in before
        or path not in after
        or not _equal(before[path], after[path])
        or _marks(first, path) != _marks(second, path)
    ]
    lost = [one.name for one in first.constraints if one not in second.constraints]
    gained = [one.name for one in second.constraints if one not in first.constraints]
    return [
        *(f"{path_name(p)}: {_leaf(first, p)}, now {_leaf(second, p)}" for p in changed),
        *(f"constraint {name}: kept, now not" for name in lost),
        *(f"constraint {name}: now kept" for name in gained),
    ]


def _hull(a: Any, b: Any, path: Path) -> Any:
    name = path_name(path)
    if isinstance(a, When) or isinstance(b, When):
        if not (isinstance(a, When) and isinstance(b, When) and a.conditions == b.conditions):
            raise SpaceError(f"{name}: the two spaces differ in when it is there")
        return When(_hull(a.node, b.node, path), a.conditions)
    if isinstance(a, Fidelity) or isinstance(b, Fidelity):
        if isinstance(a, Domain) or isinstance(b, Domain):
            raise SpaceError(f"{name}: it is a fidelity in one of the two spaces only")
        one, other = (node.node if isinstance(node, Fidelity) else node for node in (a, b))
        return Fidelity(_hull(one, other, path))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in (key for key in [*a, *b] if key not in a or key not in b):
            raise SpaceError(
                f"{path_name((*path, key))}: only one of the two spaces has it; give it a constant"
                " value in the other"
            )
        return {key: _hull(value, b[key], (*path, key)) for key, value in a.items()}
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        pairs = enumerate(zip(a, b, strict=True))
        return like(a, [_hull(x, y, (*path, i)) for i, (x, y) in pairs])
    if _equal(a, b):
        return a
    try:
        found = _both(a, b) if is_leaf(a) and is_leaf(b) else None
    except SpaceError as error:
        raise SpaceError(f"{name}: {error}") from None
    if found is None:
        raise SpaceError(
            f"{name}: {_said(a)} and {_said(b)} are of different kinds; no space holds both"
        )
    return found


def _both(a: Any, b: Any) -> Domain | None:
    """Return a domain that holds what two different leaves hold, if there is one."""
    number = Float | Integer | Normal
    if isinstance(a, number) or isinstance(b, number):
        a, b = _as_range(a, b), _as_range(b, a)
        if type(a) is not type(b) or getattr(a, "log", None) != getattr(b, "log", None):
            return None
        step = a.step if a.step == b.step else None
        if isinstance(a, Normal):  # each holds every number
            return replace(b, step=step)
        return replace(a, low=min(a.low, b.low), high=max(a.high, b.high), step=step)
    values, others = _listed(a), _listed(b)
    merged = [*values, *(y for y in others if not any(same(x, y, strict=True) for x in values))]
    ordinals = [domain for domain in (a, b) if isinstance(domain, Ordinal)]
    if not ordinals:
        return Categorical(merged)
    if all(map(is_number, merged)):
        return Ordinal(sorted(merged))
    return next((one for one in ordinals if one.n_levels == len(merged)), None)


def _as_range(leaf: Any, other: Any) -> Any:
    """Return a numeric domain, or a constant as the other's kind of domain with only this value."""
    if isinstance(leaf, Domain):
        return leaf
    if not is_number(leaf) or (isinstance(other, Integer) and leaf % 1):
        return None
    return other if isinstance(other, Normal) else replace(other, low=leaf, high=leaf, step=None)


def _listed(leaf: Any) -> Sequence[Any]:
    return leaf.objects if isinstance(leaf, Listed) else [leaf]


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Domain) or isinstance(b, Domain):
        return bool(a == b)
    return same(a, b, strict=True)


def _leaf(space: Space, path: Path) -> str:
    """Return all that a space says of one leaf, as text."""
    leaves = space.leaves()
    if path not in leaves:
        return "none"
    leaf, more = leaves[path], ""
    if isinstance(leaf, Normal):
        more = f" with mean {leaf.mean} and standard deviation {leaf.sd}"
    elif isinstance(leaf, Float | Integer) and leaf.log:
        more = " on a log scale"
    elif isinstance(leaf, Ordinal):
        more = " in this order"
    return _said(leaf) + more + _marks(space, path)


def _marks(space: Space, path: Path) -> str:
    """Return whether a leaf is a fidelity, and under which conditions it exists, as text."""
    conditions = space.conditions.text(path)
    is_fidelity = any(column.is_fidelity for column in space.columns if column.path == path)
    return is_fidelity * ", a fidelity" + (f", where {conditions}" if conditions else "")


def _said(leaf: Any) -> str:
    return leaf.describe() if isinstance(leaf, Domain) else repr(leaf)
