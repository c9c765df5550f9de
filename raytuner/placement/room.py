"""How many requests fit on nodes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from raytuner.placement.request import Bundle, Request, summed

_SLACK = 1e-6  # a little more than exactly: ten shares of 0.1 are one
_MOST = 10_000  # copies that are counted one by one
_STEPS = 20_000  # of the search for a way to lay one request


def fits(request: Request, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many trials with this request the nodes hold at once.

    One bundle lies on one node. Several are laid as their strategy says, one request after the
    other, so that another order might hold more.

    Args:
        request: What one trial asks for.
        nodes: What each node has, by Ray's names.

    Example:
        >>> fits(Request.of({"cpu": 2, "gpu": 0.6}), [{"CPU": 16, "GPU": 1}, {"CPU": 16, "GPU": 1}])
        2
        >>> fits(Request.of([{"gpu": 1}, {"gpu": 1}]), [{"GPU": 3}, {"GPU": 2}])
        2
    """
    bundles = [bundle for bundle in (*request.bundles, *request.trainer) if bundle]
    if len(bundles) == 1:
        return sum(_times(bundles[0], node) for node in nodes)
    free = [dict(node) for node in nodes]
    count = 0
    while count < _MOST and (where := _laid(bundles, free, request.strategy)) is not None:
        for bundle, node in where:
            for name, amount in bundle.items():
                free[node][name] = free[node].get(name, 0.0) - amount
        count += 1
    return count


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
    return max(0, math.floor(min(node.get(k, 0.0) / n for k, n in bundle.items()) + _SLACK))


def _laid(
    bundles: Sequence[Bundle], free: Sequence[Mapping[str, float]], strategy: str
) -> list[tuple[Bundle, int]] | None:
    """A node for each bundle, by number; None if there is no way, or none was found in time."""
    if strategy == "STRICT_PACK":
        whole = summed(bundles)
        on = next((n for n, node in enumerate(free) if not missing(whole, node)), None)
        return None if on is None else [(bundle, on) for bundle in bundles]
    # The largest first: it has the fewest places to go to.
    order = sorted(bundles, key=lambda bundle: sorted(bundle.values()), reverse=True)
    steps = iter(range(_STEPS))
    left = [dict(node) for node in free]
    found: list[tuple[Bundle, int]] = []
    return found if _lay(order, left, strategy, found, steps) else None


def _lay(
    bundles: Sequence[Bundle],
    left: list[dict[str, float]],
    strategy: str,
    found: list[tuple[Bundle, int]],
    steps: Iterator[int],
) -> bool:
    """Lay the rest of the bundles, trying again where it ends nowhere."""
    if len(found) == len(bundles):
        return True
    bundle = bundles[len(found)]
    taken = {node for _, node in found}
    # PACK: on nodes that have one already, if it can be; SPREAD: on others.
    nodes = sorted(range(len(left)), key=lambda n: (n in taken) != (strategy == "PACK"))
    tried: list[dict[str, float]] = []
    for node in nodes:
        if strategy == "STRICT_SPREAD" and node in taken:
            continue
        # Nodes that are alike are tried once.
        if missing(bundle, left[node]) or (node not in taken and left[node] in tried):
            continue
        if next(steps, None) is None:
            return False
        if node not in taken:
            tried.append(dict(left[node]))
        before = dict(left[node])
        for name, amount in bundle.items():
            left[node][name] -= amount
        found.append((bundle, node))
        if _lay(bundles, left, strategy, found, steps):
            return True
        found.pop()
        left[node].clear()
        left[node].update(before)
    return False
