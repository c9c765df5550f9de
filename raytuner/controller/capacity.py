"""Count how many trials a cluster holds at the same time."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from ray.tune import PlacementGroupFactory

from raytuner.controller.cluster_state import (
    ClusterState,
    NodeType,
    free_resources,
    live_nodes,
    reported_node_types,
)
from raytuner.controller.packing import Bundle, fits

MAX_NEW_NODES = 1000
"""The most nodes that the autoscaler is assumed to add, if nothing limits it."""

_LOOK_EVERY_S = 1.0
_MAX_SHARE = 0.05  # of the time of Ray's loop, for counting slots
_RECENT_LOOKS = 20
_AHEAD_OF_AUTOSCALER = 200  # new nodes, and their slots; Ray's own number for random search


def capacity(
    bundles: Sequence[Bundle],
    strategy: str,
    cluster: ClusterState,
    max_new_nodes: int = MAX_NEW_NODES,
) -> tuple[int, int | None]:
    """Return how many trials the live nodes hold, and how many with the nodes that may be added.

    Args:
        bundles: What one trial asks for; each bundle lies on one node.
        strategy: Ray's placement strategy for several bundles.
        cluster: The cluster. Nobody else uses it.
        max_new_nodes: How many nodes of a type are added at most.

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
    """Count how many trials of one search could run at the same time; looks at most once a second.

    These are as many requests like the latest trial's as fit on the live nodes, without what
    others use there, and on the nodes that an autoscaler of version 2 may add. What others use
    follows from what is free and from how many trials of this search hold resources. Ray does not
    tell the two for the same moment, so the largest sum of the recent looks counts.
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
