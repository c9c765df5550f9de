"""How many trials a Ray cluster could run at the same time."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import ray

_FRESH_S = 1.0  # so long what Ray said is taken to hold
_MEMORY = 20  # looks at the cluster, of which the one with the most room counts
_AT_LEAST = 200  # nodes that come, if the autoscaler knows no limit; as Ray does for random search

Resources = Mapping[str, float]


class Slots:
    """Asks Ray from time to time.

    The slots are as many requests like the newest trial's as fit on the live nodes, less what
    others than this search use there, and on the nodes that the autoscaler may add.

    What others use shows in what is free while so many of this search's trials hold resources. The
    two are never known of one and the same moment, so the largest sum of some seconds counts.
    """

    def __init__(self) -> None:
        self._looked_at = -math.inf
        self._slots: int | None = None
        self._room: deque[int] = deque(maxlen=_MEMORY)

    def __call__(self, controller: Any) -> int | None:
        """The slots for trials of Ray's loop ``controller``.

        Before its first trial, which says what is requested: 1. None where the user has set Ray's
        cap on pending trials.
        """
        if os.environ.get("TUNE_MAX_PENDING_TRIALS_PG", "auto") != "auto":
            return None
        if time.monotonic() - self._looked_at >= _FRESH_S:
            trials = controller.get_trials()
            if not trials:
                return 1
            self._looked_at = time.monotonic()
            # Actors that hold resources: trials that run or start, and those kept for reuse.
            held = int(controller._actor_manager.num_live_actors)
            self._slots = self._look(trials[-1].placement_group_factory.bundles, held)
        return self._slots

    def _look(self, bundles: list[dict[str, float]], held: int) -> int:
        ask: Any = ray  # its types are incomplete
        nodes = [node["Resources"] for node in ask.nodes() if node["Alive"]]
        total = fitting(bundles, nodes)
        self._room.append(held + fitting([_summed(bundles)], [ask.available_resources()]))
        # Ray's own libraries ask this too; None unless an autoscaler of version 2 runs.
        most = ask._private.state.state.get_max_resources_from_cluster_config()
        to_come = 0
        if most is not None:
            limit = fitting([_summed(bundles)], [most])
            if limit >= sys.maxsize // 2**20:  # "no limit", shared out
                limit = total + max(_AT_LEAST, total)
            to_come = max(limit - total, 0)
        return min(total, max(self._room)) + to_come


def fitting(bundles: list[dict[str, float]], nodes: list[Resources]) -> int:
    """How many requests of ``bundles`` fit on the nodes.

    One bundle lies on one node. Several may be spread, so they are counted against the sum of all
    nodes, which may be too much. A request of nothing is counted as one CPU.

    Example:
        >>> fitting([{"CPU": 2, "GPU": 0.5}], [{"CPU": 16, "GPU": 2}, {"CPU": 4}])
        4
        >>> fitting([{"CPU": 3}, {"CPU": 1}], [{"CPU": 4}, {"CPU": 4}])
        2
    """
    need = {key: amount for key, amount in _summed(bundles).items() if amount > 0} or {"CPU": 1.0}
    if len(bundles) > 1:
        nodes = [_summed(nodes)]
    # A little more than exactly: ten shares of 0.1 are one.
    return sum(
        math.floor(min(node.get(key, 0.0) / amount for key, amount in need.items()) + 1e-6)
        for node in nodes
    )


def _summed(all_of: list[Any]) -> dict[str, float]:
    total: dict[str, float] = {}
    for resources in all_of:
        for key, amount in resources.items():
            total[key] = total.get(key, 0.0) + amount
    return total
