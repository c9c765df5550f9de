"""The results of two searches, counted the same way and shown side by side."""

from types import SimpleNamespace
from typing import Any

import pytest

from raytuner.demo import run
from raytuner.demo.digits import MAX_T, METRIC, Scores
from raytuner.demo.run import SearchResult
from raytuner.history import History, TrialState
from raytuner.space import Float, Space


class Results(list[Any]):
    """Has what the demo reads of Ray's `ResultGrid`."""

    num_errors = 1


def a_result(number: int, t: int, accuracy: float | None, error: Any = None) -> Any:
    metrics = {"training_iteration": t, "config": {"lr": number / 10}}
    if accuracy is not None:
        metrics[METRIC] = accuracy
    return SimpleNamespace(metrics=metrics, error=error)


def test_a_tuners_results_and_a_record_of_them_are_counted_the_same_way() -> None:
    results: Any = Results(
        [
            a_result(0, MAX_T, 0.75),
            a_result(1, MAX_T, 0.7),
            a_result(2, 3, 0.9),
            a_result(3, 1, 0.95, ValueError()),
            SimpleNamespace(metrics=None, error=None),
        ]
    )
    history = History(Space({"lr": Float(0, 1)}), metric=METRIC, mode="max", max_t=MAX_T)
    full, stopped, failed = TrialState.COMPLETED, TrialState.STOPPED_EARLY, TrialState.FAILED
    for result, state in zip(results, (full, full, stopped, failed), strict=False):
        trial_id = str(len(history))
        history.add(trial_id, result.metrics["config"])
        history.report(trial_id, result.metrics["training_iteration"], result.metrics[METRIC])
        history.end(trial_id, state)
    history.add("silent", {"lr": 0.5})
    history.end("silent", TrialState.REMOVED)
    expected = SearchResult(
        config={"lr": 0.0},
        trained_in_full=2,
        stopped_early=1,
        failed=1,
        epochs=2 * MAX_T + 4,
    )
    assert SearchResult.of_results(results) == SearchResult.of_history(history) == expected


def test_the_best_of_trials_that_were_all_stopped_is_one_of_them() -> None:
    results: Any = Results([a_result(1, 1, 0.5), a_result(2, 3, 0.9)])
    assert SearchResult.of_results(results).config == {"lr": 0.2}
    nothing: Any = Results()
    assert SearchResult.of_results(nothing).config is None


def test_a_column_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "retrain", lambda config: Scores(0.97, 0.96))
    assert SearchResult({"lr": 0.1}, 1, 1, 0, 30).column() == {
        "validation accuracy": "0.9700",
        "test accuracy": "0.9600",
        "trials": "2",
        "trained in full": "1",
        "stopped early": "1",
        "failed": "0",
        "epochs": "30",
    }
    assert SearchResult(None, 0, 0, 0, 0).column()["test accuracy"] == "-"
