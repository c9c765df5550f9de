"""Promotion in a real Ray: trials pause, their processes end, the best go on from checkpoints."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial

import raytuner
from raytuner import ASHAScheduler, BoTorchSearch
from raytuner.bayes import SobolProposer
from raytuner.errors import TrainableError
from raytuner.history import TrialState

pytestmark = pytest.mark.usefixtures("ray_cluster")
# Ray's workers cannot import the tests: they get what is in here itself.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

SPACE = {"x": tune.uniform(0, 1)}
MAX_T = 3  # so the only rung is 1


def loss(x: float, t: int) -> float:
    return x + 1 / t


def with_checkpoints(config: dict[str, Any]) -> None:
    begin = 1
    checkpoint = tune.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            begin = json.loads(Path(folder, "t").read_text()) + 1
    for t in range(begin, MAX_T + 1):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "t").write_text(json.dumps(t))
            report = {"loss": loss(config["x"], t), "epoch": t, "pid": os.getpid()}
            tune.report(report, checkpoint=tune.Checkpoint.from_directory(folder))


def without_checkpoints(config: dict[str, Any]) -> None:
    for t in range(1, MAX_T + 1):
        tune.report({"loss": loss(config["x"], t)})


class CannotSave(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self.x, self.t = config["x"], 0

    def step(self) -> dict[str, Any]:
        self.t += 1
        return {"loss": loss(self.x, self.t), "epoch": self.t, "pid": os.getpid()}


class Saves(CannotSave):
    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"t": self.t}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        assert checkpoint is not None
        self.t = checkpoint["t"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.x, self.t = new_config["x"], 0
        return True


class Watch(Callback):
    """Notes what was reported, and whether a trial that is paused has let go of its process."""

    def __init__(self) -> None:
        self.epochs: dict[str, list[int]] = {}
        self.pids: dict[str, set[int]] = {}
        self.paused: set[str] = set()
        self.holds: list[str] = []

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Trial, result: Any, **info: Any
    ) -> None:
        self.epochs.setdefault(trial.trial_id, []).append(result["epoch"])
        self.pids.setdefault(trial.trial_id, set()).add(result["pid"])

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        for trial in trials:
            if trial.status == Trial.PAUSED:
                self.paused.add(trial.trial_id)
                if trial.temporary_state.ray_actor is not None:
                    self.holds.append(trial.trial_id)


def run(
    trainable: Any, folder: Path, searcher: BoTorchSearch | None = None, **config: Any
) -> tuple[ASHAScheduler, Watch]:
    scheduler, watch = ASHAScheduler(max_t=MAX_T, variant="promotion", seed=0), Watch()
    tune.Tuner(
        trainable,
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=4,
            search_alg=searcher,
            scheduler=scheduler,
            **config,
        ),
        run_config=tune.RunConfig(
            name="promotion", storage_path=str(folder), verbose=0, callbacks=[watch]
        ),
    ).fit()
    return scheduler, watch


def check(scheduler: ASHAScheduler, watch: Watch) -> None:
    (rung,) = scheduler.rule.rungs
    assert (rung.recorded, rung.went_on) == (4, 1)
    # From their checkpoints: no epoch is trained twice, and one trial gets to the end.
    assert sorted(watch.epochs.values()) == [[1], [1], [1], [1, 2, 3]]
    assert len(watch.paused) >= 3


def test_a_function_pauses_and_the_best_goes_on(tmp_path: Path) -> None:
    points = [{"x": x} for x in (0.1, 0.4, 0.6, 0.8)]
    searcher = BoTorchSearch(points_to_evaluate=points, proposer=SobolProposer)
    scheduler, watch = run(with_checkpoints, tmp_path, searcher, max_concurrent_trials=2)
    check(scheduler, watch)
    best, *others = searcher.history.trials
    assert (best.state, best.t) == (TrialState.COMPLETED, MAX_T)
    # It was paused until a third had come, its process was gone, and another took over.
    assert best.trial_id in watch.paused
    assert len(watch.pids[best.trial_id]) == 2
    assert not watch.holds
    for trial in others:
        assert trial.state is TrialState.STOPPED_EARLY
        assert "the search ended while it was paused; rank" in trial.reason


def test_a_class_pauses_beside_random_search_with_actors_reused(tmp_path: Path) -> None:
    check(*run(Saves, tmp_path, reuse_actors=True))


def test_a_function_without_checkpoints_is_refused_at_its_first_rung(tmp_path: Path) -> None:
    with pytest.raises(TrainableError, match=r"reported no checkpoint; pass one to tune\.report"):
        raytuner.tune(
            without_checkpoints,
            SPACE,
            metric="loss",
            mode="min",
            num_samples=4,
            scheduler=ASHAScheduler(max_t=MAX_T, variant="promotion"),
            storage_path=tmp_path,
            progress=False,
        )
