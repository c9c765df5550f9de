"""Find out how many trials fit on a GPU, from the memory of one trial."""

from __future__ import annotations

import math
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import ray
from ray import tune

from raytuner.errors import PlacementError
from raytuner.placement.request import for_ray

FIT = "fit"
"""In place of a number of GPUs: the share that a trial's memory takes."""

MARGIN = 0.15
"""The share of a trial's peak memory that is kept free for it."""

_MAX_TRIALS = 16  # on one GPU: each has a CUDA context, and they share the computing too
_READ_EVERY_S = 0.2


@dataclass(frozen=True)
class Probe:
    """The GPU memory that a short run took.

    Attributes:
        peak: Bytes, with the CUDA context and all libraries.
        total: Bytes that the GPU has.

    Examples:
        >>> Probe(peak=5e9, total=24e9).trials, Probe(peak=5e9, total=24e9).share
        (4, 0.25)
        >>> Probe(peak=9e9, total=10e9).share
        1.0
    """

    peak: float
    total: float

    @property
    def trials(self) -> int:
        """The number of such trials that fit on one GPU, with the margin."""
        if self.peak <= 0:
            return _MAX_TRIALS
        return max(1, min(_MAX_TRIALS, math.floor(self.total / (self.peak * (1 + MARGIN)))))

    @property
    def share(self) -> float:
        """The share of a GPU to request, rounded down to the fraction that Ray counts in."""
        return math.floor(10_000 / self.trials) / 10_000


def wants_fit(resources: Any) -> TypeGuard[Mapping[str, Any]]:
    """Return whether the share of a GPU has to be measured."""
    return isinstance(resources, Mapping) and FIT in (resources.get("gpu"), resources.get("GPU"))


def with_gpus(resources: Mapping[str, Any], gpus: float) -> dict[str, Any]:
    """Return the resources with this number of GPUs."""
    return {key: gpus if str(key).lower() == "gpu" else n for key, n in resources.items()}


def probe(trainable: Any, config: Mapping[str, Any], resources: Mapping[str, Any]) -> Probe:
    """Run one training alone on a whole GPU until its second report, and read its memory.

    Args:
        trainable: A training function.
        config: The configuration to run it with.
        resources: What a trial needs; the number of GPUs is taken for 1.

    Raises:
        PlacementError: The training fails, or the memory cannot be read.
    """
    peak: Any = ray.remote(num_cpus=0)(_Peak).remote()
    runnable = tune.with_resources(
        _watched(trainable, peak, nvidia_smi), for_ray(with_gpus(resources, 1))
    )
    with tempfile.TemporaryDirectory(prefix="raytuner-probe-") as folder:
        # A trial of a Tuner: the training may use all that Ray Tune offers.
        result = tune.Tuner(
            runnable,
            param_space=dict(config),
            tune_config=tune.TuneConfig(num_samples=1, time_budget_s=300.0),
            run_config=tune.RunConfig(
                name="probe",
                storage_path=folder,
                stop={"training_iteration": 2},  # PyTorch's allocator has its buffers by then
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        ).fit()[0]
    used, total, error = ray.get(peak.update.remote())
    ray.kill(peak)
    if result.error is not None:
        raised = str(result.error).strip().splitlines()[-1]  # the rest is a traceback
        raise PlacementError(
            f"the short run to measure a trial's GPU memory failed with {dict(config)!r}:"
            f" {raised}. Set gpu to a number, or put a configuration that works first in"
            " points_to_evaluate"
        )
    if total <= 0:
        raise PlacementError(
            f"the GPU's memory cannot be read ({error or 'the run was too short'}); set gpu to a"
            " number instead of 'fit'"
        )
    return Probe(used, total)


def nvidia_smi() -> tuple[float, float]:
    """Return the bytes that are used of this process's GPU, and all that it has."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    query = "--query-gpu=memory.used,memory.total"
    output = subprocess.run(
        ["nvidia-smi", f"--id={gpu}", query, "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    used, total = output.splitlines()[0].split(",")
    return float(used) * 2**20, float(total) * 2**20


class _Peak:
    """An actor that keeps the largest reading: the trial's own process ends with the trial."""

    def __init__(self) -> None:
        self._found = 0.0, 0.0, ""

    def update(
        self, used: float = 0.0, total: float = 0.0, error: str = ""
    ) -> tuple[float, float, str]:
        peak, known, said = self._found
        self._found = max(peak, used), total or known, error or said
        return self._found


def _watched(
    train: Any, peak: Any, reader: Callable[[], tuple[float, float]]
) -> Callable[[dict[str, Any]], Any]:
    """Return the training function with a thread beside it that reads the GPU's memory."""

    def read() -> None:
        while True:
            try:
                ray.get(peak.update.remote(*reader()))
            except ray.exceptions.RayError:
                return  # the actor was killed: the probe is over
            except Exception as error:  # whatever a reader raises
                peak.update.remote(error=f"{type(error).__name__}: {error}")
                return
            time.sleep(_READ_EVERY_S)

    def probe(config: dict[str, Any]) -> Any:
        threading.Thread(target=read, daemon=True).start()
        return train(config)

    return probe
