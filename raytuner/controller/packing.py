"""Count how many resource requests fit on the nodes of a cluster."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from ray.tune import PlacementGroupFactory

Bundle = Mapping[str, float]
"""Resources on one node, by Ray's names: `CPU`, `GPU`, `memory` (bytes) and custom ones."""

_SLACK = 1e-6  # a little more than exactly: ten shares of 0.1 are one
_STEPS = 20_000  # of the search for a way to lay one request


def fits(bundles: Sequence[Bundle], strategy: str, nodes: Sequence[Bundle]) -> int:
    """Return how many trials with this request the nodes hold at once.

    One bundle lies on one node. Several are laid as their strategy says, one request after the
    other, so that another order might hold more.

    Args:
        bundles: What one trial asks for; each bundle lies on one node.
        strategy: Ray's placement strategy for several bundles.
        nodes: What each node has.

    Example:
        >>> fits([{"CPU": 2, "GPU": 0.6}], "PACK", [{"CPU": 16, "GPU": 1}, {"CPU": 16, "GPU": 1}])
        2
        >>> fits([{"GPU": 1}, {"GPU": 1}], "PACK", [{"GPU": 3}, {"GPU": 2}])
        2
    """
    bundles = [bundle for bundle in bundles if bundle]
    if len(bundles) == 1:
        return sum(_times(bundles[0], node) for node in nodes)
    if strategy == "STRICT_PACK":
        bundles = [summed(bundles)]
    # The largest first: the fewest nodes can hold it.
    bundles.sort(key=lambda bundle: sorted(bundle.values()), reverse=True)
    free = [dict(node) for node in nodes if _is_useful(node, bundles)]
    count = 0
    while (where := _lay(bundles, free, strategy, [], iter(range(_STEPS)))) is not None:
        on = {
            node: summed(b for b, n in zip(bundles, where, strict=True) if n == node)
            for node in where
        }
        times = 1
        # The next requests go to the same nodes while these have room.
        if "SPREAD" not in strategy:
            times = max(1, min(_times(amounts, free[node]) for node, amounts in on.items()))
        for node, amounts in on.items():
            for name, amount in amounts.items():
                free[node][name] = free[node].get(name, 0.0) - times * amount
        for node in sorted(on, reverse=True):
            if not _is_useful(free[node], bundles):
                del free[node]
        count += times
    return count


def slots(factory: PlacementGroupFactory, nodes: Sequence[Mapping[str, float]]) -> int:
    """Return how many trials with Ray's own form of a request the nodes hold at once."""
    return fits(factory.bundles, factory.strategy, nodes)


def summed(amounts: Iterable[Bundle]) -> dict[str, float]:
    """Return the sum of several bundles or nodes."""
    total: dict[str, float] = {}
    for each in amounts:
        for name, amount in each.items():
            total[name] = total.get(name, 0.0) + amount
    return total


def missing(bundle: Bundle, node: Mapping[str, float]) -> dict[str, float]:
    """How much of what a bundle asks for a node lacks, by name; empty if it fits.

    >>> missing({"CPU": 2, "GPU": 4}, {"CPU": 8, "GPU": 1})
    {'GPU': 3.0}
    """
    return {
        name: float(amount - node.get(name, 0.0))
        for name, amount in bundle.items()
        if node.get(name, 0.0) < amount * (1 - _SLACK)
    }


def _times(bundle: Bundle, node: Mapping[str, float]) -> int:
    return max(0, math.floor(_share(bundle, node) + _SLACK))


def _share(bundle: Bundle, node: Mapping[str, float]) -> float:
    return min(node.get(name, 0.0) / amount for name, amount in bundle.items())


def _is_useful(node: Mapping[str, float], bundles: Sequence[Bundle]) -> bool:
    """Whether a node holds at least one of the bundles."""
    return any(not missing(bundle, node) for bundle in bundles)


def _lay(
    bundles: Sequence[Bundle],
    free: Sequence[Mapping[str, float]],
    strategy: str,
    found: list[int],
    steps: Iterator[int],
) -> list[int] | None:
    """Return a node for each bundle, by number; None if there is none, or none found in time.

    Args:
        bundles: The bundles of one request.
        free: The free resources of each node.
        strategy: Ray's placement strategy.
        found: The nodes of the first bundles.
        steps: One item for each node that may be tried.
    """
    if len(found) == len(bundles):
        return found
    bundle = bundles[len(found)]
    taken: list[int] = sorted(set(found))
    others: Iterable[int] = (n for n in range(len(free)) if n not in found)
    # PACK prefers nodes that have a bundle already; SPREAD prefers others, the emptiest first.
    if "SPREAD" in strategy:
        others = sorted(others, key=lambda n: -_share(bundle, free[n]))
    if strategy == "STRICT_SPREAD":
        taken = []
    nodes = chain(taken, others) if strategy == "PACK" else chain(others, taken)
    tried: list[Mapping[str, float]] = []
    for node in nodes:
        there = [b for b, n in zip(bundles, found, strict=False) if n == node]
        # Nodes that are alike are tried once.
        if missing(summed([*there, bundle]), free[node]) or (not there and free[node] in tried):
            continue
        if next(steps, None) is None:
            return None
        if not there:
            tried.append(free[node])
        if (all_of := _lay(bundles, free, strategy, [*found, node], steps)) is not None:
            return all_of
    return None
