"""Tests of the demo's comparison of two searches."""

import pytest

from raytuner.demo import run
from raytuner.demo.digits import MAX_T, METRIC, Scores
from raytuner.history import History, TrialState
from raytuner.space import Float, Space


def test_a_column_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "retrain", lambda config: Scores(0.97, 0.96))
    history = History(Space({"lr": Float(0, 1)}), metric=METRIC, mode="max", max_t=MAX_T)
    assert run.column(history)["test accuracy"] == "-"
    for t, accuracy, state in (
        (MAX_T, 0.75, TrialState.COMPLETED),
        (3, 0.9, TrialState.STOPPED_EARLY),
        (1, 0.95, TrialState.FAILED),
    ):
        trial_id = str(len(history))
        history.add(trial_id, {"lr": 0.5})
        history.report(trial_id, t, accuracy)
        history.end(trial_id, state)
    history.add("silent", {"lr": 0.5})
    history.end("silent", TrialState.REMOVED)
    assert run.column(history) == {
        "validation accuracy": "0.9700",
        "test accuracy": "0.9600",
        "trials": "3",
        "trained in full": "1",
        "stopped early": "1",
        "failed": "1",
        "epochs": "31",
    }
