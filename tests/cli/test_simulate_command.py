"""The table and the advice of `raytuner simulate`. A fake takes the simulator's place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from ray import tune

import raytuner.simulate
from raytuner.cli import main
from raytuner.history import Goal, History, TrialState
from raytuner.simulate import SearchPrediction, Simulation, Workload
from raytuner.space import Float, Space


def workload() -> Workload:
    return Workload(
        space={"x": tune.uniform(0, 1)},
        objective=lambda c: [1.0],
        metric="loss",
        mode="min",
        max_t=1,
    )


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A fake simulator. It knows what each search takes and finds, and keeps all calls."""
    given: dict[str, Any] = {"calls": [], "ended": "finished"}

    def predict(search: Any, *, workers: int, seed: int, **settings: Any) -> SearchPrediction:
        given["calls"].append((workers, seed))
        seconds, loss = given["of"](workers, seed)
        history = History(Space({"x": Float(0, 1)}), goal=given.get("goal", Goal.of("loss", "min")))
        history.add("a", {"x": 0.5})
        history.report("a", 1, loss, {"size": 2.0})
        history.end("a", TrialState.COMPLETED)
        return SearchPrediction(
            simulation=Simulation(
                metric="loss",
                mode="min",
                events=(),
                trials=(),
                end_s=seconds,
                ended=given["ended"],
                capacity=((0.0, workers),),
                searcher_seconds={},
                _training=np.zeros((0, 2)),
            ),
            startup_s=2.0,
            scheduler="ASHAScheduler",
            recorded_s=None,
            best=history.best,
            pareto=history.pareto,
            borrowed=0,
        )

    monkeypatch.setattr(raytuner.simulate, "predict", predict)
    return given


def output(*arguments: str, study: str = f"{__name__}:workload") -> list[str]:
    """The lines, of which a wide terminal breaks none."""
    environment = {"COLUMNS": "400"}
    result = CliRunner(env=environment).invoke(main, ["simulate", study, *arguments])
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def ideal(workers: int, seed: int) -> tuple[float, float]:
    return 3.6e6 / workers, 0.25 + 0.01 * seed


def slow_beyond_64(workers: int, seed: int) -> tuple[float, float]:
    return 3.6e6 / min(workers, 64), 0.25


def test_the_numbers_of_workers_and_the_seeds_have_defaults(searches: dict[str, Any]) -> None:
    searches["of"] = ideal
    head, *rows, advice, note = output("--num-samples", "9999")
    assert head.split() == ["workers", "time", "worker-hours", "utilisation", "best", "loss"]
    assert [row.split()[0] for row in rows] == ["8", "64", "256", "1000"]
    assert searches["calls"] == [(n, seed) for n in (8, 64, 256, 1000) for seed in range(3)]
    assert rows[1].split()[1:] == ["15:37:30", "1,000.00", "0%", "0.26", "±", "0.01"]
    assert advice == (
        "Recommended: 1000 workers. Up to this number, time falls by a larger factor than"
        " worker-hours rise. Even more workers may be worthwhile."
    )
    assert note == (
        "Means over 3 seeds; ± is the standard deviation. Assumptions: a trial takes 2.0 s to"
        " start; the scheduler is ASHAScheduler."
    )


def test_where_more_workers_stop_paying(searches: dict[str, Any]) -> None:
    searches["of"] = slow_beyond_64
    *_, advice, _ = output("--num-samples", "9999", "--seeds", "1", "--price-per-hour", "2")
    assert advice == (
        "Recommended: 64 workers. Up to this number, time falls by a larger factor than"
        " worker-hours rise. More are not worthwhile: 256 workers take 100% of the time and 4 times"
        " the worker-hours."
    )
    head, eight, *_ = output("--num-samples", "9999", "--seeds", "1", "--price-per-hour", "2")
    assert head.split()[3] == "cost"
    assert eight.split()[2:4] == ["1,000.00", "2,000.00"]


def test_a_worse_value_is_named(searches: dict[str, Any]) -> None:
    searches["of"] = lambda workers, seed: (3.6e6 / workers, workers + seed)
    *_, advice, _ = output("--num-samples", "9999")
    assert advice == (
        "Recommended: 8 workers. More are not worthwhile: 64 workers find 65 ± 1 instead of 9 ± 1."
    )


def test_a_dear_step_names_the_limit(searches: dict[str, Any]) -> None:
    searches["of"] = lambda workers, seed: (3600.0 / workers**0.7, 0.1)
    arguments = ("--workers", "64", "--workers", "8", "--num-samples", "99", "--seeds", "1")
    *_, advice, _ = output(*arguments)
    assert advice.endswith(
        "64 workers take 23% of the time and 1.9 times the worker-hours (the limit is 1.5 times)."
    )


def test_within_a_time_budget_the_value_is_what_counts(searches: dict[str, Any]) -> None:
    searches.update(ended="time_budget", of=lambda n, seed: (600.0, 0.5 / min(n, 64) + 1e-4 * seed))
    *_, advice, _ = output("--time-budget-s", "600")
    assert advice == (
        "Recommended: 64 workers. It is the smallest number whose best loss is not worse than any"
        " other in the table, apart from differences between seeds. More are not worthwhile: 256"
        " workers find 0.0079125 ± 0.0001 instead of 0.0079125 ± 0.0001 for 4 times the"
        " worker-hours."
    )


def test_no_more_workers_than_trials(searches: dict[str, Any]) -> None:
    searches["of"] = ideal
    _, *rows, advice, idle, _ = output("--num-samples", "100", "--seeds", "1")
    assert [row.split()[0] for row in rows] == ["8", "64", "100"]
    assert advice.endswith("than worker-hours rise.")  # no more are worth a trial
    assert idle == "With 100 trials, at most 100 workers are ever busy."
    # What is asked for is shown.
    _, *rows, _, idle, _ = output("--num-samples", "100", "--workers", "100", "--workers", "1000")
    assert [row.split()[0] for row in rows] == ["100", "1000"]
    assert idle.startswith("With 100 trials")


def test_one_number_has_nothing_to_be_compared_with(searches: dict[str, Any]) -> None:
    searches["of"] = ideal
    assert len(output("--num-samples", "100", "--workers", "8")) == 3


def recorded(folder: Path, goal: Goal, resources: object) -> str:
    path = folder / "raytuner-record.sqlite"
    history = History(Space({"x": Float(0, 1)}), goal=goal, max_t=1, path=path)
    history.set_meta("settings", {"resources": resources})
    history.add("a", {"x": 0.5})
    history.report("a", 1, 0.5, {"size": 2.0})
    history.end("a", TrialState.COMPLETED)
    history.close()
    return str(folder)


@pytest.mark.parametrize(
    ("resources", "unit", "hours"),
    [
        ({"cpu": 2, "gpu": 0.5}, "GPU-hours", "500.00"),
        ({"cpu": 1, "trainer": {"workers": 4, "gpu": 1}}, "GPU-hours", "4,000.00"),
        ({"cpu": 2}, "worker-hours", "1,000.00"),
        (None, "worker-hours", "1,000.00"),
        ("<function of_config>", "worker-hours", "1,000.00"),
    ],
)
def test_hours_are_of_gpus_if_trials_have_some(
    tmp_path: Path, searches: dict[str, Any], resources: object, unit: str, hours: str
) -> None:
    searches["of"] = ideal
    study = recorded(tmp_path, Goal.of("loss", "min"), resources)
    head, row, *_ = output("--workers", "8", study=study)
    assert (head.split()[2], row.split()[2]) == (unit, hours)


def test_several_objectives_have_no_one_value(tmp_path: Path, searches: dict[str, Any]) -> None:
    goal = Goal.of(["loss", "size"], ["min", "min"])
    searches.update(of=slow_beyond_64, goal=goal)
    study = recorded(tmp_path, goal, None)
    head, row, *_, advice, _ = output("--num-samples", "9999", study=study)
    assert "on the front" in head
    assert row.split()[-1] == "1"
    assert advice.startswith("Recommended: 64 workers")
    searches["ended"] = "time_budget"
    assert output("--num-samples", "9999", study=study)[-2].startswith("There is no recommend")


def test_a_weighted_sum_is_what_is_compared(tmp_path: Path, searches: dict[str, Any]) -> None:
    goal = Goal.of(["loss", "size"], ["min", "min"], weights=[1.0, 2.0])
    searches.update(of=ideal, goal=goal)
    head, row, *_ = output("--seeds", "1", "--workers", "8", study=recorded(tmp_path, goal, None))
    assert "best weighted sum" in head
    total = goal.outcomes({"loss": 0.25, "size": 2.0})[0]
    assert float(row.split()[-1]) == pytest.approx(total, rel=1e-4)
