"""How many trials share a GPU, from the memory that one takes."""

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
"""In the place of a number of GPUs: the share that a trial's memory takes."""

MARGIN = 0.15
"""Of a trial's peak, kept free for it: no two trainings take the same."""

_MOST = 16  # trials on one GPU: each has its own CUDA context, and they share the computing too
_EACH_S = 0.2

Reader = Callable[[], tuple[float, float]]
"""Bytes that are used of a GPU's memory now, and all there are."""


@dataclass(frozen=True)
class Probe:
    """What a short run took of a GPU's memory.

    Attributes:
        peak: Bytes, all on the GPU counted: the context, and any library's.
        total: Bytes that the GPU has.
        reports: How often the training reported meanwhile.
    """

    peak: float
    total: float
    reports: int

    @property
    def trials(self) -> int:
        """How many such trials fit on one GPU, with the margin."""
        if self.peak <= 0:
            return _MOST
        return max(1, min(_MOST, math.floor(self.total / (self.peak * (1 + MARGIN)))))

    @property
    def share(self) -> float:
        """The share of a GPU to ask for: :attr:`trials` of them are one, as Ray counts.

        >>> Probe(peak=5e9, total=24e9, reports=2).trials
        4
        >>> Probe(peak=5e9, total=24e9, reports=2).share
        0.25
        >>> Probe(peak=9e9, total=10e9, reports=2).share
        1.0
        """
        return math.floor(10_000 / self.trials) / 10_000


def wants_fit(resources: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether the GPU's share is to be found out."""
    return isinstance(resources, Mapping) and any(
        str(key).lower() == "gpu" and value == FIT for key, value in resources.items()
    )


def with_gpus(resources: Mapping[str, Any], gpus: float) -> dict[str, Any]:
    """The resources with a number of GPUs in the place of "fit"."""
    return {key: gpus if str(key).lower() == "gpu" else n for key, n in resources.items()}


def probe(
    trainable: Any,
    config: Mapping[str, Any],
    resources: Mapping[str, Any],
    *,
    reports: int = 2,
    time_s: float = 300.0,
    reader: Reader | None = None,
) -> Probe:
    """Run one training for a short time, alone on a whole GPU, and see what memory it takes.

    Args:
        trainable: A training function.
        config: The configuration to run it with.
        resources: What a trial needs; its GPUs are taken for 1.
        reports: It is stopped after so many: PyTorch's allocator, say, has its buffers by then.
        time_s: It is stopped after so many seconds.
        reader: Reads the GPU's memory, in the trial's process; None asks ``nvidia-smi``.

    Raises:
        PlacementError: The training fails by itself, or nothing can be read.
    """
    keep: Any = ray.remote(num_cpus=0)(_Peak).remote()
    measured = _Measured(trainable, keep, nvidia_smi if reader is None else reader)
    with tempfile.TemporaryDirectory(prefix="raytuner-probe-") as folder:
        # A Tuner's own trial: the training may use all that Ray Tune has for it.
        result = tune.Tuner(
            tune.with_resources(measured, for_ray(with_gpus(resources, 1))),
            param_space=dict(config),
            tune_config=tune.TuneConfig(num_samples=1, time_budget_s=time_s),
            run_config=tune.RunConfig(
                name="probe",
                storage_path=folder,
                stop={"training_iteration": reports},
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        ).fit()[0]
    peak, total, reason = ray.get(keep.most.remote())
    ray.kill(keep)
    if result.error is not None:
        raised = str(result.error).strip().splitlines()[-1]  # the rest is a traceback
        raise PlacementError(
            f"the short run that is to show a trial's GPU memory failed with {dict(config)!r}:"
            f" {raised}. Give gpu a number, or a configuration that works first in"
            " points_to_evaluate"
        )
    if total <= 0:
        raise PlacementError(
            f"the GPU's memory cannot be read ({reason or 'the run was too short'}); give gpu a"
            " number in the place of 'fit'"
        )
    return Probe(peak, total, int((result.metrics or {}).get("training_iteration", 0)))


def nvidia_smi() -> tuple[float, float]:
    """Reads the memory of the GPU that this process was given."""
    mine = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    said = subprocess.run(
        [
            "nvidia-smi",
            f"--id={mine}",
            "--query-gpu=memory.used,memory.total",
            "--format=csv,noheader,nounits",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    used, total = said.splitlines()[0].split(",")
    return float(used) * 2**20, float(total) * 2**20


class _Peak:
    """Keeps the most that was read. An actor: the trial ends, its process with it."""

    def __init__(self) -> None:
        self._found: tuple[float, float, str] = (0.0, 0.0, "")

    def note(self, used: float, total: float) -> None:
        self._found = (max(used, self._found[0]), total, "")

    def fail(self, reason: str) -> None:
        self._found = (*self._found[:2], reason)

    def most(self) -> tuple[float, float, str]:
        return self._found


class _Measured:
    """A training function whose memory is read while it runs; a class, since Ray pickles it."""

    def __init__(self, train: Any, keep: Any, reader: Reader) -> None:
        self._train, self._keep, self._reader = train, keep, reader
        self.__name__ = "probe"

    def __call__(self, config: dict[str, Any]) -> Any:
        threading.Thread(target=self._read, daemon=True).start()
        return self._train(config)

    def _read(self) -> None:
        while True:
            try:
                ray.get(self._keep.note.remote(*self._reader()))
            except ray.exceptions.RayError:
                return  # it was found out
            except Exception as error:  # whatever a reader may raise
                self._keep.fail.remote(f"{type(error).__name__}: {error}")
                return
            time.sleep(_EACH_S)
