"""Reports are read once and entered into the table of trials."""

from __future__ import annotations

import pytest

from raytuner.controller.report import last_checkpoint, record_report, stop_early
from raytuner.errors import MetricError
from raytuner.history import Goal, Table, TrialState


def table(*trials: str) -> Table:
    made = Table(Goal.of("loss", "min"), "epoch", 9)
    for trial_id in trials:
        made.add(trial_id, {})
    return made


def test_what_is_recorded_of_a_report() -> None:
    history = table("a")
    folder = {"checkpoint_dir_name": "checkpoint_000001", "training_iteration": 4}
    record_report(history, "a", {"epoch": 1, "loss": 0.5, "accuracy": 0.9, **folder})
    record_report(history, "a", {"epoch": 2, "accuracy": 0.8})
    assert history["a"].values == ((1.0, 0.5),)
    assert history["a"].metrics == {"loss": 0.5, "accuracy": 0.8}
    assert last_checkpoint(history, "a") == folder


def test_an_invalid_report_is_an_error_until_one_was_valid() -> None:
    history = table("a")
    for bad in ({"loss": 0.5}, {"epoch": 1, "loss": "low"}):
        with pytest.raises(MetricError):
            record_report(history, "a", bad)
        assert record_report(history, "unknown", bad).error
    record_report(history, "a", {"epoch": 1, "loss": 0.5})
    assert "'low'" in record_report(history, "a", {"epoch": 2, "loss": "low"}).error
    skipped = record_report(history, "a", {"loss": 0.5})
    assert (skipped.metrics, skipped.error) == (None, "")


@pytest.mark.parametrize(
    ("loss", "state"),
    [
        (None, TrialState.REMOVED),
        (0.5, TrialState.STOPPED_EARLY),
        (float("nan"), TrialState.FAILED),
    ],
)
def test_how_a_stopped_trial_ends(loss: float | None, state: TrialState) -> None:
    history = table("a")
    if loss is not None:
        history.report("a", 1, loss)
    stop_early(history, "a", "rank 2 of 2")
    assert history["a"].state is state
    ended = history["a"]
    stop_early(history, "a", "again")
    assert history["a"] == ended
