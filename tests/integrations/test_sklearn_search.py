"""RayTunerSearchCV beside scikit-learn's own searches, here and on Ray."""

from __future__ import annotations

import pickle
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import pandas as pd
from naming import named
from ray import cloudpickle
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris, make_classification
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import raytuner
from raytuner.errors import SettingError
from raytuner.integrations.sklearn import RayTunerSearchCV, trials
from raytuner.integrations.sklearn.candidates import parts_of
from raytuner.integrations.sklearn.evaluation import Evaluation, Steps
from raytuner.integrations.sklearn.trials import Found

X, y = load_iris(return_X_y=True)
DRAWN = {"C": loguniform(1e-3, 1e3)}


def logistic() -> Any:
    return LogisticRegression(max_iter=300)


def assert_same_search(ours: Any, theirs: Any) -> None:
    """Assert that two searches found the same, except for times."""
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    for key, column in theirs.cv_results_.items():
        if not key.endswith("_time"):
            np.testing.assert_array_equal(ours.cv_results_[key], column, err_msg=key)
            assert type(ours.cv_results_[key]) is type(column)
    assert ours.multimetric_ == theirs.multimetric_
    assert ours.n_splits_ == theirs.n_splits_
    for name in ("best_index_", "best_params_", "best_score_"):
        assert getattr(ours, name, None) == getattr(theirs, name, None)
    assert hasattr(ours, "refit_time_") == hasattr(theirs, "refit_time_")


class Fails(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Cannot be fitted at all with ``bad``."""

    def __init__(self, bad: bool = False) -> None:
        self.bad = bad

    def fit(self, X: Any, y: Any) -> Fails:
        if self.bad:
            raise ValueError("a bad fit")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0])


def in_columns() -> Pipeline:
    """A pipeline around a ColumnTransformer, as of a table."""
    scale = ColumnTransformer([("a", StandardScaler(), ["w"]), ("b", MinMaxScaler(), ["x", "y"])])
    return Pipeline([("scale", scale), ("model", logistic())])


TABLE = pd.DataFrame(X, columns=["w", "x", "y", "z"])
OF_PIPELINE = [
    {"model__C": [0.01, 1.0], "scale__a": [StandardScaler(), "passthrough"]},
    {"model__C": [10.0], "scale__b__feature_range": [(0, 1), (-1, 1)]},
]
WAYS: dict[str, dict[str, Any]] = {
    "several scores": {"scoring": ["accuracy", "neg_log_loss"], "refit": "neg_log_loss"},
    "no refit": {"scoring": {"a": "accuracy", "b": "f1_macro"}, "refit": False},
    "chosen by a function": {"refit": lambda results: len(results["params"]) - 1},
    "train scores": {"return_train_score": True, "scoring": "roc_auc_ovr"},
}


# -- in this process --------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_grid_gives_what_grid_search_gives(way: str) -> None:
    settings = {"cv": 3, "n_jobs": 1, **WAYS[way]}
    theirs = GridSearchCV(in_columns(), OF_PIPELINE, **settings).fit(TABLE, y)
    ours = RayTunerSearchCV(in_columns(), param_grid=OF_PIPELINE, **settings).fit(TABLE, y)
    assert_same_search(ours, theirs)
    if settings.get("refit", True):
        np.testing.assert_array_equal(ours.predict_proba(TABLE), theirs.predict_proba(TABLE))
        assert ours.score(TABLE, y) == theirs.score(TABLE, y)


def test_fits_that_fail_score_as_in_grid_search() -> None:
    settings: dict[str, Any] = {"cv": 2, "n_jobs": 1, "error_score": -1.0}
    grid = {"bad": [False, True]}
    with pytest.warns(FitFailedWarning, match="a bad fit"):
        theirs = GridSearchCV(Fails(), grid, **settings).fit(X, y)
    with pytest.warns(FitFailedWarning, match="a bad fit"):
        ours = RayTunerSearchCV(Fails(), param_grid=grid, **settings).fit(X, y)
    assert_same_search(ours, theirs)


def test_distributions_are_searched_and_the_same_for_a_seed() -> None:
    search = RayTunerSearchCV(logistic(), DRAWN, n_iter=8, cv=3, n_jobs=1, random_state=3)
    first, second = clone(search).fit(X, y), clone(search).fit(X, y)
    assert first.cv_results_["params"] == second.cv_results_["params"]
    assert len({params["C"] for params in first.cv_results_["params"]}) == 8
    assert all(1e-3 <= params["C"] <= 1e3 for params in first.cv_results_["params"])
    assert first.best_score_ == max(first.cv_results_["mean_test_score"]) > 0.95
    other = clone(search).set_params(random_state=4).fit(X, y)
    assert other.cv_results_["params"] != first.cv_results_["params"]


def test_it_searches_better_than_at_random_where_there_is_something_to_learn() -> None:
    """The last proposals are better than the first, which are quasi-random."""
    search = RayTunerSearchCV(
        LogisticRegression(max_iter=50), {"C": loguniform(1e-6, 1e3)}, n_iter=14, cv=2, n_jobs=1,
        scoring="neg_log_loss", random_state=0,
    ).fit(X, y)  # fmt: skip
    scores = search.cv_results_["mean_test_score"]
    assert np.mean(scores[8:]) > np.mean(scores[:5]) + 0.1


def test_a_few_lists_are_all_tried_and_several_spaces_share() -> None:
    lists = RayTunerSearchCV(logistic(), {"C": [1, 2, 3]}, n_iter=5, cv=2, n_jobs=1).fit(X, y)
    assert [params["C"] for params in lists.cv_results_["params"]] == [1, 2, 3]
    spaces = [{"C": loguniform(1e-3, 1)}, {"C": [1, 10, 100, 1000], "tol": [1e-3]}]
    found = RayTunerSearchCV(logistic(), spaces, n_iter=5, cv=2, n_jobs=1, random_state=0).fit(X, y)
    assert found.cv_results_["param_tol"].mask.tolist() == [True, True, True, False, False]


SMALL = {"C": [1, 2]}


@pytest.mark.parametrize(
    ("spaces", "counts"),
    [
        ([SMALL, DRAWN], [2, 9]),
        ([DRAWN, SMALL], [2, 9]),
        ([SMALL, {"C": [3]}, DRAWN], [3, 8]),
        ([DRAWN, DRAWN, SMALL], [2, 5, 4]),
        ([{"C": (1, 40)}, SMALL], [2, 9]),
        ([SMALL, {"C": [3, 4]}], [4]),
        ([(DRAWN, 3), SMALL], [2, 3]),
        ([(DRAWN, 3), DRAWN], [3, 11]),
        ([(SMALL, 30), (DRAWN, np.int64(2))], [2, 2]),
        ([(DRAWN, 0), SMALL], [2]),
        ({"C": (1.0,)}, [1]),
        ({"C": loguniform(1, 1)}, [1]),
        ({}, [1]),
    ],
    ids=named,
)
def test_the_candidates_are_shared_out_and_none_is_lost(spaces: Any, counts: list[int]) -> None:
    assert [part.count for part in parts_of(None, spaces, 11)] == counts


def test_a_finite_space_is_tried_as_a_whole_and_the_rest_is_searched() -> None:
    found = RayTunerSearchCV(logistic(), [SMALL, DRAWN], n_iter=5, cv=2, random_state=0).fit(X, y)
    tried = [params["C"] for params in found.cv_results_["params"]]
    assert tried[:2] == [1, 2]
    assert len(set(tried)) == 5


@pytest.mark.parametrize(
    "spaces",
    [["C"], [(DRAWN, -1)], [(DRAWN, True)], [(DRAWN, 2.0)], [(DRAWN, 1, 2)]],
    ids=named,
)
def test_what_is_no_list_of_spaces_is_refused(spaces: Any) -> None:
    with pytest.raises(SettingError, match=r"param_distributions holds .* a dict of parameters"):
        RayTunerSearchCV(logistic(), spaces).fit(X, y)


def ran_here(
    search: RayTunerSearchCV, evaluation: Evaluation, part: Any, *args: Any, **settings: Any
) -> tuple[list[Found], str]:
    """What trials on Ray would find, found in this process."""
    configs = part.space.space.sample(np.random.default_rng(0), part.count)
    candidates = part.listed or [part.space.params(config) for config in configs]
    folds = range(len(evaluation.splits))
    return [
        Found(params, [evaluation.fit(params, fold) for fold in folds], 1, True)
        for params in candidates
    ], "a folder"


@pytest.mark.parametrize(
    ("settings", "at_once"),
    [
        ({}, "here"),
        ({"n_jobs": 1}, "here"),
        ({"n_jobs": 1, "time_budget_s": 60}, "here"),
        ({"n_jobs": 2}, 2),
        ({"n_jobs": -1}, None),
        ({"n_jobs": -2}, None),
        ({"early_stopping": "folds"}, None),
        ({"n_jobs": 1, "early_stopping": "folds"}, 1),
        ({"parallel_folds": True}, None),
        ({"resources": {"cpu": 2}}, None),
        ({"n_jobs": 1, "resources": {"cpu": 2}}, 1),
        ({"storage_path": "studies"}, None),
    ],
    ids=named,
)
def test_ray_runs_what_needs_it_and_nothing_else(
    settings: dict[str, Any], at_once: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []

    def run(*args: Any, **given: Any) -> Any:
        asked.append(given["max_concurrent_trials"])
        return ran_here(*args, **given)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trials, "run_trials", run)
    RayTunerSearchCV(logistic(), SMALL, cv=2, **settings).fit(X, y)
    assert asked == ([] if at_once == "here" else [at_once])


@pytest.mark.parametrize("steps", [False, "folds"])
def test_splits_may_come_from_a_generator(steps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "run_trials", ran_here)
    splits = StratifiedKFold(3).split(X, y)
    ours = RayTunerSearchCV(logistic(), param_grid=SMALL, cv=splits, n_jobs=2, early_stopping=steps)
    theirs = GridSearchCV(logistic(), SMALL, cv=3).fit(X, y)
    for _ in range(2):  # also a second time
        assert ours.fit(X, y).n_splits_ == 3
        assert (ours.best_params_, ours.best_score_) == (theirs.best_params_, theirs.best_score_)


def test_a_search_in_this_process_does_without_ray() -> None:
    code = """
import sys
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB
from raytuner.integrations.sklearn import RayTunerSearchCV
assert "torch" not in sys.modules
space = {"var_smoothing": (1e-9, 1.0, "log-uniform"), "priors": [None]}
RayTunerSearchCV(GaussianNB(), space, n_iter=2, cv=2).fit(*load_iris(return_X_y=True))
assert "torch" in sys.modules
assert "ray" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_time_for_a_candidate_is_told_as_such() -> None:
    grid = {"C": [1, 2, 3]}
    here = RayTunerSearchCV(logistic(), param_grid=grid, cv=2, time_budget_s=1e-9).fit(X, y)
    assert here.cv_results_["params"] == [{"C": 1}]
    drawn = RayTunerSearchCV(logistic(), [DRAWN, {"tol": (1e-5, 1e-3)}], cv=2, time_budget_s=1e-9)
    assert len(drawn.fit(X, y).cv_results_["params"]) == 1
    there = RayTunerSearchCV(logistic(), param_grid=grid, cv=2, time_budget_s=1e-9, n_jobs=2)
    with pytest.raises(SettingError, match=r"before a candidate was evaluated: time_budget_s is"):
        there.fit(X, y)


def test_groups_and_sample_weights_reach_their_places() -> None:
    groups, weights = np.arange(len(X)) % 5, np.linspace(0.1, 1, len(X))
    settings: dict[str, Any] = {"cv": GroupKFold(3), "n_jobs": 1}
    given = {"groups": groups, "sample_weight": weights}
    theirs = GridSearchCV(logistic(), {"C": [0.1, 1.0]}, **settings).fit(X, y, **given)
    ours = RayTunerSearchCV(logistic(), param_grid={"C": [0.1, 1.0]}, **settings)
    assert_same_search(ours.fit(X, y, **given), theirs)


def test_it_is_an_estimator_of_its_own_in_a_pipeline() -> None:
    inner = RayTunerSearchCV(logistic(), DRAWN, n_iter=3, cv=2, n_jobs=1, random_state=0)
    whole = Pipeline([("scale", StandardScaler()), ("search", inner)]).fit(X, y)
    assert accuracy_score(y, whole.predict(X)) > 0.9
    again = pickle.loads(pickle.dumps(whole))
    np.testing.assert_array_equal(again.predict(X), whole.predict(X))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "got neither of param_distributions and param_grid"),
        ({"param_grid": {"C": [1]}, "param_distributions": DRAWN}, "got both"),
        ({"param_distributions": []}, "is empty"),
        (
            {"param_distributions": DRAWN, "early_stopping": "partial_fit"},
            "it supports 'warm_start'",
        ),
        (
            {"param_distributions": DRAWN, "scheduler": raytuner.ASHAScheduler(max_t=27)},
            "early_stopping is False; choose its steps",
        ),
        (
            {
                "param_distributions": DRAWN,
                "early_stopping": "folds",
                "scheduler": raytuner.ASHAScheduler(max_t=27),
            },
            "max_t is 27, but a full evaluation has 5 steps",
        ),
        (
            {"param_distributions": DRAWN, "early_stopping": True, "parallel_folds": True},
            "leave one out",
        ),
    ],
    ids=["neither", "both", "empty", "no steps", "no stopping", "other end", "parallel folds"],
)
def test_what_cannot_be_is_refused_before_any_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        RayTunerSearchCV(logistic(), **settings).fit(X, y)


# -- a candidate, step by step ----------------------------------------------------------------


def evaluation_of(
    estimator: Any, steps: Steps, max_t: int, scoring: str = "accuracy"
) -> Evaluation:
    from sklearn.metrics import get_scorer

    data, target = make_classification(120, random_state=0)
    halves = np.arange(120) % 2
    splits = [(np.flatnonzero(halves != k), np.flatnonzero(halves == k)) for k in (0, 1)]
    return Evaluation(
        estimator=estimator,
        X=data,
        y=target,
        splits=splits,
        settings={
            "scorer": get_scorer(scoring),
            "fit_params": {},
            "score_params": {},
            "return_train_score": True,
            "error_score": np.nan,
        },
        steps=steps,
        max_t=max_t,
    )


@pytest.mark.parametrize(
    ("estimator", "params"),
    [
        (RandomForestClassifier(7, random_state=0), {"max_features": 3}),
        (GradientBoostingClassifier(n_estimators=7, random_state=0), {"max_features": 3}),
        (HistGradientBoostingClassifier(max_iter=7, random_state=0), {"max_leaf_nodes": 3}),
    ],
    ids=named,
)
def test_an_ensemble_that_grew_to_its_end_scores_as_one_of_a_piece(
    estimator: Any, params: Any
) -> None:
    evaluation = evaluation_of(estimator, "warm_start", 4, "neg_log_loss")
    steps = [found for found, _ in evaluation.run_steps(params)]
    assert len(steps) == 4
    for key in ("test_scores", "train_scores"):
        grown = [scored[key] for scored in steps[-1]]
        assert grown == pytest.approx([evaluation.fit(params, k)[key] for k in (0, 1)])
    assert len({evaluation.mean_score(found) for found in steps}) == 4


def test_passes_over_the_data_are_those_of_partial_fit() -> None:
    evaluation = evaluation_of(SGDClassifier(random_state=0), "partial_fit", 3)
    train, test = evaluation.splits[1]
    model = SGDClassifier(random_state=0, alpha=0.01)
    for found, _ in evaluation.run_steps({"alpha": 0.01}):
        model.partial_fit(evaluation.X[train], evaluation.y[train], classes=[0, 1])
        assert found[1]["test_scores"] == model.score(evaluation.X[test], evaluation.y[test])


@pytest.mark.parametrize(("max_iter", "max_t"), [(7, 3), (2, 4)])
def test_a_solver_gets_its_share_of_iterations_at_each_step(max_iter: int, max_t: int) -> None:
    estimator = MLPClassifier((4,), max_iter=max_iter, random_state=0)
    steps = [found for found, _ in evaluation_of(estimator, "warm_start", max_t).run_steps({})]
    assert len(steps) == max_t
    assert all(scored["fit_error"] is None for found in steps for scored in found)
    times = [found[0]["fit_time"] for found in steps]
    assert times == sorted(times)  # of all that was trained so far


def test_a_step_that_fails_is_the_last() -> None:
    [(found, _)] = evaluation_of(SGDClassifier(), "partial_fit", 3).run_steps({"alpha": -1.0})
    assert "InvalidParameterError" in found[0]["fit_error"]
    assert np.isnan(found[0]["test_scores"])


def test_folds_are_run_one_after_the_other() -> None:
    evaluation = evaluation_of(logistic(), "folds", 2)
    steps = [found for found, _ in evaluation.run_steps({"C": 1.0})]
    assert [len(found) for found in steps] == [1, 2]
    assert steps[1][1]["test_scores"] == evaluation.fit({"C": 1.0}, 1)["test_scores"]


@pytest.mark.parametrize("until", [1, 2])
@pytest.mark.parametrize(
    ("steps", "estimator", "params"),
    [
        ("partial_fit", SGDClassifier(random_state=0), {"alpha": 0.01}),
        ("warm_start", GradientBoostingClassifier(random_state=0), {"n_estimators": 6}),
        ("warm_start", GradientBoostingClassifier(random_state=0), {"n_estimators": 2}),
        ("folds", logistic(), {"C": 1.0}),
    ],
    ids=named,
)
def test_a_candidate_goes_on_from_any_step(
    steps: Any, estimator: Any, params: Any, until: int
) -> None:
    evaluation = evaluation_of(estimator, steps, 3)
    whole = [evaluation.mean_score(found) for found, _ in evaluation.run_steps(params)]
    *_, (_, state) = islice(evaluation.run_steps(params), until)
    begun = pickle.loads(pickle.dumps((until, state)))
    rest = [evaluation.mean_score(found) for found, _ in evaluation.run_steps(params, begun)]
    assert rest == whole[until:]


# -- on Ray -------------------------------------------------------------------------------------


def test_on_ray_a_grid_gives_what_grid_search_gives(ray_cluster: None) -> None:
    settings: dict[str, Any] = {
        "cv": 2, "return_train_score": True, **WAYS["several scores"]
    }  # fmt: skip
    theirs = GridSearchCV(in_columns(), OF_PIPELINE[:1], **settings).fit(TABLE, y)
    ours = RayTunerSearchCV(in_columns(), param_grid=OF_PIPELINE[:1], n_jobs=-1, **settings)
    assert_same_search(ours.fit(TABLE, y), theirs)
    np.testing.assert_array_equal(ours.predict_proba(TABLE), theirs.predict_proba(TABLE))
    assert ours.best_estimator_.n_features_in_ == 4


def test_on_ray_folds_run_side_by_side(ray_cluster: None) -> None:
    theirs = GridSearchCV(logistic(), {"C": [0.01, 1.0]}, cv=2).fit(X, y)
    ours = RayTunerSearchCV(logistic(), param_grid={"C": [0.01, 1.0]}, cv=2, parallel_folds=True)
    assert_same_search(ours.fit(X, y), theirs)


def test_on_ray_what_a_fit_raises_is_raised(ray_cluster: None) -> None:
    by_value: Any = cloudpickle.register_pickle_by_value
    by_value(sys.modules[__name__])  # workers cannot import it
    search = RayTunerSearchCV(
        Fails(), param_grid={"bad": [True, False]}, cv=2, error_score="raise", n_jobs=2
    )
    with pytest.raises(ValueError, match="a bad fit"):
        search.fit(X, y)


def test_on_ray_bad_candidates_are_stopped_and_none_of_them_is_best(
    ray_cluster: None, tmp_path: Path
) -> None:
    search = RayTunerSearchCV(
        SGDClassifier(random_state=0),
        {"alpha": loguniform(1e-6, 1e3)},
        n_iter=6,
        cv=2,
        early_stopping=True,
        max_t=9,
        random_state=0,
        storage_path=tmp_path,
    ).fit(X, y)
    results = search.cv_results_
    assert results["completed"][search.best_index_]
    assert results["n_steps"].max() == 9 > results["n_steps"].min()
    assert (results["completed"] == (results["n_steps"] == 9)).all()
    done = results["mean_test_score"][results["completed"]]
    assert search.best_score_ == done.max()
    [path] = search.study_paths_
    study = raytuner.load(path)
    assert [trial.t for trial in study.trials] == results["n_steps"].tolist()


def test_on_ray_candidates_are_paused_and_the_best_go_on_as_if_they_had_not_been(
    ray_cluster: None, tmp_path: Path
) -> None:
    search = RayTunerSearchCV(
        SGDClassifier(random_state=0),
        param_grid={"alpha": [1e-4, 1e-2, 1.0, 100.0]},
        cv=2,
        early_stopping="partial_fit",
        max_t=3,
        scheduler=raytuner.ASHAScheduler(max_t=3, grace_period=1, variant="promotion"),
        random_state=0,
        storage_path=tmp_path,
    ).fit(X, y)
    results = search.cv_results_
    assert sorted(set(results["n_steps"])) == [1, 3]
    [path] = search.study_paths_
    assert {trial.state.value for trial in raytuner.load(path).trials} == {
        "COMPLETED",
        "STOPPED_EARLY",
    }
    straight = RayTunerSearchCV(
        SGDClassifier(random_state=0),
        param_grid={"alpha": [search.best_params_["alpha"]]},
        cv=2,
        early_stopping="partial_fit",
        max_t=3,
    ).fit(X, y)
    assert straight.best_score_ == search.best_score_
    # The scheduler that was given is as it was, for another search.
    assert [rung.recorded for rung in search.get_params()["scheduler"].rule.rungs] == [0]
