"""Other Ray searchers beside raytuner's record, driven by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle, tune
from ray.tune.search import ConcurrencyLimiter, Repeater, Searcher
from ray.tune.search.basic_variant import BasicVariantGenerator

import raytuner
from raytuner.errors import SettingError
from raytuner.history import Origin, TrialState
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.search.recorded import Recorded
from raytuner.study.tuning import prepare

SPACE = {
    "lr": tune.loguniform(1e-4, 1e-1),
    "drop": tune.quniform(0, 0.3, 0.1),
    "net": {"units": tune.lograndint(16, 513), "act": tune.choice(["relu", "tanh"])},
    "steps": 27,
}


class Listed(Searcher):
    """Proposes what it is given, and notes what it hears."""

    def __init__(self, *proposals: Any) -> None:
        super().__init__(metric="loss", mode="min")
        self.proposals = list(proposals)
        self.heard: list[Any] = []

    def set_search_properties(self, *args: Any, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        return self.proposals.pop(0) if self.proposals else Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.heard.append((trial_id, result["loss"]))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self.heard.append((trial_id, result, error))


def optuna() -> Any:
    pytest.importorskip("optuna")
    from ray.tune.search.optuna import OptunaSearch

    return OptunaSearch(seed=0)


def hyperopt() -> Any:
    pytest.importorskip("hyperopt")
    from ray.tune.search.hyperopt import HyperOptSearch

    return HyperOptSearch(random_state_seed=0)


def recorded(searcher: Any, space: Any = SPACE) -> Recorded:
    made = Recorded(searcher, time_attr="training_iteration", max_t=None)
    prepare(made, space, "loss", "min")
    made.set_search_properties(None, None, {})  # as the Tuner does
    return made


def run(searcher: Recorded, trials: range) -> list[Any]:
    """Run trials two at a time; every fifth fails."""
    configs = []
    for number in trials:
        config = searcher.suggest(f"t{number}")
        assert isinstance(config, dict), config
        configs.append(config)
        loss = (math.log10(config["lr"]) + 2) ** 2 + config["drop"]
        result = {"loss": loss, "training_iteration": 1, "acc": 1 - loss}
        searcher.on_trial_result(f"t{number}", result)
        if number % 5 == 4:
            searcher.on_trial_complete(f"t{number}", error=True)
        else:
            searcher.on_trial_complete(f"t{number}", {**result, "done": True})
    return configs


@pytest.mark.parametrize(
    "make", [optuna, hyperopt, lambda: ConcurrencyLimiter(optuna(), max_concurrent=2)]
)
def test_rays_searchers_propose_and_the_record_has_it_all(
    make: Callable[[], Any], tmp_path: Path
) -> None:
    searcher = recorded(make())
    configs = run(searcher, range(20))
    history = searcher.history
    assert [trial.config for trial in history.trials] == configs
    assert all(config["steps"] == 27 for config in configs)
    assert history.counts == {TrialState.COMPLETED: 16, TrialState.FAILED: 4}
    assert {trial.origin for trial in history.trials} == {Origin.SEARCHER}
    assert history.trials[0].metrics.keys() == {"loss", "acc"}
    searcher.save(str(tmp_path / "saved"))
    following = run(searcher, range(20, 24))
    again = Recorded(make(), time_attr="training_iteration", max_t=None)
    again.restore(str(tmp_path / "saved"))
    assert len(again.history) == 20
    assert run(again, range(20, 24)) == following  # it goes on with its own state
    copy = cloudpickle.loads(cloudpickle.dumps(recorded(make())))  # type: ignore[no-untyped-call]
    assert copy.suggest("a") == configs[0]  # Ray pickles what a Tuner is given


def test_what_the_searcher_hears() -> None:
    config = {"lr": 0.01, "drop": 0.1, "net": {"units": 32, "act": "relu"}}
    theirs = Listed(*({**config, "lr": lr} for lr in (0.01, 0.02, 0.03)))
    searcher = recorded(theirs)
    for name in "abc":
        assert searcher.suggest(name) is not None
    assert searcher.suggest("d") == Searcher.FINISHED
    searcher.on_trial_result("a", {"acc": 0.5, "training_iteration": 1})  # no metric: left out
    searcher.on_trial_result("a", {"loss": 0.5, "training_iteration": 2})
    last = {"loss": 0.25, "training_iteration": 3}
    searcher.on_trial_complete("a", last)
    searcher.on_trial_complete("b", {"loss": math.nan, "training_iteration": 1})
    searcher.on_trial_complete("c", None)
    assert theirs.heard == [("a", 0.5), ("a", last, False), ("b", None, True), ("c", None, False)]


def test_values_between_the_levels_become_the_nearest() -> None:
    theirs = Listed({"lr": 0.01, "drop": 0.30000000000000004, "net": {"units": 32, "act": "relu"}})
    searcher = recorded(theirs)
    config = searcher.suggest("a")
    assert isinstance(config, dict)
    assert config["drop"] == 0.3


@pytest.mark.parametrize(
    ("searcher", "space", "metric", "says"),
    [
        ("optuna", SPACE, "loss", "searcher is 'optuna' .*OptunaSearch"),
        (BasicVariantGenerator(), SPACE, "loss", "strategy='random'"),
        (Listed, SPACE, "loss", "searcher is <class"),
        (Repeater(Listed(), 2), SPACE, "loss", r"study\.confirm\(\)"),
        (ConcurrencyLimiter(BoTorchSearch(), 2), SPACE, "loss", "max_concurrent_trials"),
        (Listed(), SPACE, ["loss", "ms"], "takes one metric"),
        (
            Listed(),
            {"a": raytuner.fidelity(tune.uniform(0, 1)), "b": tune.uniform(0, 1)},
            "loss",
            "fidelity",
        ),
        (
            Listed(),
            {"o": tune.choice([1, 2]), "m": raytuner.when(tune.uniform(0, 1), o=1)},
            "loss",
            r"raytuner\.when",
        ),
        ("grid", {"a": tune.grid_search([1, 2])}, "loss", "cannot search .*Grid search"),
        ("space", SPACE, "loss", "already has a search space"),
    ],
)
def test_what_cannot_be_is_an_error_before_any_trial(
    searcher: Any, space: Any, metric: Any, says: str, tmp_path: Path
) -> None:
    if searcher == "grid":
        searcher = optuna()
    elif searcher == "space":
        searcher = hyperopt()
        searcher.set_search_properties("loss", "min", {"x": tune.uniform(0, 1)})
    with pytest.raises(SettingError, match=says):
        raytuner.tune(
            print,
            space,
            metric=metric,
            mode="min" if metric == "loss" else ["min", "min"],
            num_samples=2,
            searcher=searcher,
            storage_path=tmp_path,
        )
