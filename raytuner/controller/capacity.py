"""Count how many trials a cluster holds at the same time, by their resource requests."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.tune import PlacementGroupFactory

from raytuner.controller.cluster_state import (
    ClusterState,
    NodeType,
    free_resources,
    live_nodes,
    reported_node_types,
)

Bundle = Mapping[str, float]
"""Resources on one node, by Ray's names: `CPU`, `GPU`, `memory` (bytes) and custom ones."""

MAX_NEW_NODES = 1000
"""The most nodes that the autoscaler is assumed to add, if nothing limits it."""

_LOOK_EVERY_S = 1.0
_MAX_SHARE = 0.05  # of the time of Ray's loop, for counting slots
_RECENT_LOOKS = 20
_SLACK = 1e-6  # relative: ten shares of 0.1 are one
_AHEAD_OF_AUTOSCALER = 200  # new nodes, and their slots; Ray's own number for random search

_Amounts = NDArray[np.float64]  # one amount for each resource that a trial asks for


def capacity(
    bundles: Sequence[Bundle],
    strategy: str,
    cluster: ClusterState,
    max_new_nodes: int = MAX_NEW_NODES,
) -> tuple[int, int | None]:
    """Return how many trials the live nodes hold, and how many with the nodes that may be added.

    Args:
        bundles: The bundles of one trial, each on one node.
        strategy: Ray's placement strategy for several bundles.
        cluster: The cluster, without other users.
        max_new_nodes: Largest number of new nodes of a type.

    Returns:
        The second number is None if the autoscaler does not say what it may add.
    """
    live = [node.total for node in cluster.nodes]
    now = fits(bundles, strategy, live)
    if cluster.node_types is None:
        return now, None
    limit = int(min(cluster.max_workers, max_new_nodes))
    # The autoscaler chooses which nodes it adds: count those that hold the most trials.
    types = sorted(cluster.node_types, key=lambda kind: -fits(bundles, strategy, [kind.total]))
    new = [kind.total for kind in types for _ in range(int(min(_left(kind, cluster), limit)))]
    if sum(map(bool, bundles)) == 1:
        new = new[:limit]  # a trial of several bundles may need nodes of several types
    return now, max(now, fits(bundles, strategy, live + new))


def slots_on_live_nodes(request: PlacementGroupFactory) -> int:
    """Return how many trials with this request the live nodes hold, if nobody else uses them."""
    return fits(request.bundles, request.strategy, [node.total for node in live_nodes()])


def _left(kind: NodeType, cluster: ClusterState) -> float:
    """Return how many more nodes of a type may come. Live nodes are known by their resources."""
    there = sum(
        all(node.total.get(name) == amount for name, amount in kind.total.items())
        for node in cluster.nodes
    )
    return max(kind.max_count - there, 0)


class SlotCounter:
    """Counts how many trials of one search could run at the same time, at most once a second.

    This is the number of requests like the latest trial's that fit on the live nodes, apart from
    resources that others use, and on nodes that an autoscaler of version 2 may add. The resources
    that others use follow from the free resources and the trials of this search that hold some. Ray
    does not report the two for the same moment, so the largest recent sum counts.
    """

    def __init__(self) -> None:
        self._next_look = -math.inf
        self._slots: int | None = None
        self._recent: deque[int] = deque(maxlen=_RECENT_LOOKS)

    def __call__(self, controller: Any) -> int | None:
        """Return the slots for the trials of Ray's controller.

        1 before its first trial, which shows what is requested. None if the user has set Ray's cap
        on pending trials.
        """
        if os.environ.get("TUNE_MAX_PENDING_TRIALS_PG", "auto") != "auto":
            return None
        began = time.monotonic()
        if began >= self._next_look:
            trials = controller.get_trials()
            if not trials:
                return 1
            # Private: nothing public counts the processes of trials that start or may be reused.
            held = int(controller._actor_manager.num_live_actors)
            self._slots = self._look(trials[-1].placement_group_factory, held)
            took = time.monotonic() - began
            self._next_look = began + max(_LOOK_EVERY_S, took / _MAX_SHARE)
        return self._slots

    def _look(self, request: PlacementGroupFactory, held: int) -> int:
        cluster = ClusterState(live_nodes(), reported_node_types())
        bundles, strategy = request.bundles, request.strategy
        now, later = capacity(bundles, strategy, cluster, _AHEAD_OF_AUTOSCALER)
        self._recent.append(held + fits(bundles, strategy, free_resources()))
        new = 0 if later is None else min(later - now, max(_AHEAD_OF_AUTOSCALER, now))
        return min(now, max(self._recent)) + new


def fits(bundles: Sequence[Bundle], strategy: str, nodes: Sequence[Bundle]) -> int:
    """Return how many trials with the same request the nodes hold at once.

    Several bundles are placed greedily, as Ray does; another order might hold more.

    Args:
        bundles: What one trial asks for; each bundle lies on one node.
        strategy: Ray's placement strategy. "SPREAD" counts as "PACK": Ray packs if it must.
        nodes: The resources of each node.

    Examples:
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

    Its bundles come the largest first; `free` has a row for each node.
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

    Examples:
        >>> missing({"CPU": 2, "GPU": 4}, {"CPU": 8, "GPU": 1})
        {'GPU': 3.0}
    """
    return {
        name: float(amount - node.get(name, 0.0))
        for name, amount in bundle.items()
        if node.get(name, 0.0) < amount * (1 - _SLACK)
    }
