"""The race on a made-up problem: its runs, what is kept of them, and the figures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ray import tune
from tiny import EPOCHS, tiny_problem

from benchmarks.race.figures import MARKS, intervals, mean_ranks, summaries, time_to_reach
from benchmarks.race.method import Contest, Method, Search
from benchmarks.race.methods import METHODS
from benchmarks.race.page import MICRO, REASONS, page
from benchmarks.race.peers.ask_tell import AskTell, Choice, Range, parameters
from benchmarks.race.peers.staged import Pausing, Stage, StagedSearcher
from benchmarks.race.plan import FULL, QUICK, Task
from benchmarks.race.runs import STARTS, Key, Run, Steps, Store, race, thinned
from benchmarks.race.table import as_markdown
from benchmarks.race.workers import Progress, missing_runs
from benchmarks.yahpo import YahpoProblems


def contest(seed: int = 0, budget: float = 6.0) -> Contest:
    return Contest(tiny_problem(), seed, workers=2, budget=budget)


def a_run(method: str, final: Steps, *, problem: str = "lcbench/p", seed: int = 0) -> Run:
    return Run(
        method=method,
        problem=problem,
        seed=seed,
        workers=8,
        budget=12.0,
        final=final,
        any=final,
        trials={"COMPLETED": 3},
        units=27,
        utilisation=1.0,
        suggest_median_s=0.1,
        suggest_worst_s=0.5,
        suggest_total_s=0.6,
        suggestions=3,
        hooks_s=0.0,
        scheduler_s=0.0,
        wall_s=30.0,
        versions={"raytuner": "0"},
        machine="none",
    )


@pytest.mark.parametrize(
    "name", ["random", "random+ray-asha", "one-epoch-top-k", "ours", "ours+asha", "ours+ray-asha"]
)
def test_methods_that_need_no_peer_run(name: str) -> None:
    run = race(METHODS[name], contest(budget=3.0))
    assert run.trials["COMPLETED"] >= 1
    assert run.final[-1][1] < 1.0
    shares = [share for share, _ in run.final]
    assert shares == sorted(shares)
    assert shares[-1] <= 1.0
    assert run.regret(1.0, final=False) <= run.regret(1.0)


def test_equal_seeds_give_equal_runs() -> None:
    first, second = (race(METHODS["random+ray-asha"], contest(seed=3)) for _ in range(2))
    assert first.final == second.final
    assert first.trials == second.trials
    assert race(METHODS["random+ray-asha"], contest(seed=4)).final != first.final


def test_a_run_that_is_broken_off_is_the_beginning_of_the_whole() -> None:
    whole, part = (race(METHODS["random"], contest(), until) for until in (1.0, 0.5))
    assert part.until == 0.5
    assert part.final == [step for step in whole.final if step[0] <= 0.5]
    assert part.regret(0.5) == whole.regret(0.5)
    assert np.isnan(part.regret(0.75))


def test_only_what_has_not_got_so_far_is_run_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    ran: list[float] = []

    class Noting(Task):
        def run(self, key: Key) -> Run:
            ran.append(self.until)
            return replace(a_run(key.method, []), until=self.until)

    key = a_run("random", []).key
    for until in (0.2, 0.1, 0.2, 1.0, 0.5):
        task = Noting(YahpoProblems("no data"), "p", until)
        todo = missing_runs({key: task}, store.runs())
        for one in todo:
            store.add(todo[one].run(one))
    assert ran == [0.2, 1.0]
    assert [run.until for run in store.runs()] == [1.0]


def test_top_k_trains_the_best_after_all_first_epochs() -> None:
    budget = 40.0
    run = race(METHODS["one-epoch-top-k"], contest(budget=budget))
    trials = sum(run.trials.values())
    assert trials == round(0.1 * budget * 2 * EPOCHS)
    assert run.trials["COMPLETED"] == pytest.approx(trials, abs=2)  # there is time for all of them
    assert run.final[0][0] == run.final[-1][0]  # the two first trained in full hold the best


def test_a_method_says_what_it_lacks() -> None:
    method = Method("m", "m", lambda _: Search(None), ("json", "no_such_module_at_all:nsm"))
    assert method.missing() == "not installed: no_such_module_at_all"
    assert METHODS["random"].missing() is None
    assert METHODS["random"].versions().keys() == {"raytuner", "ray"}


def test_store_keeps_runs_as_they_are(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    assert store.runs() == []
    runs = [a_run("a", [(0.1, 0.5)]), a_run("a", [(0.2, -0.1)], seed=1), a_run("b+c", [])]
    for run in runs:
        store.add(run)
    assert store.runs() == runs
    assert store.runs("a") == runs[:2]
    store.add(runs[2])  # two processes may have run the same
    assert store.runs("b+c") == runs[2:]
    assert sorted(file.name for file in store.folder.iterdir()) == ["a.jsonl", "b+c.jsonl"]


def test_regret_is_that_of_the_incumbent_at_the_time() -> None:
    run = a_run("a", [(0.1, 0.5), (0.3, 0.2)])
    assert [run.regret(mark) for mark in (0.05, 0.1, 0.29, 0.3, 1.0)] == [1.0, 0.5, 0.5, 0.2, 0.2]


def test_thinned_steps_are_the_same_at_every_mark() -> None:
    rng = np.random.default_rng(0)
    shares = sorted({*rng.uniform(0, 1, 200).round(5).tolist(), *MARKS})
    steps = [(share, 1 - share) for share in shares]
    few = thinned(steps)
    assert len(few) == 20
    many, thin = a_run("a", steps), a_run("a", few)
    assert [many.regret(mark) for mark in MARKS] == [thin.regret(mark) for mark in MARKS]


def test_figures() -> None:
    good = [a_run("good", [(0.1, 0.2), (0.4, 0.1)], seed=seed) for seed in (0, 1)]
    bad = [a_run("bad", [(0.1, 1.7), (0.9, 0.2)], seed=seed) for seed in (0, 1)]
    best, worst = summaries([*bad, *good])
    assert (best.method, worst.method) == ("good", "bad")
    assert dict(zip(MARKS, best.final, strict=True)) == pytest.approx(
        {0.05: 1.0, 0.1: 0.2, 0.2: 0.2, 0.35: 0.2, 0.5: 0.1, 0.75: 0.1, 1.0: 0.1}
    )
    assert worst.final[1] == 1.0  # capped
    assert list(best.rank) == [1.5, 1, 1, 1, 1, 1, 1]
    assert time_to_reach(good, bad) == 0.1
    assert time_to_reach(bad, good) is None
    table = as_markdown([best, worst], ["third: not installed: nothing"])
    assert "| good | 2 |" in table
    assert "- third: not installed: nothing" in table


def test_what_was_broken_off_has_figures_as_far_as_it_got() -> None:
    whole = [a_run("whole", [(0.1, 0.2)], seed=seed) for seed in (0, 1)]
    part = [replace(a_run("part", [(0.1, 0.1)], seed=seed), until=0.2) for seed in (0, 1)]
    first, last = summaries([*part, *whole])
    assert (first.method, last.method) == ("whole", "part")
    assert last.final[:3].tolist() == [1.0, 0.1, 0.1]
    assert np.isnan(last.final[3:]).all()
    assert np.isnan(last.rank).all()
    assert first.rank.tolist() == [1.0] * len(MARKS)
    assert "| part | 2 | 1.000 | 0.100 | 0.100 | - | - | - | - |" in as_markdown([first, last])
    assert time_to_reach(part, [a_run("c", [(0.5, 0.1)])]) == 0.1
    for one, other in ((part, [a_run("c", [(0.5, 0.05)])]), (whole, part)):
        share = time_to_reach(one, other)
        assert share is not None
        assert np.isnan(share)


def test_intervals_hold_the_mean_and_keep_problems() -> None:
    rng = np.random.default_rng(0)
    runs = [
        a_run("a", [(0.01, float(rng.uniform(0, 0.2)) + shift)], problem=f"p{shift}", seed=seed)
        for shift in (0.0, 0.7)
        for seed in range(5)
    ]
    low, high = intervals(runs)
    mean = np.mean([run.regret(1.0) for run in runs])
    assert low[-1] < mean < high[-1]
    assert high[-1] - low[-1] < 0.2  # the distance of the problems is not in it


def test_ranks_are_over_the_contests_that_all_have_run() -> None:
    runs = {
        "a": [a_run("a", [(0.0, 0.1)])],
        "b": [a_run("b", [(0.0, 0.2)]), a_run("b", [(0.0, 0.0)], seed=1)],
    }
    assert mean_ranks(runs)["a"][-1] == 1.0
    assert mean_ranks({"a": runs["a"], "b": runs["b"][1:]}) == {}


def test_problems_weigh_the_same_whatever_the_seeds() -> None:
    uneven = [a_run("a", [(0.0, 0.1)], problem="p", seed=seed) for seed in range(3)]
    uneven.append(a_run("a", [(0.0, 0.5)], problem="q"))
    (summary,) = summaries(uneven)
    assert summary.final[-1] == pytest.approx(0.3)
    assert summary.low[-1] == pytest.approx(0.3)


def test_a_method_without_runs_on_every_problem_is_no_comparison() -> None:
    runs = [a_run("a", [(0.0, 0.3)], problem=problem) for problem in ("p", "q")]
    part = a_run("b", [(0.0, 0.1)], problem="p")
    best, other = summaries([*runs, part])
    assert (best.method, other.method) == ("b", "a")
    assert np.isnan(best.rank).all()
    assert other.rank[-1] == 1.0
    lines = as_markdown([best, other]).splitlines()
    assert [line for line in lines if line.startswith("| b | 1, on 1 of 2 problems |")]
    assert lines.index(next(line for line in lines if line.startswith("| a |"))) < lines.index(
        next(line for line in lines if line.startswith("| b |"))
    )


def test_progress_estimates_the_time_left() -> None:
    runs = [a_run("a", [(0.5, 0.1)], seed=seed) for seed in range(4)]
    progress = Progress([], [run.key for run in runs], jobs=2)
    line = progress.ended(runs[0])
    assert line.startswith("[1/4] a on lcbench/p, seed 0, 8 workers: regret 0.100 after 30 s;")
    assert progress.seconds_left() == 45.0
    assert progress.ended(replace(runs[1], wall_s=90.0)).endswith("about 1 min left")
    assert progress.failed(runs[2].key, "ValueError: no").startswith("[3/4]")


def test_plans() -> None:
    assert set(QUICK.methods) < set(METHODS)
    assert FULL.methods == tuple(METHODS)
    assert FULL.trainings == 12.0
    assert FULL.changed(workers=64).trainings == 3.0
    assert FULL.changed(workers=64, budget=5.0).trainings == 5.0
    assert QUICK.changed(seeds=1, methods=["random"]).methods == ("random",)


def test_page_is_made_of_what_is_kept(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    store = Store(tmp_path)
    store.add(replace(a_run("hebo", [(0.1, 0.15)]), until=0.2))  # it was broken off
    for seed in (0, 1):
        store.add(a_run("ours", [(0.1, 0.2), (0.4, 0.1)], seed=seed))
        store.add(a_run("random", [(0.2, 0.3)], seed=seed))
    reasons = {"smac": "its wheel is for another system", "other": "it has no adapter"}
    (tmp_path / REASONS).write_text(json.dumps(reasons))
    micro = {
        "machine": "none",
        "versions": {"optuna": "5"},
        "cases": [
            {
                "name": name, "observations": 1000, "dimensions": 8, "first_s": 1.0,
                "median_s": median, "worst_s": 0.9, "hooks_s": 0.001, "peak_mib": None,
            }
            for name, median in (("raytuner", 0.2), ("Optuna GPSampler", 0.5))
        ],
    }  # fmt: skip
    (tmp_path / MICRO).write_text(json.dumps(micro))
    Store(tmp_path / STARTS).add(replace(a_run("ours", [(0.1, 0.2)]), start_s=2.0))
    text = page(tmp_path, tmp_path)
    assert "| lcbench/p | 2 | raytuner | 1 | 0.200 |" in text.partition("## Costs of starting")[2]
    assert "| lcbench/p | 2 |" not in text.partition("## Costs of starting")[0]
    assert "## lcbench, 8 workers, 12 mean full trainings each" in text
    assert "| random search | 10% |" in text  # when ours is as good as it at the end
    assert "| 1,000 | 8 | Optuna GPSampler | 1 | 0.5 | 2.50 | 0.9 | 0.001 | - |" in text
    absent = text.partition("## Not run")[2]
    assert "Ax (`ax`): not run yet" in absent
    assert "SMAC (`smac`): its wheel is for another system" in absent
    assert "- `other`: it has no adapter" in absent
    plot = (tmp_path / "lcbench-8-workers-12-trainings.svg").read_text()
    assert plot.startswith("<?xml")
    assert all(name in plot for name in ("raytuner", "random search", "HEBO"))
    assert "| HEBO | 1 | 1.000 | 0.150 | 0.150 | - | - | - | - |" in text


def test_the_candidates_for_the_default_are_compared_on_the_problems_that_all_have_run(
    tmp_path: Path,
) -> None:
    pytest.importorskip("matplotlib")
    store = Store(tmp_path)
    store.add(a_run("hebo", [(0.1, 0.2)], problem="taskset/p"))  # a peer alone
    assert "## The default" not in page(tmp_path, tmp_path)
    store.add(a_run("ours", [(0.1, 0.2), (0.4, 0.1)]))
    store.add(a_run("ours", [(0.1, 0.9)], problem="lcbench/q"))
    store.add(replace(a_run("ours+asha", [(0.1, 0.3)]), until=0.5))
    default = page(tmp_path, tmp_path).partition("## The default")[2].partition("\n## ")[0]
    assert "| method | lcbench |" in default
    assert "| raytuner | 0.200 / 0.200 / 0.100 / 0.100 (1) |" in default
    assert "| raytuner + our ASHA | 0.300 / 0.300 / 0.300 / - (1) |" in default
    assert "| raytuner + predictive termination | - |" in default


def test_parameters_know_ray_s_bounds_and_choices() -> None:
    space = {
        "batch": tune.lograndint(16, 513),
        "dropout": tune.uniform(0, 1),
        "optimizer": tune.choice(["sgd", "adam"]),
    }
    assert parameters(space) == [
        Range("batch", 16, 512, whole=True, log=True),
        Range("dropout", 0, 1, whole=False, log=False),
        Choice("optimizer", ("sgd", "adam")),
    ]
    with pytest.raises(ValueError, match="numbers and choices"):
        parameters({"given": 3})


class Echo(AskTell):
    """A peer that proposes one point for ever."""

    def __init__(self) -> None:
        super().__init__(tiny_problem())
        self.asked = 0
        self.told: list[tuple[object, float | None]] = []

    def ask(self) -> tuple[object, dict[str, float]]:
        self.asked += 1
        return self.asked, {"x": 0.3}

    def tell(self, handle: object, loss: float | None) -> None:
        self.told.append((handle, loss))


def test_peers_are_told_losses_in_their_own_order() -> None:
    peer = Echo()
    method = Method("echo", "echo", lambda _: Search(peer, num_samples=3))
    race(method, Contest(tiny_problem(), seed=0, workers=1, budget=12.0))
    best = tiny_problem().best
    assert [handle for handle, _ in peer.told] == [1, 2, 3]
    assert [loss for _, loss in peer.told] == pytest.approx([-best] * 3)


def test_a_failed_trial_has_no_loss() -> None:
    peer = Echo()
    peer.suggest("a")
    peer.on_trial_complete("a", error=True)
    assert peer.told == [(1, None)]


class Stages(StagedSearcher):
    """A peer with a list of parts: a configuration's number, and where the part ends."""

    def __init__(self, parts: list[tuple[int, int]]) -> None:
        super().__init__(tiny_problem())
        self.parts = iter(parts)
        self.told: list[tuple[object, int, float | None]] = []

    def ask(self) -> tuple[Stage, dict[str, float]]:
        number, units = next(self.parts)
        return Stage(None, number, units), {"x": 0.3 + number / 10}

    def tell(self, handle: Stage, loss: float | None) -> None:
        self.told.append((handle.key, handle.units, loss))


def loss(number: int, t: int) -> float:
    return (number / 10) ** 2 + 1 / t - 1


def test_promoted_trials_go_on_where_they_paused() -> None:
    peer = Stages([(0, 2), (1, 2), (1, 4), (0, EPOCHS), (2, EPOCHS)])
    method = Method("stages", "stages", lambda _: Search(peer, Pausing(peer), num_samples=3))
    run = race(method, Contest(tiny_problem(), seed=0, workers=1, budget=12.0))
    expected = [(0, 2), (1, 2), (1, 4), (0, EPOCHS), (2, EPOCHS)]
    assert [told[:2] for told in peer.told] == expected
    assert [told[2] for told in peer.told] == pytest.approx([loss(*part) for part in expected])
    assert run.units == EPOCHS + 4 + EPOCHS  # nothing was trained twice
    assert run.trials == {"COMPLETED": 2, "PAUSED": 1}


def test_a_trial_that_is_promoted_while_it_runs_does_not_pause() -> None:
    peer = Stages([(0, 2), (0, 4), (1, EPOCHS)])
    assert peer.suggest("a") == {"x": 0.3}
    assert peer.suggest("b") == {"x": 0.4}
    reports = [{"accuracy": -loss(0, t), "training_iteration": t} for t in range(1, 5)]
    assert [peer.decision("a", report) for report in reports] == [*["CONTINUE"] * 3, "PAUSE"]
    assert [told[:2] for told in peer.told] == [(0, 2), (0, 4)]
    assert peer.promoted is None


def test_there_is_no_more_of_a_trial_that_failed() -> None:
    peer = Stages([(0, 2), (0, 4), (1, EPOCHS)])
    peer.suggest("a")
    peer.on_trial_complete("a", error=True)
    assert peer.suggest("b") == {"x": 0.4}
    assert peer.told == [(0, 2, None), (0, 4, None)]
