"""A recorded search, restarted or resumed by a new searcher."""

from __future__ import annotations

import pandas as pd
import pytest
from ray import tune

from raytuner import near
from raytuner.history import Goal, TrialState
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.simulate.predict import restarted

SPACE = {"x": tune.uniform(0, 1), "kind": tune.choice(["a", "b"])}


def again(search: BoTorchSearch, **changes: str) -> BoTorchSearch:
    return restarted(search.history, strategy=changes.get("strategy", "bayes"), seed=3)


def test_it_has_the_space_and_the_whole_goal_and_no_trials() -> None:
    search = BoTorchSearch(
        SPACE, "loss", "min", outcome_constraints=["ms <= 0.1234567891"], cost="spent", max_t=9
    )
    search.suggest("a")
    search.on_trial_complete("a", {"loss": 1.0, "ms": 0.1, "spent": 1, "training_iteration": 1})
    new = again(search).history
    assert new.space == search.history.space
    assert new.goal == search.history.goal
    assert new.goal.constraints[0].bound == 0.1234567891
    assert (new.max_t, new.time_attr, len(new)) == (9, "training_iteration", 0)
    assert search.history["a"].state is not TrialState.PENDING  # it was left as it is


def test_equal_seeds_propose_the_same_and_it_goes_on_to_learn() -> None:
    search = BoTorchSearch(SPACE, ["loss", "size"], ["min", "max"], seed=0)
    one, two = again(search), again(search)
    assert one.history.goal == Goal.of(["loss", "size"], ["min", "max"])
    for number in range(8):
        config = one.suggest(str(number))
        assert config == two.suggest(str(number))
        assert isinstance(config, dict)
        for it in (one, two):
            it.on_trial_complete(
                str(number), {"loss": config["x"], "size": config["x"], "training_iteration": 1}
            )
    assert len(one.history.pareto) > 1


def test_what_was_believed_is_believed_again() -> None:
    search = BoTorchSearch(SPACE, "loss", "min", priors={"x": near(0.81, spread=0.02)})
    config = again(search).suggest("first")
    assert isinstance(config, dict)
    assert config["x"] == pytest.approx(0.81, abs=0.02)


def test_earlier_studies_are_known_again() -> None:
    earlier = BoTorchSearch(SPACE, "loss", "min", seed=0)
    for number in range(12):
        config = earlier.suggest(str(number))
        assert isinstance(config, dict)
        earlier.on_trial_complete(
            str(number), {"loss": (config["x"] - 0.3) ** 2, "training_iteration": 1}
        )
    known = earlier.history
    frame = [{**trial.config, "loss": trial.value} for trial in known.trials]
    search = BoTorchSearch(SPACE, "loss", "min", earlier=[pd.DataFrame(frame)])
    best = known.best
    assert best is not None
    assert again(search).suggest("first") == best.config


def test_its_strategy_is_what_is_asked_for() -> None:
    search = BoTorchSearch(SPACE, "loss", "min", strategy="random")
    assert again(search, strategy="random").strategy == "random"
