"""Schedulers by name."""

from __future__ import annotations

from typing import Any

import pytest

import raytuner
from raytuner import (
    ASHAScheduler,
    FreezeThawScheduler,
    HyperBandScheduler,
    PredictiveTerminationScheduler,
)
from raytuner.errors import SettingError
from raytuner.schedulers.named import SCHEDULERS, make_scheduler

SETTINGS: dict[str, Any] = {
    "time_attr": "epoch",
    "max_t": 27,
    "grace_period": 3,
    "reduction_factor": 2,
    "seed": 0,
}


@pytest.mark.parametrize(
    ("name", "kind", "pauses"),
    [
        ("asha", ASHAScheduler, False),
        ("promotion", ASHAScheduler, True),
        ("hyperband", HyperBandScheduler, False),
        ("predictive-termination", PredictiveTerminationScheduler, False),
        ("freeze-thaw", FreezeThawScheduler, True),
    ],
)
def test_each_is_made_as_it_is_set(name: str, kind: Any, pauses: bool) -> None:
    scheduler: Any = make_scheduler(name, **SETTINGS)
    assert type(scheduler) is kind
    assert scheduler.max_t == 27
    assert scheduler._time_attr == "epoch"
    assert scheduler.halving.pauses is pauses
    assert scheduler.halving.rungs[0].level == 3
    assert scheduler.halving.rungs[1].level == 6


def test_all_of_ours_have_a_name() -> None:
    made = {type(make_scheduler(name, **SETTINGS)).__name__ for name in SCHEDULERS}
    assert made == {name for name in raytuner.__all__ if name.endswith("Scheduler")}


def test_a_name_that_is_none() -> None:
    with pytest.raises(SettingError, match=r"scheduler='freezethaw' is none of .*'freeze-thaw'\?"):
        make_scheduler("freezethaw", **SETTINGS)


def test_each_needs_to_know_when_a_trial_is_complete() -> None:
    with pytest.raises(SettingError, match="scheduler='asha' needs max_t"):
        make_scheduler("asha", **{**SETTINGS, "max_t": None})
