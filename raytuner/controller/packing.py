"""Count how many resource requests fit on nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bundle = Mapping[str, float]
"""Resources on one node, by Ray's names: `CPU`, `GPU`, `memory` (bytes) and custom ones."""

_SLACK = 1e-6  # relative: ten shares of 0.1 are one
_Amounts = NDArray[np.float64]  # one amount for each resource that a trial asks for


def fits(bundles: Sequence[Bundle], strategy: str, nodes: Sequence[Bundle]) -> int:
    """Return how many trials with the same request the nodes hold at once.

    Several bundles are placed greedily, as Ray does; another order might hold more.

    Args:
        bundles: What one trial asks for; each bundle lies on one node.
        strategy: Ray's placement strategy. "SPREAD" counts as "PACK": Ray packs if it must.
        nodes: The resources of each node.

    Example:
        >>> fits([{"CPU": 2, "GPU": 0.6}], "PACK", [{"CPU": 16, "GPU": 1}, {"CPU": 16, "GPU": 1}])
        2
        >>> fits([{"GPU": 1}, {"GPU": 1}], "PACK", [{"GPU": 3}, {"GPU": 2}])
        2
    """
    if strategy == "STRICT_PACK":
        bundles = [summed(bundles)]
    names = [*summed(bundles)]
    asked = [np.array([each.get(name, 0.0) for name in names]) for each in bundles if each]
    free = np.array([[node.get(name, 0.0) for name in names] for node in nodes], float)
    if not len(free):
        return 0
    if len(asked) == 1:
        return int(_times(asked[0], free).sum())
    # The largest bundle first: the fewest nodes can hold it.
    asked.sort(key=lambda bundle: float(_shares(bundle, free).max()))
    is_apart = strategy == "STRICT_SPREAD"
    count = 0
    while taken := _place(asked, is_apart, free):
        # The next requests go to the same nodes, unless the bundles must lie apart.
        times = 1 if is_apart else min(int(_times(bundle, free[n])) for n, bundle in taken.items())
        for n, bundle in taken.items():
            free[n] -= times * bundle
        count += times
    return count


def _place(bundles: list[_Amounts], is_apart: bool, free: _Amounts) -> dict[int, _Amounts]:
    """Return what one request takes of each node, by the node's index; empty if it does not fit.

    Args:
        bundles: The bundles of the request, the largest first.
        is_apart: Whether each bundle needs a node of its own.
        free: The free resources, a row for each node.
    """
    taken: dict[int, _Amounts] = {}
    while bundles:
        first, *others = bundles
        shares = _shares(first, free)
        shares[[*taken]] = 0.0
        able = shares + _SLACK >= 1
        if not able.any():
            return {}
        # The fullest node, which then gets all other bundles that fit; the emptiest if apart.
        n = int(np.argmax(shares) if is_apart else np.argmin(np.where(able, shares, np.inf)))
        bundles, taken[n] = [], first
        for bundle in others:
            together = taken[n] + bundle
            if is_apart or _shares(together, free[n]) + _SLACK < 1:
                bundles.append(bundle)
            else:
                taken[n] = together
    return taken


def _times(bundle: _Amounts, free: _Amounts) -> Any:
    """Return how many times each node holds the bundle."""
    return np.maximum(np.floor(_shares(bundle, free) + _SLACK), 0)


def _shares(bundle: _Amounts, free: _Amounts) -> Any:
    """Return how many times each node holds the bundle, as a fraction."""
    asks = bundle > 0
    return (free[..., asks] / bundle[asks]).min(axis=-1)


def summed(amounts: Iterable[Bundle]) -> dict[str, float]:
    """Return the sum of several bundles or nodes."""
    total: dict[str, float] = {}
    for each in amounts:
        for name, amount in each.items():
            total[name] = total.get(name, 0.0) + amount
    return total


def missing(bundle: Bundle, node: Bundle) -> dict[str, float]:
    """Return how much of a bundle a node lacks, by name; empty if the bundle fits.

    >>> missing({"CPU": 2, "GPU": 4}, {"CPU": 8, "GPU": 1})
    {'GPU': 3.0}
    """
    return {
        name: float(amount - node.get(name, 0.0))
        for name, amount in bundle.items()
        if node.get(name, 0.0) < amount * (1 - _SLACK)
    }
