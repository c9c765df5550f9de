"""`raytuner.tune` on a real cluster."""

from __future__ import annotations

import functools
import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from integration_driver import MAX_T, SPACE, loss, train
from ray import tune

import raytuner
from raytuner.errors import (
    ConfigError,
    MetricError,
    NoResultError,
    RaytunerError,
    SettingError,
    TrainableError,
)
from raytuner.history import History, Origin, TrialState
from raytuner.search.tune_space import space_from_tune
from raytuner.space import Float, Space
from raytuner.study.study import Study

# Ray's workers cannot import the tests: they get the functions themselves.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

pytestmark = pytest.mark.usefixtures("ray_cluster")


def search(folder: Path, trainable: Any = train, **settings: Any) -> Study:
    """A small study; each trial's process serves the next, which saves seconds a trial."""
    settings = {
        "param_space": SPACE,
        "metric": "loss",
        "mode": "min",
        "num_samples": 4,
        "seed": 0,
        "storage_path": folder,
        "name": "study",
        "reuse_actors": True,
        "progress": False,
        **settings,
    }
    return raytuner.tune(trainable, settings.pop("param_space"), **settings)


def test_a_study_and_what_is_kept_of_it(tmp_path: Path) -> None:
    points = [{"x": 0.5, "opt": {"lr": 0.01}}, {"x": -0.5, "opt": {"lr": 0.02}}]
    study = search(tmp_path, num_samples=6, max_t=MAX_T, points_to_evaluate=points)
    assert not study.interrupted
    assert study.path == tmp_path / "study"
    assert len(study.trials) == 6 == sum(study.counts.values())
    assert [trial.config for trial in study.trials[:2]] == points
    assert [trial.origin for trial in study.trials[:2]] == [Origin.INITIAL] * 2
    best = study.best
    assert best is not None
    assert (best.state, best.t) == (TrialState.COMPLETED, MAX_T)
    assert best.value == loss(best.config, MAX_T)
    assert sum(trial.t for trial in study.trials) < 6 * MAX_T  # some were stopped

    results = study.results
    assert list(results["trial_id"]) == [trial.trial_id for trial in study.trials]
    assert list(results["state"]) == [trial.state.value for trial in study.trials]
    assert list(results["loss"]) == [trial.value for trial in study.trials]
    assert list(results["config/opt/lr"]) == [t.config["opt"]["lr"] for t in study.trials]

    again = raytuner.load(study.path)
    assert (again.trials, again.metric, again.mode, again.history.max_t) == (
        study.trials,
        "loss",
        "min",
        MAX_T,
    )
    assert not again.interrupted
    with pytest.raises(SettingError, match=r"already exists.*raytuner\.load\(path\)\.resume\(\)"):
        search(tmp_path)
    with pytest.raises(RaytunerError, match="is not a study"):
        raytuner.load(tmp_path)


def test_two_studies_in_one_process_do_not_disturb_each_other(tmp_path: Path) -> None:
    first = search(tmp_path, name="größe 1", num_samples=3)
    kept = repr(first.trials)
    second = search(tmp_path, name="second", num_samples=3, mode="max", seed=1)
    assert repr(first.trials) == kept == repr(raytuner.load(first.path).trials)
    assert not {t.trial_id for t in first.trials} & {t.trial_id for t in second.trials}
    assert first.counts == second.counts == {TrialState.COMPLETED: 3}
    assert "TUNE_DISABLE_STRICT_METRIC_CHECKING" not in os.environ


class Befalls(tune.Callback):
    """Does something to a study's record after its second trial."""

    def __init__(self, what: Callable[[], None]) -> None:
        self.what, self.ended = what, 0

    def on_trial_complete(self, *args: Any, **info: Any) -> None:
        self.ended += 1
        if self.ended == 2:
            self.what()


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_study_whose_record_is_lost_while_it_runs_loses_nothing(tmp_path: Path, how: str) -> None:
    other = History(Space({"z": Float(0, 1)}), metric="other", mode="max", path=tmp_path / "other")
    other.set_meta("search_id", "another")
    other.add("of another", {"z": 0.5})
    other.close()
    record = tmp_path / "study" / "raytuner-record.sqlite"

    def befall() -> None:
        if how == "removed":
            record.parent.rename(tmp_path / "gone")
        else:
            shutil.copyfile(tmp_path / "other", tmp_path / "copy")
            (tmp_path / "copy").replace(record)

    study = search(tmp_path, callbacks=[Befalls(befall)])
    assert study.counts == {TrialState.COMPLETED: 4}
    assert not study.interrupted
    assert raytuner.load(study.path).trials == study.trials
    if how == "replaced":
        kept = record.with_name(f"{record.name}.other")
        assert kept.read_bytes() == (tmp_path / "other").read_bytes()


def test_a_time_budget_ends_a_study_without_a_number_of_samples(tmp_path: Path) -> None:
    def endless(config: dict[str, Any]) -> None:
        for t in range(1, 10_000):
            time.sleep(0.05)
            tune.report({"loss": loss(config, t)})

    study = search(
        tmp_path,
        endless,
        num_samples=-1,
        time_budget_s=15,  # time for a report on a busy machine, too
        reuse_actors=False,
        max_concurrent_trials=2,
    )
    assert not study.interrupted
    assert study.history.live() == ()
    assert study.best is not None
    assert set(study.counts) <= {TrialState.STOPPED_EARLY, TrialState.REMOVED}
    assert {trial.reason for trial in study.trials} == {"the time budget ended"}
    loaded = raytuner.load(study.path)
    assert not loaded.interrupted
    assert len(loaded.history.snapshot().pending) == 0


def fails(config: dict[str, Any]) -> Any:
    kind = config["kind"]
    if kind == "raises":
        tune.report({"loss": 2.0})
        raise ValueError("the data are not there")
    if kind == "nothing":
        return
    if kind == "exits":
        os._exit(3)
    for _ in range(2):
        tune.report({"loss": {"nan": math.nan, "inf": math.inf, "text": "low"}.get(kind, 1.0)})


def test_failures_are_told_apart_and_do_not_stop_the_others(tmp_path: Path) -> None:
    kinds = ["good", "raises", "nothing", "nan", "inf", "text", "exits"]
    study = search(
        tmp_path,
        fails,
        param_space={"kind": tune.choice(kinds)},
        points_to_evaluate=[{"kind": kind} for kind in kinds],
        num_samples=len(kinds),
        max_concurrent_trials=1,
        reuse_actors=False,
    )
    assert not study.interrupted
    reasons = {trial.config["kind"]: trial.reason for trial in study.failures}
    assert [trial.config["kind"] for trial in study.failures] == kinds[1:]
    where = f"(test_study.py:{fails.__code__.co_firstlineno + 4} in fails)"
    assert reasons["raises"] == f"ValueError: the data are not there {where}"
    assert "never reported the metric 'loss'" in reasons["nothing"]
    assert "loss is nan" in reasons["nan"]
    assert "loss is inf" in reasons["inf"]
    assert "'low' (str)" in reasons["text"]
    assert "died" in reasons["exits"]
    assert len(study.history.snapshot().infeasible) == len(kinds) - 1
    assert study.best is not None
    assert study.best.config == {"kind": "good"}
    assert raytuner.load(study.path).failures[0].reason == reasons["raises"]


def test_another_searcher_of_rays(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    from ray.tune.search.optuna import OptunaSearch

    study = search(tmp_path, num_samples=5, max_t=MAX_T, searcher=OptunaSearch(seed=0))
    assert not study.interrupted
    assert [trial.origin for trial in study.trials] == [Origin.SEARCHER] * 5
    complete = [trial for trial in study.trials if trial.state is TrialState.COMPLETED]
    assert study.best.value == min(trial.value for trial in complete)
    again = raytuner.load(study.path).extend(1, train, progress=False)
    assert again.trials[-1].origin is not Origin.SEARCHER


def always_fails(config: dict[str, Any]) -> None:
    raise ValueError(f"shapes ({config['x']:.3f},) and (3,) do not fit")


def test_a_function_that_always_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(NoResultError, match=r"ValueError: shapes .*test_study\.py:\d+ in always"):
        search(tmp_path, always_fails, num_samples=30, max_concurrent_trials=2, reuse_actors=False)
    assert sum(message.count("Traceback") for message in caplog.messages) <= 1
    assert len([m for m in caplog.messages if "shapes" in m]) == 1  # the first, with its traceback
    study = raytuner.load(tmp_path / "study")
    assert not study.interrupted
    assert 5 <= len(study.failures) < 12
    with pytest.raises(NoResultError, match="failed with: ValueError: shapes"):
        _ = study.best
    study = study.extend(1, train)  # once it is mended
    assert study.best.state is TrialState.COMPLETED


@pytest.mark.parametrize("max_t", [None, 9])
def test_a_metric_that_is_never_reported(tmp_path: Path, max_t: int | None) -> None:
    def other(config: dict[str, Any]) -> None:
        for _ in range(3):
            tune.report({"accuracy": 0.5, "time": 1.0})

    said = "never reported the metric 'loss'; it reported 'accuracy', 'time'"
    with pytest.raises((MetricError, NoResultError), match=said):
        search(tmp_path, other, max_t=max_t, num_samples=12)
    assert len(raytuner.load(tmp_path / "study").trials) < 12


def on_two(config: dict[str, Any], bonus: float) -> None:
    tune.report(
        {"loss": bonus, "cpus": tune.get_context().get_trial_resources().required_resources["CPU"]}
    )


@pytest.mark.parametrize(
    ("resources", "cpus"),
    [({"cpu": 2}, 2), (lambda config: {"cpu": 0.5 if config["x"] < 5 else 1}, 0.5)],
)
def test_a_trial_gets_what_is_requested(tmp_path: Path, resources: Any, cpus: float) -> None:
    study = search(
        tmp_path, functools.partial(on_two, bonus=cpus), num_samples=1, resources=resources
    )
    results = tune.ExperimentAnalysis(str(study.path)).results
    assert [result["cpus"] for result in results.values()] == [cpus]


def nothing() -> None:
    """A training function that cannot take a configuration."""


BAD: dict[str, tuple[dict[str, Any], type[RaytunerError], str]] = {
    "part of two GPUs": ({"resources": {"gpu": 1.5}}, SettingError, r"resources\['gpu'\] is 1.5"),
    "no time": ({"time_budget_s": 0}, SettingError, "time_budget_s is 0"),
    "no room": ({"max_concurrent_trials": 0}, SettingError, "max_concurrent_trials is 0"),
    "object store": ({"storage_path": "s3://bucket"}, SettingError, "s3://bucket"),
    "mode": ({"mode": "best"}, MetricError, "'best'"),
    "empty space": ({"param_space": {}}, RaytunerError, "at least one hyperparameter"),
    "outside": ({"points_to_evaluate": [{"x": 2, "opt": {"lr": 0.01}}]}, ConfigError, "x: .*2"),
    "not callable": ({"trainable": 3}, TrainableError, "the trainable is 3"),
    "no argument": ({"trainable": nothing}, TrainableError, "nothing takes no argument"),
    "two spaces": (
        {"searcher": raytuner.BoTorchSearch(SPACE)},
        SettingError,
        "to only one of them",
    ),
    "points twice": (
        {"searcher": raytuner.BoTorchSearch(), "points_to_evaluate": []},
        SettingError,
        "give it to the searcher",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_an_error_before_anything_starts(tmp_path: Path, case: str) -> None:
    settings, kind, words = BAD[case]
    with pytest.raises(kind, match=words):
        search(tmp_path, **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "study").write_text("something else")
    with pytest.raises(SettingError, match="already exists"):
        search(tmp_path)


class Layer:
    """A choice that no file can hold."""

    def __init__(self, width: int) -> None:
        self.width = width

    def __repr__(self) -> str:
        return "<Layer>"


def test_choices_that_no_file_can_hold(tmp_path: Path) -> None:
    layers = [Layer(1), Layer(2)]

    def uses_object(config: dict[str, Any]) -> None:
        tune.report({"loss": config["x"] + (0 if repr(config["layer"]) == "<Layer>" else 99)})

    space = {"layer": tune.choice(layers), "x": tune.uniform(0, 1)}
    study = search(tmp_path, uses_object, param_space=space, num_samples=2)
    assert all(trial.config["layer"] in layers for trial in study.trials)
    loaded = raytuner.load(study.path)
    assert [repr(t.config) for t in loaded.trials] == [repr(t.config) for t in study.trials]
    assert [t.values for t in loaded.trials] == [t.values for t in study.trials]
    assert list(loaded.results["config/layer"].map(str)) == ["<Layer>"] * 2


def test_nothing_to_resume(tmp_path: Path) -> None:
    record = History(
        space_from_tune(SPACE),
        metric="loss",
        mode="min",
        path=tmp_path / "raytuner-record.sqlite",
    )
    record.add("a", {"x": 0.0, "opt": {"lr": 0.01}})
    study = raytuner.load(tmp_path)
    assert study.interrupted
    with pytest.raises(RaytunerError, match="Ray has saved no state"):
        study.resume(train)
    with pytest.raises(TrainableError, match=r"in a script, .*; pass it as the argument trainable"):
        study.resume()
