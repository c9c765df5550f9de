"""The simulator makes the calls that Ray makes: the same studies in both, call by call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from call_journal import Call, Plan, Study, in_ray, on_the_clock
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler as RaysASHA
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from raytuner.schedulers import ASHAScheduler


class PausesAtTwo(FIFOScheduler):
    """Pauses every trial at its second report, once. FIFO resumes what is paused.

    Trial ``drops`` is stopped while it waits.
    """

    def __init__(self, drops: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._paused: set[str] = set()
        self._drops = drops

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        for trial in list(tune_controller.get_trials()):
            if trial.status == Trial.PAUSED and trial.config["index"] == self._drops:
                tune_controller.stop_trial(trial)
        chosen: Trial | None = super().choose_trial_to_run(tune_controller)
        return chosen

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if result["training_iteration"] == 2 and trial.trial_id not in self._paused:
            self._paused.add(trial.trial_id)
            return str(TrialScheduler.PAUSE)
        return str(TrialScheduler.CONTINUE)


FALLING = (0.9, 0.8, 0.7, 0.6)

STUDIES = {
    "FIFO, natural ends, a stop criterion, failures and retries": Study(
        plans=(
            Plan(FALLING[:3]),
            Plan((0.9, 0.8, 0.1, 0.05)),  # meets the stop criterion at 4
            Plan(FALLING, raises_at=2, attempts_that_raise=1),
            Plan(FALLING, raises_at=3),
        ),
        stop={"training_iteration": 4},
        max_failures=1,
    ),
    "a trial that is lost twice": Study(
        plans=(Plan(FALLING, raises_at=3, attempts_that_raise=2, is_killed=True),),
        max_failures=1,
        changes=((2.25, -2), (2.25, 2), (4.5, -2), (4.5, 2)),
    ),
    "a lost trial with a checkpoint": Study(
        plans=(Plan(FALLING, raises_at=3, attempts_that_raise=1, is_killed=True),),
        max_failures=1,
        checkpoints=True,
        changes=((2.25, -2), (2.25, 2)),
    ),
    "Ray's ASHA behind a ConcurrencyLimiter": Study(
        plans=(
            Plan((0.9, 0.5, 0.4, 0.3)),
            Plan((0.8, 0.7, 0.6, 0.5), seconds=0.17),
            Plan((0.95, 0.94, 0.93, 0.92)),
            Plan((0.5, 0.4, 0.3, 0.2), raises_at=3),
        ),
        scheduler=lambda: RaysASHA(max_t=4, grace_period=1, reduction_factor=2),
        max_concurrent=1,
    ),
    "our ASHA": Study(
        plans=(
            Plan((0.9, 0.5, 0.4, 0.3)),
            Plan((0.8, 0.7, 0.6, 0.5), seconds=0.17),
            Plan((0.95, 0.94, 0.93, 0.92)),
            Plan((0.3, 0.2)),  # ends by itself
        ),
        scheduler=lambda: ASHAScheduler(max_t=4, grace_period=1, reduction_factor=2),
        max_concurrent=1,
    ),
    "pauses with checkpoints": Study(
        plans=(Plan(FALLING), Plan(FALLING, seconds=0.17), Plan(FALLING[:3])),
        scheduler=lambda: PausesAtTwo(),
        stop={"training_iteration": 4},
        checkpoints=True,
    ),
    "a pause without a checkpoint, a stop of a paused trial": Study(
        plans=(Plan(FALLING[:3]), Plan(FALLING[:3], seconds=0.17)),
        scheduler=lambda: PausesAtTwo(drops=1),
    ),
}


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("name", STUDIES)
def test_ray_and_the_simulator_make_the_same_calls(name: str, tmp_path: Path) -> None:
    """The loop is the same; actors, trials, results and checkpoints are simulated."""
    study = STUDIES[name]
    ray, ours = in_ray(study, tmp_path), on_the_clock(study)
    for trial in range(len(study.plans)):
        assert _of(ours.calls, trial) == _of(ray.calls, trial)


def _of(calls: Sequence[Call], trial: int) -> list[Call]:
    return [call for call in calls if call.trial == trial]
