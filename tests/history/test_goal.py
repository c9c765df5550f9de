"""Several objectives and outcome constraints: what a goal is, and what the record makes of it."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytuner.errors import MetricError
from raytuner.history import Goal, History, TrialState, non_dominated
from raytuner.space import Float, Space

SPACE = Space({"x": Float(0, 1)})
TWO = Goal.of(["accuracy", "ms"], ["max", "min"], outcome_constraints=["ms <= 20", "mib <= 100"])


def record(goal: Goal, rows: list[dict[str, float]], path: Path | None = None) -> History:
    """A completed trial for each row of metrics."""
    history = History(SPACE, goal=goal, path=path)
    for i, row in enumerate(rows):
        history.add(str(i), {"x": i / len(rows)})
        others = {name: value for name, value in row.items() if name != history.metric}
        history.report(str(i), 1, row[history.metric], others)
        history.end(str(i), TrialState.COMPLETED)
    return history


ROWS: list[dict[str, float]] = [
    {"accuracy": 0.9, "ms": 15.0, "mib": 50.0},
    {"accuracy": 0.8, "ms": 10.0, "mib": 50.0},
    {"accuracy": 0.7, "ms": 12.0, "mib": 50.0},  # dominated
    {"accuracy": 0.99, "ms": 30.0, "mib": 50.0},  # too slow
    {"accuracy": 0.95, "ms": 15.0, "mib": 150.0},  # too large
]


@pytest.mark.parametrize(
    ("metric", "mode", "more", "words"),
    [
        (["a", "b"], ["min"], {}, ["2 and 1"]),
        (["a", "a"], ["min", "max"], {}, ["['a', 'a']", "once"]),
        ("a", "down", {}, ["'down'", "'min' or 'max'"]),
        ([], [], {}, ["[]", "the name of a key"]),
        ("a", "min", {"outcome_constraints": ["b <= 3", "b <= 4"]}, ["b <= 4", "only one bound"]),
        (["a", "b"], ["min", "min"], {"weights": [1.0]}, ["[1.0]", "['a', 'b']"]),
        (["a", "b"], ["min", "min"], {"weights": [1.0, -1.0]}, ["-1.0", "above 0"]),
    ],
)
def test_bad_goals_are_one_clear_error(
    metric: Any, mode: Any, more: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(MetricError) as caught:
        Goal.of(metric, mode, **more)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("text", "metric", "relation", "bound"),
    [
        ("lat>=-1.5", "lat", ">=", -1.5),
        ("  lat <= 1e3\t", "lat", "<=", 1000.0),
        ("eval/loss <= .5", "eval/loss", "<=", 0.5),
        ("val loss <= +5", "val loss", "<=", 5.0),
        ("metrics/mAP50-95(B) >= 0.4", "metrics/mAP50-95(B)", ">=", 0.4),
        ("bbox_mAP(IoU=0.50:0.95|area=all) >= 0.4", "bbox_mAP(IoU=0.50:0.95|area=all)", ">=", 0.4),
        ("brand <= 3", "brand", "<=", 3.0),  # words inside of a name
        ("top-1 error <= 0.3", "top-1 error", "<=", 0.3),
        ("lat <= 5 and mem <= 3", None, "", 0.0),
        ("1 <= lat <= 5", None, "", 0.0),
        ("lat <= mem", None, "", 0.0),
        ("<= 3", None, "", 0.0),
        ("lat < 5", None, "", 0.0),
        ("lat == 5", None, "", 0.0),
        ("lat = 5", None, "", 0.0),
        ("lat ≤ 5", None, "", 0.0),
        ("lat <= inf", None, "", 0.0),
        ("lat", None, "", 0.0),
        (("lat", "<=", 5), None, "", 0.0),
    ],
)
def test_a_constraint_is_one_comparison(
    text: Any, metric: str | None, relation: str, bound: float
) -> None:
    if metric is None:
        with pytest.raises(MetricError) as caught:
            Goal.of("a", "min", outcome_constraints=[text])
        assert repr(text) in str(caught.value)
        assert "'latency_ms <= 20'" in str(caught.value)
    else:
        (found,) = Goal.of("a", "min", outcome_constraints=[text]).constraints
        assert (found.metric, found.relation, found.bound) == (metric, relation, bound)


@pytest.mark.parametrize("given", [None, {"lat": 5}])
def test_constraints_that_are_no_list(given: Any) -> None:
    with pytest.raises(MetricError, match="give a list of texts"):
        Goal.of("a", "min", outcome_constraints=given)


@pytest.mark.parametrize("name", ["cost", "standard_error"])
@pytest.mark.parametrize("given", [["a", "b"], ""])
def test_a_cost_or_a_standard_error_is_one_name(name: str, given: Any) -> None:
    with pytest.raises(MetricError, match=f"{name} is .*must be the name of a key"):
        Goal.of("loss", "min", **{name: given})


def test_the_front_is_of_what_keeps_the_constraints() -> None:
    history = record(TWO, ROWS)
    assert [trial.trial_id for trial in history.pareto] == ["0", "1"]
    best = history.best
    assert best is not None
    assert best.trial_id == "0"
    assert best.metrics == ROWS[0]


def test_while_none_is_feasible_the_best_breaks_the_constraints_least() -> None:
    history = record(TWO, ROWS[3:])
    assert history.pareto == ()
    best = history.best
    assert best is not None
    assert best.trial_id == "0"  # by 10, the other by 50


def test_weights_make_one_objective_of_several() -> None:
    goal = Goal.of(["accuracy", "ms"], ["max", "min"], weights=[1.0, 0.1])
    history = record(goal, ROWS)
    snapshot = history.snapshot()
    assert snapshot.is_plain
    np.testing.assert_allclose(snapshot.y, [0.9 - 1.5, 0.8 - 1.0, 0.7 - 1.2, 0.99 - 3, 0.95 - 1.5])
    best = history.best
    assert best is not None
    assert best.trial_id == "1"


def test_a_snapshot_has_every_outcome_with_larger_being_better() -> None:
    snapshot = record(TWO, ROWS[:1]).snapshot()
    np.testing.assert_allclose(snapshot.outcomes, [[0.9, -15.0, 5.0, 50.0]])
    assert snapshot.n_objectives == 2
    np.testing.assert_allclose(snapshot.of_outcome(2).y, [5.0])


@pytest.mark.parametrize("how", ["file", "copy", "pickle"])
def test_nothing_is_lost_on_the_way_to_a_file_and_back(tmp_path: Path, how: str) -> None:
    rows = [*ROWS, {"accuracy": 0.1, "ms": math.nan, "mib": math.inf}]
    history = record(TWO, rows, tmp_path / "record")
    if how == "pickle":
        again = pickle.loads(pickle.dumps(history))
    elif how == "copy":
        history.copy_to(tmp_path / "copy")
        again = History.read(tmp_path / "copy")
    else:
        again = History.open(tmp_path / "record")
    assert again.goal == TWO
    for one, two in zip(again.trials, history.trials, strict=True):
        np.testing.assert_equal(one.metrics, two.metrics)


def test_changes_bring_another_record_to_the_same() -> None:
    history, other = record(TWO, ROWS), History(SPACE, goal=TWO)
    other.apply(history.changes(0))
    np.testing.assert_equal(other.snapshot().outcomes, history.snapshot().outcomes)


rows = st.lists(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, math.nan]), min_size=2, max_size=2),
    min_size=1,
    max_size=8,
)


@given(rows)
def test_a_row_is_on_the_front_if_no_other_is_better(rows: list[list[float]]) -> None:
    Y = np.array(rows)
    clean = np.nan_to_num(Y, nan=-np.inf)
    for row, is_on_front in zip(clean, non_dominated(Y), strict=True):
        better = [other for other in clean if (other >= row).all() and (other > row).any()]
        assert is_on_front == (not better)


@pytest.mark.parametrize(
    "goal",
    [
        Goal.of("loss", "min", cost="seconds", standard_error="loss_se"),
        Goal.of(["a", "b"], ["max", "min"], outcome_constraints=["c <= 3"], weights=[1.0, 0.5]),
    ],
    ids=["one", "two"],
)
def test_a_goal_comes_back_from_the_record_as_it_was(goal: Goal) -> None:
    assert Goal.from_json(goal.to_json()) == goal


def test_without_a_full_resource_only_what_completed_has_a_full_cost() -> None:
    history = History(SPACE, goal=Goal.of("loss", "min", cost="seconds"))
    for trial_id, state in (("a", TrialState.COMPLETED), ("b", TrialState.STOPPED_EARLY)):
        history.add(trial_id, {"x": 0.5})
        history.report(trial_id, 3, 1.0, {"seconds": 6.0})
        history.end(trial_id, state)
    np.testing.assert_array_equal(history.snapshot().cost, [6.0, math.nan])
    again = History(SPACE, goal=history.goal, max_t=9)
    again.add("b", {"x": 0.5})
    again.report("b", 3, 1.0, {"seconds": 6.0})
    again.end("b", TrialState.STOPPED_EARLY)
    np.testing.assert_array_equal(again.snapshot().cost, [18.0])
