"""The record that the demo's comparison and the benchmark keep of any Ray experiment."""

import math
import pickle
from types import SimpleNamespace
from typing import Any

from ray import tune

from raytuner.demo.watch import Watch
from raytuner.history import TrialState


def a_trial(name: str) -> Any:
    return SimpleNamespace(trial_id=name, config={"lr": 0.5})


def test_it_records_how_each_trial_ended() -> None:
    watch = Watch({"lr": tune.uniform(0, 1)}, "accuracy", "max", max_t=9)
    full, stopped, failed, cut, silent = map(a_trial, ("full", "stopped", "failed", "cut", "s"))

    def report(trial: Any, t: int, value: float) -> None:
        result = {"training_iteration": t, "accuracy": value}
        watch.on_trial_result(0, [], trial, result)

    for trial in (full, stopped, cut, silent):
        watch.on_trial_start(0, [], trial)
    report(full, 9, 0.75)
    report(stopped, 1, math.nan)
    report(cut, 3, 0.5)
    watch.on_trial_start(0, [], full)  # a retry
    watch.on_trial_complete(0, [], full)
    watch.on_trial_complete(0, [], stopped)
    watch.on_trial_error(0, [], failed)  # before it started
    watch = pickle.loads(pickle.dumps(watch))  # as Ray does
    watch.close()

    states = {trial.trial_id: trial.state for trial in watch.history.trials}
    assert states == {
        "full": TrialState.COMPLETED,
        "stopped": TrialState.STOPPED_EARLY,
        "cut": TrialState.STOPPED_EARLY,
        "s": TrialState.REMOVED,
        "failed": TrialState.FAILED,
    }
    best = watch.history.best()
    assert best is not None
    assert (best.trial_id, best.value) == ("full", 0.75)
