"""Check the resources of a study's trials before a trial waits for them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ray import tune as ray_tune
from ray.tune import Callback, PlacementGroupFactory

from raytuner.controller.capacity import Bundle
from raytuner.controller.cluster_state import read_cluster
from raytuner.controller.trials import TrialTracker
from raytuner.errors import PlacementError, SettingError
from raytuner.placement.gpu_memory import probe, with_gpus
from raytuner.placement.preflight import preflight
from raytuner.placement.request import ResourceRequest, Resources, for_ray
from raytuner.search.initial import filled
from raytuner.space import Config, Space
from raytuner.study.trainable import Trainable
from raytuner.study.trainer import function_of, is_trainer


def with_resources(trainable: Trainable, resources: Resources | None) -> Any:
    """Return the trainable for Ray, with its resource request if `resources` is not None."""
    runnable: Any = function_of(trainable) if is_trainer(trainable) else trainable
    if resources is None:
        return runnable
    if isinstance(runnable, str):
        raise SettingError(
            f"resources were given for the registered trainable {runnable!r}; give them to the"
            " function itself with ray.tune.with_resources before registering it"
        )
    request = for_ray(resources)
    if not isinstance(runnable, type):
        # Ray stores the request on the function, where the next study would find it.
        runnable = functools.update_wrapper(functools.partial(runnable), runnable)
    return ray_tune.with_resources(runnable, request)


def first_config(
    space: Space, points_to_evaluate: Sequence[Config] | None, seed: int | None
) -> Config:
    """Return a configuration to measure a trial's memory with: the first point, or a random one.

    It has full fidelity, which takes the most memory.
    """
    rng = np.random.default_rng(seed)
    if points_to_evaluate:
        return filled(space, points_to_evaluate[0], rng)
    return space.decode(space.in_full(space.draw(rng, 1)))[0]


def fitted(trainable: Trainable, resources: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Return the resources with `"gpu": "fit"` replaced by a number, measured in a short run."""
    if isinstance(trainable, str | type) or is_trainer(trainable):
        raise SettingError(
            "resources['gpu'] is 'fit', which measures the memory of a training function in a short"
            f" run; this does not work for {trainable!r}: give gpu a number"
        )
    require_room(with_gpus(resources, 1))
    return with_gpus(resources, probe(trainable, config, resources).share)


def trainer_of(resources: Resources | None) -> tuple[Bundle, ...]:
    """Return a bundle for each worker of the trials' trainers; none if they have no trainer."""
    return ResourceRequest.of(resources).trainer if isinstance(resources, Mapping) else ()


def trials_at_once(resources: Resources | None, max_concurrent_trials: int | None) -> int | None:
    """Return the largest number of concurrent trials.

    It is lower for trials that start a trainer of Ray Train. The trainer reserves resources for its
    workers once its trial runs. If trials filled the cluster, the trainers would wait for ever.

    Raises:
        PlacementError: No trial can be placed together with its trainer's workers.
        SettingError: The number is unknown.
    """
    if resources is None or not trainer_of(resources):
        return max_concurrent_trials
    found = preflight(ResourceRequest.of(resources), read_cluster())
    found.require()
    if found.most is None and max_concurrent_trials is None:
        raise SettingError(
            "the nodes that the autoscaler may add are unknown, so raytuner cannot tell how many"
            " trials fit together with their trainers' workers; set max_concurrent_trials"
        )
    return min(n for n in (found.most, max_concurrent_trials) if n is not None)


def require_room(request: Resources) -> None:
    """Raise a PlacementError if no node can hold a trial, including nodes of the autoscaler."""
    preflight(ResourceRequest.of(request), read_cluster()).require()


class RequireRoom(Callback):
    """Checks each new resource request of a trial once.

    Some requests are only known when a trial exists: those of a function of the configuration, a
    trainable class or a registered trainable. A request that could be placed once is not checked
    again: if nodes are lost, its trials wait for them to return.
    """

    def __init__(self) -> None:
        self._placed: set[PlacementGroupFactory] = set()
        self._known = TrialTracker()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Check the new trials."""
        for trial in self._known.new(trials):
            request = trial.placement_group_factory
            if trial.is_finished() or request is None or request in self._placed:
                continue
            try:
                require_room(request)
            except PlacementError as error:
                raise PlacementError(f"{error}. The configuration: {trial.config!r}") from None
            self._placed.add(request)
