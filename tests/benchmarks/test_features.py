"""Features beside peers: the problems' answers, a tiny run of each method, and the tables."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.optimize import minimize

from benchmarks.features import problems
from benchmarks.features.__main__ import main
from benchmarks.features.about import ABOUT
from benchmarks.features.losses import HypervolumeMissing, Regret
from benchmarks.features.methods import METHODS
from benchmarks.features.ours import WithFeature, lacks
from benchmarks.features.plan import Task, plan
from benchmarks.features.play import play
from benchmarks.features.player import FeatureMethod
from benchmarks.features.problem import EXCESS, Config, FeatureProblem, Outcomes
from benchmarks.features.problems import PROBLEMS
from benchmarks.features.simple import RandomPlayer
from benchmarks.features.table import as_section
from benchmarks.race.method import missing
from benchmarks.race.runs import Run, Store
from benchmarks.yahpo import DATA_VARIABLE

MADE = {name: make() for name, make in PROBLEMS.items() if name != "transfer"}


def least(problem: FeatureProblem, start: Mapping[str, float]) -> float:
    """A local minimum within the unit cube."""
    names = list(start)

    def value(x: np.ndarray[Any, np.dtype[np.float64]]) -> float:
        return problem.function(dict(zip(names, x.tolist(), strict=True)))["f"]

    bounds = [(0.0, 1.0)] * len(names)
    return float(minimize(value, list(start.values()), bounds=bounds).fun)


def test_every_problem_is_described() -> None:
    assert list(ABOUT) == list(PROBLEMS)
    assert all(problem.name == f"features/{name}" for name, problem in MADE.items())


@pytest.mark.parametrize("name", ["constrained", "high-dimensional", "prior-right"])
def test_hartmann_s_optimum_is_a_loss_of_zero(name: str) -> None:
    problem = MADE[name]
    where = [p.name for p in problem.parameters]
    if name == "high-dimensional":
        where = [where[number] for number in problems.ACTIVE]
    config = {p.name: 0.5 for p in problem.parameters}
    config |= dict(zip(where, problems.HARTMANN_OPTIMUM, strict=True))
    assert problem.loss([problem.evaluate(config)]) == pytest.approx(0.0, abs=1e-4)
    if name != "constrained":
        at_most = {key: config[key] for key in where}
        inner = replace(problem, function=lambda c: problem.function({**config, **c}))
        assert least(inner, at_most) == pytest.approx(problems.HARTMANN_BEST, abs=1e-4)


def test_guesses_are_right_and_wrong() -> None:
    right, wrong = MADE["prior-right"], MADE["prior-wrong"]
    assert right.guess is not None
    assert wrong.guess is not None
    assert right.loss([right.evaluate(right.guess.config)]) < 0.5
    assert wrong.loss([wrong.evaluate(wrong.guess.config)]) > 0.8


def test_the_constraint_is_the_unit_ball() -> None:
    problem = MADE["constrained"]
    inside, outside = (dict.fromkeys(problem.parameters, x) for x in (0.40, 0.42))
    for config, sign in ((inside, -1), (outside, 1)):
        named = {parameter.name: x for parameter, x in config.items()}
        assert np.sign(problem.evaluate(named)["c"]) == sign
    rng = np.random.default_rng(1)
    share = np.mean([problem.evaluate(problem.draw(rng))["c"] <= 0 for _ in range(4_000)])
    assert share == pytest.approx(0.081, abs=0.015)


def test_the_best_network_of_all_that_are_small_enough() -> None:
    """By trying every size, each with the rate and dropout that suit it."""
    problem = MADE["parameter-constrained"]
    assert problem.allowed is not None
    losses = []
    for layers in range(1, 17):
        for units in range(16, 1025):
            config: Config = {"layers": layers, "units": units, "dropout": 0.3}
            config["learning_rate"] = 10 ** (-2 - 0.2 * (np.log2(layers * units) - 9))
            if layers * units <= problems.NETWORK_LIMIT:
                assert problem.allowed.excess(config) <= 0
                losses.append(problem.loss([problem.evaluate(config)]))
            else:
                assert problem.evaluate(config) == {EXCESS: problem.allowed.excess(config)}
                assert problem.allowed.excess(config) > 0
    assert min(losses) == pytest.approx(0.0, abs=1e-9)


def test_what_is_not_allowed_is_no_answer() -> None:
    problem = MADE["parameter-constrained"]
    too_large = {"layers": 16, "units": 1024, "learning_rate": 1e-2, "dropout": 0.3}
    assert problem.loss([problem.evaluate(too_large)]) == 1.0
    rng = np.random.default_rng(0)
    drawn = [problem.draw(rng) for _ in range(200)]
    assert all(EXCESS in o and "f" in o for o in map(problem.evaluate, drawn))
    free = replace(problem, allowed=None)
    sizes = np.array([(c["layers"], c["units"]) for c in (free.draw(rng) for _ in range(4_000))])
    assert np.mean(sizes.prod(axis=1) <= problems.NETWORK_LIMIT) == pytest.approx(0.37, abs=0.03)
    assert set(sizes[:, 0]) == set(range(1, 17))


def test_the_best_of_three_models_is_the_net() -> None:
    problem = MADE["conditional"]
    best = {"model": "net", "net_rate": 1e-3, "net_width": 128, "net_layers": 3, "net_dropout": 0.2}
    assert problem.loss([problem.evaluate(best)]) == pytest.approx(0.0)
    rng = np.random.default_rng(0)
    drawn = [problem.draw(rng) for _ in range(3_000)]
    values = {
        model: [problem.evaluate(c)["f"] for c in drawn if c["model"] == model]
        for model in ("kernel", "trees", "net")
    }
    assert min(map(min, values.values())) >= problems.MODELS_BEST
    assert np.median(values["net"]) > np.median(values["trees"])  # which is what makes it hard
    for config in drawn[:50]:
        assert all(key == "model" or key.startswith(config["model"]) for key in config)


def test_noise_is_told_and_never_scored() -> None:
    problem = replace(MADE["noisy"], evaluations=20)
    told: list[float] = []

    class Listens(RandomPlayer):
        def tell(self, handle: Config, outcomes: Outcomes) -> None:
            told.append(outcomes["f"] - problem.evaluate(handle)["f"])
            super().tell(handle, outcomes)

    run = play(FeatureMethod("a", "a", Listens), problem, seed=0)
    assert np.std(told) == pytest.approx(problem.noise_sd, rel=0.5)
    assert all(run.regret(mark) >= run.regret(mark, final=False) >= 0 for mark in (0.25, 0.5, 1.0))


@pytest.mark.parametrize("name", ["zdt1", "dtlz2"])
def test_the_whole_front_leaves_nothing_missing(name: str) -> None:
    problem = MADE[name]
    loss = problem.loss
    assert isinstance(loss, HypervolumeMissing)
    front = {p.name: 0.0 if name == "zdt1" else 0.5 for p in problem.parameters}
    side = 200 if name == "zdt1" else 12
    x = np.linspace(0.0, 1.0, side)
    second = [0.0] if name == "zdt1" else x
    configs = [
        {**front, "x1": float(a), **({} if name == "zdt1" else {"x2": float(b)})}
        for a in x
        for b in second
    ]
    missing_share = loss([problem.evaluate(config) for config in configs])
    assert 0.0 < missing_share < (0.01 if name == "zdt1" else 0.15)
    assert loss([dict.fromkeys(problem.objectives, 100.0)]) == 1.0


def test_regret_is_of_the_best_feasible_value() -> None:
    loss = Regret(best=1.0, median=3.0, constraint="c")
    assert loss([{"f": 1.0, "c": 0.1}]) == 1.0
    assert loss([{"f": 1.0, "c": 0.1}, {"f": 2.0, "c": 0.0}, {"f": 2.5, "c": -1.0}]) == 0.5


def test_transfer_has_three_earlier_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    try:
        problem = PROBLEMS["transfer"]()
    except FileNotFoundError:
        pytest.skip("no LCBench data")
    assert len(problem.earlier) == 3
    bests = [min(o["f"] for o in study.outcomes) for study in problem.earlier]
    assert len(set(bests)) == 3
    monkeypatch.setenv(DATA_VARIABLE, "no/such/folder")
    assert plan(["random"], ["transfer"], 1).lacking[0].startswith("transfer: there is no ")


# To a method, a wrong guess is a guess; three objectives are several.
RUNS = [
    pytest.param(method, name, id=f"{method.name}-{name}")
    for method in METHODS.values()
    for name, problem in MADE.items()
    if method.suits(problem)
    and name != "prior-wrong"
    and (name != "dtlz2" or method.name in ("ours", "optuna-nsga2"))
]


@pytest.mark.parametrize(("method", "name"), RUNS)
def test_every_method_runs_where_it_can(method: FeatureMethod, name: str) -> None:
    problem = replace(MADE[name], evaluations=8)
    if reason := missing(method.modules) or method.lacks(problem):
        pytest.skip(reason)
    run = play(method, problem, seed=1)
    assert run.units == run.suggestions
    # Who can choose cheap evaluations makes more of them for the same cost.
    chooses = problem.fidelity is not None and method.name == "ours"
    assert run.suggestions > 8 if chooses else run.suggestions == 8
    assert [share for share, _ in run.final][-1] == 1.0
    assert np.isfinite([loss for _, loss in run.final]).all()
    if not problem.noise_sd:
        assert run.final == run.any
        losses = [loss for _, loss in run.final if loss != 1.0]  # 1: none keeps the bound yet
        assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("method", ["random", "optuna-tpe", "ours-without"])
def test_equal_seeds_give_equal_runs(method: str) -> None:
    problem = replace(MADE["noisy"], evaluations=9)
    first, second, other = (play(METHODS[method], problem, seed) for seed in (0, 0, 1))
    assert (first.final, first.any) == (second.final, second.any)
    assert first.any != other.any


def test_pending_trials_are_kept_up() -> None:
    """The oldest is told first, and as many are out as the problem says until the end."""
    calls: list[int] = []

    class Counts(RandomPlayer):
        def ask(self) -> tuple[Any, Config]:
            calls.append(1)
            return super().ask()

        def tell(self, handle: Any, outcomes: Outcomes) -> None:
            calls.append(-1)

    problem = replace(MADE["constrained"], evaluations=7, pending=3)
    play(FeatureMethod("a", "a", Counts), problem, seed=0)
    assert np.cumsum(calls).tolist() == [1, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 1, 0]


def test_a_feature_that_is_there_is_no_reason() -> None:
    assert lacks(MADE["conditional"]) is None
    _, config = WithFeature(MADE["conditional"], seed=0).ask()
    assert all(key == "model" or key.startswith(config["model"]) for key in config)


def test_a_feature_that_is_not_there_is_named() -> None:
    reason = lacks(replace(MADE["zdt1"], objectives=("",)))
    assert reason is not None
    assert reason.startswith("not in this version: metric is ''")


def test_the_plan_goes_by_seeds_and_runs_in_another_process() -> None:
    made = plan(["random", "optuna-nsga2"], ["zdt1", "prior-right"], seeds=2)
    keys = [(key.seed, key.method, key.problem) for key in made.tasks if key.method == "random"]
    assert keys == [
        (seed, "random", f"features/{name}") for seed in (0, 1) for name in ("zdt1", "prior-right")
    ]
    assert {k.problem for k in made.tasks if k.method == "optuna-nsga2"} == {"features/zdt1"}
    key = next(iter(made.tasks))
    assert made.tasks[key] == Task("zdt1")
    assert made.tasks[key].run(key).key == key


def test_the_command_runs_what_is_missing_and_keeps_it(tmp_path: Path) -> None:
    given = [
        "--results",
        str(tmp_path),
        "--methods",
        "random",
        "--problems",
        "zdt1",
        "--seeds",
        "1",
    ]
    first = CliRunner().invoke(main, given)
    assert first.exit_code == 0, first.output
    assert "| two objectives | zdt1 | **" in first.output
    (run,) = Store(tmp_path).runs()
    assert CliRunner().invoke(main, given).exit_code == 0
    assert Store(tmp_path).runs() == [run]
    unknown = CliRunner().invoke(main, ["--problems", "zdt7"])
    assert unknown.exit_code == 2
    assert "zdt7" in unknown.output
    listed = CliRunner().invoke(main, ["--list"]).output
    assert all(name in listed for name in (*METHODS, *PROBLEMS))


def a_run(method: str, loss: float, seed: int = 0) -> Run:
    run = play(METHODS["random"], replace(MADE["zdt1"], evaluations=8), seed)
    return replace(run, method=method, seed=seed, final=[(0.25, 1.7), (1.0, loss)])


def test_the_table_has_the_best_in_bold_and_first() -> None:
    runs = [a_run("random", 0.5), a_run("random", 0.7, seed=1), a_run("optuna-tpe", 0.25)]
    text = as_section([*runs, a_run("a method of old", 0.1)], ["Ax: not installed"])
    assert "| two objectives | zdt1 | **0.250** (1 seed) | 0.600 |" in text
    assert "| outcome constraint | constrained | - | - |" in text
    assert "| random search | 2 | 1.000 | 1.000 | 0.600 (0.50 to 0.70) |" in text
    assert text.index("| Optuna TPE | 1 |") < text.index("| random search | 2 |")
    assert "a method of old" not in text
    assert "### dtlz2" not in text
    assert text.endswith("Not run:\n\n- Ax: not installed\n")
