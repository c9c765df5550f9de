"""The share of a GPU that a study's trials get, where it is left to their memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raytuner.controller.cluster_state import read_cluster
from raytuner.errors import SettingError
from raytuner.history import History
from raytuner.placement.gpu_memory import probe, with_gpus
from raytuner.placement.preflight import preflight
from raytuner.placement.request import ResourceRequest
from raytuner.search.initial import filled
from raytuner.space import Config, Space

GPU_PROBE = "gpu_probe"
"""Under this key the record has what a trial's memory was found to be, in bytes."""


def first_config(
    space: Space, points_to_evaluate: Sequence[Config] | None, seed: int | None
) -> Config:
    """The configuration to find a trial's memory with: the first to be evaluated, else any.

    A trial at full fidelity takes the most.
    """
    rng = np.random.default_rng(seed)
    if points_to_evaluate:
        return filled(space, points_to_evaluate[0], rng)
    return space.decode(space.in_full(space.draw(rng, 1)))[0]


def fitted(
    trainable: Any, resources: Mapping[str, Any], config: Config, history: History
) -> dict[str, Any]:
    """The resources with a number in the place of ``"gpu": "fit"``; notes what it comes from.

    Args:
        trainable: The training function.
        resources: What a trial needs.
        config: The configuration to find it out with.
        history: The record of the search.

    Raises:
        SettingError: It is no training function.
        PlacementError: No node has such a GPU, or its memory cannot be found out.
    """
    if isinstance(trainable, str | type):
        raise SettingError(
            "resources['gpu'] is 'fit', which runs a training function for a short time to see its"
            f" memory; of {trainable!r} it cannot: give gpu a number"
        )
    preflight(ResourceRequest.of(with_gpus(resources, 1)), read_cluster()).require()
    found = probe(trainable, config, resources)
    history.set_meta(
        GPU_PROBE, {"peak": found.peak, "total": found.total, "trials_a_gpu": found.trials}
    )
    return with_gpus(resources, found.share)
