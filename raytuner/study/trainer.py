"""Trials that run a trainer of Ray Train, given as the trainable of a study."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from raytuner.errors import SettingError

if TYPE_CHECKING:
    from raytuner.placement.request import Resources
    from raytuner.space import Config

_OWN = {"cpu": 0.01}  # a trial's own process only waits for its trainer
_MODULE = "ray.train.v2"


class Trainer(Protocol):
    """A trainer of Ray Train, such as a `TorchTrainer`.

    Type checkers see Ray Train's first version, which has little else in common with the second.
    """

    def fit(self) -> Any:
        """Train."""


def is_trainer(trainable: object) -> TypeGuard[Any]:
    """Return whether this is a trainer of Ray Train."""
    return any(base.__name__ == "DataParallelTrainer" for base in type(trainable).__mro__)


def check_trainer(trainer: Any) -> None:
    """Raise a SettingError if trials cannot run a trainer."""
    if not any(base.__module__.startswith(_MODULE) for base in type(trainer).__mro__):
        raise SettingError(
            f"the {type(trainer).__name__} is a trainer of Ray Train V1, and raytuner needs V2;"
            " remove RAY_TRAIN_V2_ENABLED=0 from the environment"
        )
    if trainer.scaling_config.max_workers == 0:
        raise SettingError(
            "the trainer's scaling_config has num_workers=0, which trains in the trial's own"
            " process; give it at least 1 worker"
        )


def resources_of(trainer: Any, given: Resources | None) -> dict[str, Any]:
    """Return the resources of a trial that runs a trainer.

    Args:
        trainer: The trainer. Its `scaling_config` says what its workers need. An elastic trainer
            counts with its largest number of workers.
        given: What the trial's own process needs; None: 0.01 CPU.

    Raises:
        SettingError: The resources are not a dict, or have the key "trainer" or "bundles".
    """
    if given is not None and (not isinstance(given, Mapping) or {"trainer", "bundles"} & {*given}):
        raise SettingError(
            f"resources is {given!r}, but the trainer's scaling_config says what its workers need;"
            " leave resources out, or give only what the trial's own process needs, such as"
            ' {"cpu": 1}'
        )
    scaling = trainer.scaling_config
    workers = scaling.max_workers
    each = {key: amount / workers for key, amount in scaling.total_resources.items() if amount}
    return {**(_OWN if given is None else given), "trainer": {"workers": workers, **each}}


def function_of(trainer: Any) -> Callable[[Config], None]:
    """Return a training function that runs a copy of a trainer with a trial's configuration.

    The configuration is added to the trainer's `train_loop_config`. The run is called like the
    trial, and is stored in the study's folder, in `trainers`. So a trial that continues finds its
    last checkpoint with `ray.train.get_checkpoint()`. Its reports go to the trial. After each, the
    trainer waits until the trial may continue. Otherwise a fast training would save checkpoints
    beyond the report at which its trial is paused, and the reports in between would be lost.
    """
    run = functools.partial(_run, trainer)
    functools.update_wrapper(run, trainer.train_loop_per_worker)
    return run


def _run(trainer: Any, config: Config) -> None:
    from ray import tune as ray_tune
    from ray.train import UserCallback
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
    from ray.util.queue import Queue

    make: Any = functools.partial(Queue, actor_options={"num_cpus": 0})
    reports, answers = make(), make()

    class Report(UserCallback):  # in the process that controls the workers
        def after_report(self, run_context: Any, metrics: Any, checkpoint: Any) -> None:
            path = {} if checkpoint is None else {"checkpoint_path": checkpoint.path}
            reports.put({**metrics[0], **path})
            answers.get()

    context = ray_tune.get_context()
    storage: Any = context.get_storage()
    run_config = dataclasses.replace(
        trainer.run_config,
        name=context.get_trial_id(),
        storage_path=f"{storage.experiment_fs_path}/trainers",
        storage_filesystem=storage.storage_filesystem,
        callbacks=[*(trainer.run_config.callbacks or []), Report()],
    )
    own: Any = DataParallelTrainer.__new__(type(trainer))
    own.__dict__.update(trainer.__dict__)
    # Not the class's own arguments: each class has others.
    DataParallelTrainer.__init__(
        own,
        trainer.train_loop_per_worker,
        train_loop_config={**(trainer.train_loop_config or {}), **config},
        backend_config=trainer.backend_config,
        scaling_config=trainer.scaling_config,
        run_config=run_config,
        datasets=trainer.datasets,
        dataset_config=trainer.data_config,
        validation_config=trainer.validation_config,
    )
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(own.fit)
        training.add_done_callback(lambda _: reports.put(None))
        while (report := reports.get()) is not None:
            ray_tune.report(report)  # returns when the trial may continue
            answers.put(None)
    training.result()
