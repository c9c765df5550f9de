"""How many trials a Ray cluster could run at the same time."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import deque
from typing import Any

import ray
from ray.tune import PlacementGroupFactory

from raytuner.controller.packing import slots, summed

_FRESH_S = 1.0  # seconds for which an answer of Ray's counts
_SHARE = 0.05  # largest share of the time of Ray's loop that goes into looks
_MEMORY = 20  # looks at the cluster, of which the one with the most room counts
_AT_LEAST = 200  # nodes that come, if the autoscaler knows no limit; as Ray does for random search


class SlotCounter:
    """Asks Ray from time to time.

    The slots are as many requests like the newest trial's as fit on the live nodes, less what
    others than this search use there, and on the nodes that the autoscaler may add.

    What others use shows in what is free while so many of this search's trials hold resources. The
    two are never known of one and the same moment, so the largest sum of some seconds counts.
    """

    def __init__(self) -> None:
        self._next_look = -math.inf
        self._slots: int | None = None
        self._room: deque[int] = deque(maxlen=_MEMORY)

    def __call__(self, controller: Any) -> int | None:
        """The slots for trials of Ray's loop ``controller``.

        Before its first trial, which says what is requested: 1. None where the user has set Ray's
        cap on pending trials.
        """
        if os.environ.get("TUNE_MAX_PENDING_TRIALS_PG", "auto") != "auto":
            return None
        began = time.monotonic()
        if began >= self._next_look:
            trials = controller.get_trials()
            if not trials:
                return 1
            # Actors that hold resources: trials that run or start, and those kept for reuse.
            held = int(controller._actor_manager.num_live_actors)
            self._slots = self._look(trials[-1].placement_group_factory, held)
            took = time.monotonic() - began
            self._next_look = began + max(_FRESH_S, took / _SHARE)
        return self._slots

    def _look(self, request: PlacementGroupFactory, held: int) -> int:
        ask: Any = ray  # its types are incomplete
        total = slots(request, [node["Resources"] for node in ask.nodes() if node["Alive"]])
        free = ask._private.state.available_resources_per_node()
        self._room.append(held + slots(request, [*free.values()]))
        # Ray's own libraries ask this too; None unless an autoscaler of version 2 runs.
        most = ask._private.state.state.get_max_resources_from_cluster_config()
        to_come = 0
        if most is not None:
            # The number of nodes is not known.
            limit = slots(PlacementGroupFactory([summed(request.bundles)]), [most])
            if limit >= sys.maxsize // 2**20:  # "no limit", shared out
                limit = total + max(_AT_LEAST, total)
            to_come = max(limit - total, 0)
        return min(total, max(self._room)) + to_come
