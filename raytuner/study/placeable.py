"""Where a study's trials are placed: no one waits for what cannot come; nodes that were lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.tune import Callback, PlacementGroupFactory

from raytuner.controller.cluster_state import read_cluster
from raytuner.controller.trial_tracker import TrialTracker
from raytuner.controller.tuner import request_of_function
from raytuner.errors import PlacementError, SettingError
from raytuner.placement.preflight import preflight
from raytuner.placement.request import ResourceRequest


def trials_at_once(
    resources: Any, max_concurrent: int | None, *, gpu_hours: float | None = None
) -> int | None:
    """The bound on trials at a time, where trials make trainers of Ray Train's.

    A trainer reserves its workers' room once its trial runs. Trials that filled the cluster would
    wait for that room for ever, each for what the others hold: so no more run than fit with it.

    Args:
        resources: What one trial needs, as :func:`raytuner.tune` takes it.
        max_concurrent: The user's own bound.
        gpu_hours: The user's budget of GPU-hours.

    Raises:
        PlacementError: No trial can be placed together with its trainer's workers.
        SettingError: Nobody knows how many can; or there is a budget of GPU-hours, which a
            trainer's workers do not count in.
    """
    if not isinstance(resources, Mapping):
        return max_concurrent
    request = ResourceRequest.of(resources)
    if not request.trainer:
        return max_concurrent
    if gpu_hours is not None:
        raise SettingError(
            "gpu_hours counts what trials request themselves, not what their trainers' workers"
            " hold; bound the study by time_budget_s or num_samples"
        )
    found = preflight(request, read_cluster())
    found.require()
    if found.most is None and max_concurrent is None:
        raise SettingError(
            "from here it is not known what nodes the autoscaler may add, nor then how many trials"
            " fit together with their trainers' workers; say so with max_concurrent"
        )
    return min(n for n in (found.most, max_concurrent) if n is not None)


def require_room(runnable: Any) -> None:
    """Look whether a trial can be placed, where it is known before there is one.

    Raises:
        PlacementError: No node that is there, or that the autoscaler may add, can hold it.
    """
    request = request_of_function(runnable)
    if request is not None:
        preflight(ResourceRequest.of(request), read_cluster()).require()


class Placeable(Callback):
    """Looks at each trial's request, once for all that are alike.

    By then all is known: what a function of the configuration asks for, a class of the user's, a
    registered trainable. A request that could be placed once may be again: its trials wait for
    the nodes to come back.
    """

    def __init__(self) -> None:
        self._placed: set[PlacementGroupFactory] = set()
        self._known = TrialTracker()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Look at the trials that are new.

        Raises:
            PlacementError: One can never be placed.
        """
        for trial in self._known.new(trials):
            asked = trial.placement_group_factory
            if trial.is_finished() or asked is None or asked in self._placed:
                continue
            try:
                preflight(ResourceRequest.of(asked), read_cluster()).require()
            except PlacementError as error:
                raise PlacementError(f"{error}. The configuration: {trial.config!r}") from None
            self._placed.add(asked)
