"""The smallest space that contains two others, and the differences between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from raytuner.errors import SpaceError
from raytuner.space.choices import is_number, same
from raytuner.space.domains import Categorical, Domain, Listed, Ordinal
from raytuner.space.numeric import Float, Integer, Normal
from raytuner.space.space import Space
from raytuner.space.template import Fidelity, Path, When, is_leaf, like, named, path_name


def hull(first: Space, second: Space) -> Space:
    """Return the smallest space that contains two spaces with the same hyperparameters.

    Ranges and choices are merged. A constant counts as a value; two different constants become a
    choice. Only constraints of both spaces are kept.

    Raises:
        SpaceError: Only one space has some hyperparameter, or they differ in kind (a number and a
            choice, a logarithmic range and a linear one) or in conditions.

    Examples:
        >>> first, second = Space({"lr": Float(1, 2), "n": 3}), Space({"lr": Float(2, 4), "n": 5})
        >>> hull(first, second).template["n"]
        Categorical(values=(3, 5))
    """
    shared = [one for one in first.constraints if one in second.constraints]
    return Space(_hull(first.template, second.template, ()), shared)


def differences(first: Space, second: Space) -> list[str]:
    """Return the differences between two spaces, one line each.

    Examples:
        >>> lr = Float(0.1, 0.2)
        >>> differences(Space({"lr": lr, "n": 3}), Space({"lr": lr, "n": 5}))
        ['n: 3, now 5']
    """
    before, after = _texts(first), _texts(second)
    return [
        f"{name}: {before.get(name, 'none')}, now {after.get(name, 'none')}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def _texts(space: Space) -> dict[str, str]:
    """Return the leaves and constraints of a space as text, by name."""
    marked = {space.columns[j].path for j in space.fidelities}
    texts = {}
    for path, leaf in space.leaves().items():
        condition = space.conditions(path)
        where = f", where {condition}" if condition else ""
        texts[path_name(path)] = f"{leaf!r}{', a fidelity' * (path in marked)}{where}"
    return texts | {f"constraint {one.name}": "kept" for one in space.constraints}


def _hull(a: Any, b: Any, path: Path) -> Any:
    name = path_name(path)
    if isinstance(a, When) or isinstance(b, When):
        if not (isinstance(a, When) and isinstance(b, When) and a.conditions == b.conditions):
            raise SpaceError(f"{name}: its conditions differ between the two spaces")
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
        return like(a, {key: _hull(value, b[key], (*path, key)) for key, value in a.items()})
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return like(a, [_hull(a[i], b[i], (*path, i)) for i in range(len(a))])
    if same(a, b):
        return a
    with named(name):
        found = _both(a, b) if is_leaf(a) and is_leaf(b) else None
        if found is None:
            raise SpaceError(f"{a!r} and {b!r} are of different kinds; no space contains both")
    return found


def _both(a: Any, b: Any) -> Domain | None:
    """Return a domain that contains two different leaves, if there is one."""
    if isinstance(a, Float | Integer | Normal) or isinstance(b, Float | Integer | Normal):
        return _range(
            [one for one in (a, b) if isinstance(one, Domain)],
            [one for one in (a, b) if not isinstance(one, Domain)],
        )
    values, others = (one.values if isinstance(one, Listed) else (one,) for one in (a, b))
    merged = [*values, *(y for y in others if not any(same(x, y) for x in values))]
    ordinals = [domain for domain in (a, b) if isinstance(domain, Ordinal)]
    if not ordinals:
        return Categorical(merged)
    if all(map(is_number, merged)):
        return Ordinal(sorted(merged))
    return next((one for one in ordinals if one.n_levels == len(merged)), None)


def _range(domains: list[Any], numbers: list[Any]) -> Domain | None:
    """Return the range or normal domain that contains ranges and constants, if there is one."""
    kinds = {(type(one), getattr(one, "log", None)) for one in domains}
    whole = isinstance(domains[0], Integer)
    if len(kinds) > 1 or not all(is_number(n) and not (whole and n % 1) for n in numbers):
        return None
    steps = {one.step for one in domains}
    step = domains[0].step if len(steps) == 1 and not numbers else None
    if isinstance(domains[0], Normal):  # each holds every number
        return replace(domains[-1], step=step)
    low = min([*numbers, *(one.low for one in domains)])
    high = max([*numbers, *(one.high for one in domains)])
    return replace(domains[0], low=low, high=high, step=step)
