"""Share of the slots' time that trials train, on a real Ray cluster."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune

SPACE: dict[str, Any] = {f"x{i}": tune.uniform(0, 1) for i in range(4)}


def ours() -> Any:
    """The default of BoTorchSearch: proposals from a process of its own."""
    from raytuner import BoTorchSearch

    return BoTorchSearch(seed=0)


def inside() -> Any:
    """BoTorchSearch that computes inside ``suggest``."""
    from raytuner import BoTorchSearch

    return BoTorchSearch(seed=0, background=False)


def optuna_gp() -> Any:
    """Optuna's GPSampler in Ray's searcher."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return OptunaSearch(sampler=optuna.samplers.GPSampler(seed=0))


def hebo() -> Any:
    """HEBO in Ray's searcher."""
    from ray.tune.search.hebo import HEBOSearch

    return HEBOSearch(random_state_seed=0)


def random() -> Any:
    """Ray's own random search: what Ray alone allows."""
    return None


SEARCHERS: dict[str, Callable[[], Any]] = {
    "ours": ours,
    "inside": inside,
    "optuna-gp": optuna_gp,
    "hebo": hebo,
    "random": random,
}


@dataclass(frozen=True)
class Busy:
    """What came out.

    Attributes:
        share: Share of slot-seconds in which a trial trained, from the moment at which as many
            trials had begun as there are slots, until the last began.
        filled_s: Seconds from the first trial's beginning to that moment.
        window_s: Seconds of the window.
        processes: Processes that trials ran in.
        best: The best value.
        counts: How proposals came about, of searchers that say so.
    """

    share: float
    filled_s: float
    window_s: float
    processes: int
    best: float
    counts: dict[str, int]


def measure(
    searcher: Any, *, slots: int, trials: int, seconds: float, reuse_actors: bool, limit: bool
) -> Busy:
    """Run trials that sleep.

    Args:
        searcher: A Ray searcher; None: random search.
        slots: CPUs of the cluster, one a trial.
        trials: How many.
        seconds: That each sleeps.
        reuse_actors: Whether a trial's process serves the next.
        limit: Whether to set ``max_concurrent_trials`` to ``slots``, without which Ray keeps one
            trial pending for a searcher that is not its own.
    """
    folder = tempfile.mkdtemp()

    def sleep(config: dict[str, Any]) -> None:
        # The first trial of each slot waits for the others: with reuse_actors, Ray gives a process
        # that is free to a trial whose own is still starting, and drops that one, so that trials
        # shorter than a start end up in the few processes that were first.
        Path(folder, tune.get_context().get_trial_id()).touch()
        while len(os.listdir(folder)) < slots:
            time.sleep(0.1)
        began = time.time()
        time.sleep(seconds)
        loss = sum((config[f"x{i}"] - 0.3) ** 2 for i in range(4))
        tune.report({"loss": loss, "began": began, "ended": time.time()})

    ray.init(
        address="local",
        num_cpus=slots,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    with tempfile.TemporaryDirectory() as storage:
        results = tune.Tuner(
            sleep,
            param_space=SPACE,
            tune_config=tune.TuneConfig(
                metric="loss",
                mode="min",
                num_samples=trials,
                search_alg=searcher,
                reuse_actors=reuse_actors,
                max_concurrent_trials=slots if limit else None,
            ),
            run_config=tune.RunConfig(storage_path=storage, verbose=0),
        ).fit()
        frame = results.get_dataframe()
    shutil.rmtree(folder)
    ray.shutdown()
    began = np.sort(frame["began"].to_numpy())
    start, end = float(began[slots - 1]), float(began[-1])
    inside = np.minimum(frame["ended"], end) - np.maximum(frame["began"], start)
    return Busy(
        share=float(inside.clip(lower=0).sum() / (slots * (end - start))),
        filled_s=start - float(began[0]),
        window_s=end - start,
        processes=int(frame["pid"].nunique()),
        best=float(frame["loss"].min()),
        counts=getattr(searcher, "proposal_counts", {}),
    )
