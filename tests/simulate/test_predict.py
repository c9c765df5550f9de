"""Predicting a recorded study."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from click.testing import CliRunner
from ray import tune
from ray.tune.search.searcher import Searcher
from records import put_rows, rows_of

from raytuner.cli import main
from raytuner.errors import HistoryError, MetricError, SettingError
from raytuner.history import Goal, History, TrialState
from raytuner.simulate import Curve, Settings, Workload, predict
from raytuner.simulate.replay import Replay
from raytuner.space import Float, Space

QUIET = Settings(charge="none")


def record(
    path: Path,
    trials: list[tuple[float, int, TrialState]],
    *,
    seconds: float = 10.0,
    startup: float = 4.0,
    max_t: float | None = 9,
) -> History:
    """A study on one worker: per trial x, reports and end; loss is ``x + 1 / t``."""
    history = History(
        Space({"x": Float(0.0, 1.0)}), metric="loss", mode="min", max_t=max_t, path=path
    )
    now = 1e9
    rows = []
    for number, (x, reports, state) in enumerate(trials):
        trial_id = f"t{number}"
        history.add(trial_id, {"x": x})
        rows.append((trial_id, now))
        for t in range(1, reports + 1):
            history.report(trial_id, t, x + 1 / t)
        history.end(trial_id, state)
        now += startup + reports * seconds
    history.close()
    heads = {head[0]: head for head in rows_of(path, "trial")}
    for trial_id, at, value, _ in rows_of(path, "value"):
        reported_at = dict(rows)[trial_id] + startup + at * seconds
        put_rows(path, ("value", (trial_id, at, value, reported_at)))
    for (trial_id, begin), (_, reports, _) in zip(rows, trials, strict=True):
        ended_at = begin + startup + reports * seconds
        put_rows(path, ("trial", (*heads[trial_id][:6], begin, None, ended_at)))
    return History.open(path)


class Replays(Searcher):
    """Proposes given configurations."""

    def __init__(self, points: list[float]) -> None:
        super().__init__(metric="loss", mode="min")
        self._points = itertools.cycle(points)

    def suggest(self, trial_id: str) -> dict[str, float]:
        return {"x": next(self._points)}

    def on_trial_complete(self, trial_id: str, result: object = None, error: bool = False) -> None:
        pass


COMPLETE = [(x / 10, 9, TrialState.COMPLETED) for x in range(8)]


def test_the_record_on_its_own_workers_takes_as_long_as_it_took(tmp_path: Path) -> None:
    history = record(tmp_path / "r", COMPLETE)
    found = predict(history, workers=1, searcher=Replays([x for x, *_ in COMPLETE]), settings=QUIET)
    assert found.startup_s == pytest.approx(4.0)
    assert found.recorded_s == pytest.approx(8 * 94.0)
    assert found.simulation.end_s == pytest.approx(found.recorded_s)
    assert (len(found.simulation.trials), found.borrowed) == (8, 0)
    assert found.simulation.utilisation() == pytest.approx(8 * 90 / (8 * 94 - 4), abs=1e-3)


def test_more_workers_take_less_time(tmp_path: Path) -> None:
    history = record(tmp_path / "r", COMPLETE)
    found = predict(
        history,
        workers=4,
        max_concurrent_trials=4,
        searcher=Replays([x for x, *_ in COMPLETE]),
        settings=QUIET,
    )
    assert found.simulation.end_s == pytest.approx(2 * 94.0)
    assert found.simulation.worker_hours() == pytest.approx(4 * 2 * 94.0 / 3600)


def test_the_studys_own_searcher_meets_new_configurations(tmp_path: Path) -> None:
    history = record(tmp_path / "r", [*COMPLETE, (0.95, 1, TrialState.STOPPED_EARLY)])
    found = predict(history, workers=4, num_samples=10, settings=QUIET, seed=1)
    assert found.borrowed > 0
    assert len(found.simulation.trials) == 10
    assert found.simulation.counts[TrialState.STOPPED_EARLY] > 0  # its scheduler is back, too


@pytest.mark.parametrize(
    ("settings", "stopped", "scheduler"),
    [
        ({"scheduler": "freeze-thaw", "max_t": 9}, False, "FreezeThawScheduler"),
        ({"scheduler": "hyperband", "max_t": 9}, False, "HyperBandScheduler"),
        ({"scheduler": "predictive-termination"}, False, "PredictiveTerminationScheduler"),
        ({"scheduler": None, "max_t": 9}, False, "ASHAScheduler"),
        ({"scheduler": None, "max_t": None}, False, "FIFOScheduler"),
        ({"scheduler": "MedianStoppingRule", "max_t": 9}, True, "ASHAScheduler"),
        ({"scheduler": "FIFOScheduler", "max_t": 9}, False, "FIFOScheduler"),
        (None, True, "ASHAScheduler"),
        (None, False, "FIFOScheduler"),
    ],
)
def test_trials_are_judged_as_they_were(
    tmp_path: Path, settings: dict[str, object] | None, stopped: bool, scheduler: str
) -> None:
    last = (0.9, 3, TrialState.STOPPED_EARLY) if stopped else (0.9, 9, TrialState.COMPLETED)
    history = record(tmp_path / "r", [*COMPLETE, last])
    history.set_meta("settings", settings)
    assert predict(history, workers=2, num_samples=3, settings=QUIET).scheduler == scheduler


def test_the_studys_rungs_are_its_own(tmp_path: Path) -> None:
    history = record(tmp_path / "r", COMPLETE)
    history.set_meta("settings", {"max_t": 9, "grace_period": 3, "reduction_factor": 3})
    trials = predict(history, workers=4, num_samples=30, settings=QUIET).simulation.trials
    assert {t.values[-1][0] for t in trials if t.state is TrialState.STOPPED_EARLY} == {3}


def test_another_scheduler_may_be_tried_by_its_name(tmp_path: Path) -> None:
    history = record(tmp_path / "r", COMPLETE)
    spent = {
        name: predict(
            history, workers=2, num_samples=20, scheduler=name, settings=QUIET
        ).simulation.resource_spent
        for name in (None, "asha")
    }
    assert spent["asha"] < spent[None] == 20 * 9
    with pytest.raises(SettingError, match="did you mean 'asha'"):
        predict(history, workers=2, scheduler="ashs")


def several(path: Path, goal: Goal) -> History:
    """A study whose second metric falls where the first rises; its cost is Ray's own."""
    history = History(Space({"x": Float(0.0, 1.0)}), goal=goal, max_t=3, path=path)
    for number in range(8):
        x = number / 7
        history.add(str(number), {"x": x})
        for t in range(1, 4):
            history.report(str(number), t, x + 1 / t, {"size": 1 - x, "time_total_s": 1e6})
        history.end(str(number), TrialState.COMPLETED)
    return history


def test_a_study_with_several_objectives_has_its_front(tmp_path: Path) -> None:
    history = several(tmp_path / "r", Goal.of(["loss", "size"], ["min", "min"]))
    found = predict(history, workers=4, num_samples=8, settings=QUIET)
    assert {trial.value_of("size") for trial in found.pareto} <= {1 - n / 7 for n in range(8)}
    assert len({trial.value for trial in found.pareto}) > 3
    assert found.best == min(found.pareto, key=lambda trial: trial.value)


def test_a_bound_and_a_cost_hold_as_they_did(tmp_path: Path) -> None:
    goal = Goal.of("loss", "min", outcome_constraints=["size <= 0.42857"], cost="time_total_s")
    history = several(tmp_path / "r", goal)
    found = predict(history, workers=2, num_samples=12, settings=QUIET)
    assert found.best is not None
    assert found.best.config["x"] > 0.5  # where size is within the bound; the least loss is at 0
    assert found.best.value_of("time_total_s") < 1e6  # counted by the virtual clock


def test_a_stopped_trials_further_metrics_go_on_too(tmp_path: Path) -> None:
    history = History(
        Space({"x": Float(0, 1)}), goal=Goal.of("loss", "min", outcome_constraints=["size <= 9"])
    )
    for x, end, state in ((0.2, 9, TrialState.COMPLETED), (0.3, 3, TrialState.STOPPED_EARLY)):
        history.add(str(x), {"x": x})
        for t in range(1, end + 1):
            history.report(str(x), t, x + 1 / t, {"size": 10 * x + t})
        history.end(str(x), state)
    assert Replay(history)({"x": 0.3}).report(9) == {
        "loss": pytest.approx(0.3 + 1 / 9),
        "size": pytest.approx(12.0),
        "training_iteration": 9,
    }


def test_an_unknown_configuration_gets_the_nearest_curve(tmp_path: Path) -> None:
    history = record(tmp_path / "r", COMPLETE)
    replay = Replay(history)
    assert replay({"x": 0.33}).report(9) == {
        "loss": pytest.approx(0.3 + 1 / 9),
        "training_iteration": 9,
    }
    assert replay.borrowed == 1


def test_a_stopped_curve_goes_on_as_the_nearest_complete_one_shifted(tmp_path: Path) -> None:
    history = record(
        tmp_path / "r", [(0.2, 9, TrialState.COMPLETED), (0.6, 3, TrialState.STOPPED_EARLY)]
    )
    curve = Replay(history)({"x": 0.6})
    assert curve.length == 9
    assert curve.report(3) == {"loss": pytest.approx(0.6 + 1 / 3), "training_iteration": 3}
    assert curve.report(9) == {"loss": pytest.approx(0.6 + 1 / 9), "training_iteration": 9}
    assert curve.duration(9) == pytest.approx(10.0)


@pytest.mark.parametrize(("mode", "sign"), [("min", 1.0), ("max", -1.0)])
def test_a_stopped_curve_gains_no_more_than_takes_it_to_the_complete_one(
    mode: Literal["min", "max"], sign: float
) -> None:
    history = History(Space({"x": Float(0, 1)}), metric="loss", mode=mode, max_t=9)
    for x, losses in ((0.2, {1: 5.0, 9: 0.5}), (0.6, {1: 2.0})):
        history.add(str(x), {"x": x})
        for t, loss in losses.items():
            history.report(str(x), t, sign * loss)
        stopped = len(losses) == 1
        history.end(str(x), TrialState.STOPPED_EARLY if stopped else TrialState.COMPLETED)
    curve = Replay(history)({"x": 0.6})
    assert curve.length == 2
    assert curve.report(2) == {"loss": pytest.approx(sign * 0.5), "training_iteration": 9}


def test_a_stopped_curve_stays_level_if_none_got_further(tmp_path: Path) -> None:
    history = record(tmp_path / "r", [(0.6, 3, TrialState.STOPPED_EARLY)], max_t=5)
    curve = Replay(history)({"x": 0.6})
    assert curve.length == 5
    assert curve.report(5) == {"loss": pytest.approx(0.6 + 1 / 3), "training_iteration": 5}


def test_a_failed_trial_fails_again(tmp_path: Path) -> None:
    history = record(tmp_path / "r", [(0.2, 9, TrialState.COMPLETED), (0.6, 3, TrialState.FAILED)])
    found = predict(history, workers=1, searcher=Replays([0.6, 0.2]), settings=QUIET)
    assert found.simulation.counts == {TrialState.FAILED: 1, TrialState.COMPLETED: 1}
    assert found.simulation.trials[0].values[-1][0] == 3


def test_a_pause_in_the_record_is_no_training_time(tmp_path: Path) -> None:
    history = record(tmp_path / "r", [(0.2, 9, TrialState.COMPLETED)])
    history.close()
    for trial_id, t, value, at in rows_of(tmp_path / "r", "value"):
        put_rows(tmp_path / "r", ("value", (trial_id, t, value, at + 5000 * (t > 4))))
    curve = Replay(History.open(tmp_path / "r"))({"x": 0.2})
    assert [curve.duration(t) for t in range(1, 10)] == pytest.approx([10.0] * 9)


def test_nothing_reported_is_nothing_to_predict_from(tmp_path: Path) -> None:
    history = record(tmp_path / "r", [(0.2, 0, TrialState.FAILED)])
    with pytest.raises(HistoryError, match="no report"):
        predict(history, workers=2)


def test_the_command(tmp_path: Path) -> None:
    record(tmp_path / "raytuner-record.sqlite", COMPLETE)
    arguments = ["--workers", "1", "--workers", "4", "--price-per-hour", "36", "--seeds", "1"]
    result = CliRunner().invoke(main, ["simulate", str(tmp_path), *arguments])
    assert result.exit_code == 0, result.output
    head, one, four, *_ = result.output.splitlines()
    assert head.split()[:4] == ["workers", "time", "worker-hours", "cost"]
    assert one.split()[0] == "1"
    assert four.split()[0] == "4"
    assert "took 12:32" in result.output


def test_the_command_with_another_scheduler(tmp_path: Path) -> None:
    record(tmp_path / "raytuner-record.sqlite", COMPLETE)
    arguments = ["--workers", "2", "--scheduler", "promotion", "--seeds", "1"]
    result = CliRunner().invoke(main, ["simulate", str(tmp_path), *arguments])
    assert result.exit_code == 0, result.output
    assert "the scheduler is ASHAScheduler" in " ".join(result.output.split())


def test_the_command_counts_the_front_of_several_objectives(tmp_path: Path) -> None:
    goal = Goal.of(["loss", "size"], ["min", "min"])
    several(tmp_path / "raytuner-record.sqlite", goal).close()
    result = CliRunner().invoke(main, ["simulate", str(tmp_path), "--workers", "2", "--seeds", "1"])
    assert result.exit_code == 0, result.output
    head, row, *_ = result.output.splitlines()
    assert "on the front" in head
    assert int(row.split()[-1]) > 3


def test_the_command_names_a_folder_without_a_study(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["simulate", str(tmp_path), "--workers", "2"])
    assert result.exit_code == 2
    assert "is not a study" in result.output


def made_up(max_t: str = "9") -> Workload:
    return Workload(
        space={"x": tune.uniform(0, 1)},
        objective=lambda c: Curve([c["x"] + 1 / t for t in range(1, int(max_t) + 1)], seconds=10.0),
        metric="loss",
        mode="min",
        max_t=int(max_t),
    )


def test_a_workload_that_never_ran_is_predicted() -> None:
    one, four = (predict(made_up(), workers=w, num_samples=12, settings=QUIET) for w in (1, 4))
    assert len(one.simulation.trials) == len(four.simulation.trials) == 12
    assert four.simulation.end_s < one.simulation.end_s
    assert TrialState.STOPPED_EARLY in one.simulation.counts
    assert (one.recorded_s, one.startup_s) == (None, 2.0)
    timed = predict(made_up(), workers=2, time_budget_s=200, settings=QUIET)
    assert timed.simulation.end_s == 200


def test_beside_another_searcher_nothing_can_be_forecast() -> None:
    searcher = Replays([0.1])
    searcher.set_search_properties = lambda *given, **more: True  # type: ignore[method-assign]
    found = predict(made_up(), workers=2, num_samples=3, searcher=searcher, settings=QUIET)
    assert found.scheduler == "ASHAScheduler"


def test_a_workload_needs_an_end_and_a_mode() -> None:
    with pytest.raises(SettingError, match="num_samples or time_budget_s"):
        predict(made_up(), workers=2)
    with pytest.raises(MetricError, match="mode is 'least'"):
        predict(replace(made_up(), mode="least"), workers=2, num_samples=1)
    with pytest.raises(SettingError, match="max_t is 0"):
        predict(replace(made_up(), max_t=0), workers=2, num_samples=1)


@pytest.mark.parametrize("name", ["made_up", "made_up:5"])
def test_the_command_on_a_workload(name: str) -> None:
    arguments = ["--workers", "2", "--num-samples", "5", "--seeds", "1"]
    result = CliRunner().invoke(main, ["simulate", f"{__name__}:{name}", *arguments])
    assert result.exit_code == 0, result.output
    assert "best loss" in result.output.splitlines()[0]
    said = "a trial takes 2.0 s to start; the scheduler is"
    assert f"{said} PredictiveTerminationScheduler." in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("no_such", "there is no folder 'no_such'"), (f"{__name__}:record_of_nothing", "has no")],
)
def test_the_command_names_what_it_cannot_find(name: str, complaint: str) -> None:
    result = CliRunner().invoke(main, ["simulate", name, "--workers", "2"])
    assert result.exit_code == 2
    assert complaint in result.output


def test_the_command_refuses_what_is_no_workload() -> None:
    result = CliRunner().invoke(main, ["simulate", "builtins:dict", "--workers", "2"])
    assert result.exit_code == 2
    assert "it must return a raytuner.simulate.Workload" in " ".join(result.output.split())
