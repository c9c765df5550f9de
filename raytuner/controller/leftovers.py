"""Free what the trainers of ended trials leave reserved."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.core.generated import gcs_pb2
from ray.tune import Callback
from ray.util import remove_placement_group
from ray.util.placement_group import PlacementGroup

_EVERY_S = 0.5  # between two looks at Ray's table, which has every placement group of the cluster
_LAST_S = 10.0  # to wait at the end of a study for trainers that are ending
_RAY: Any = ray  # Ray's types are incomplete
_GROUP: Any = gcs_pb2  # and these are made at run time


class FreeLeftovers(Callback):
    """Removes the placement groups of trainers whose trials have ended.

    A trainer of Ray Train reserves a placement group for its workers. If its trial is stopped,
    paused or killed, Ray ends the trainer and its workers. But Ray keeps the group until the driver
    ends, unless the dashboard of `ray[default]` runs. So the next trainer would wait forever.

    A group is left over if the actor that made it is dead: only that actor's training uses it.
    """

    def __init__(self) -> None:
        self._before = {group for group, _ in groups_of_actors()}
        self._looked_at = 0.0

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Remove what is left over."""
        if time.monotonic() - self._looked_at >= _EVERY_S:
            self.free()

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Wait for the trainers to end, and remove what they leave."""
        deadline = time.monotonic() + _LAST_S
        while self.free() and time.monotonic() < deadline:
            time.sleep(_EVERY_S / 5)

    def free(self) -> int:
        """Remove what is left over; return how many groups have a living creator.

        Groups that were there before the study do not count.
        """
        living = 0
        for group, is_left in groups_of_actors():
            if is_left:
                remove_placement_group(PlacementGroup(_RAY.PlacementGroupID(group)))
            elif group not in self._before:
                living += 1
        self._looked_at = time.monotonic()
        return living


def groups_of_actors() -> list[tuple[bytes, bool]]:
    """Return the placement groups that this driver's actors made, and whether each is left over."""
    job = _RAY.get_runtime_context().get_job_id()
    # Private: the public table has no creators.
    table = _RAY._private.state.state._connect_and_get_accessor().get_placement_group_table()
    groups = map(_GROUP.PlacementGroupTableData.FromString, table)
    return [
        (group.placement_group_id, group.creator_actor_dead)
        for group in groups
        if group.creator_job_id.hex() == job
        and not _RAY.ActorID(group.creator_actor_id).is_nil()
        and not group.is_detached
        and group.state != _GROUP.PlacementGroupTableData.REMOVED
    ]
