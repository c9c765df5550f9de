"""Searches of random spaces keep their promises: see `random_search.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
from naming import named
from random_search import check_case, random_case
from ray import tune

from raytuner import BoTorchSearch

# Some random constants do.
pytestmark = pytest.mark.filterwarnings("ignore:some constants look like hyperparameters")

# One of each strategy.
FIXED = range(12)


@pytest.mark.parametrize("seed", FIXED)
def test_a_random_space_is_searched_to_the_end(seed: int, tmp_path: Path) -> None:
    case = random_case(seed)
    case.settings["n_initial"] = 18  # a few seconds of models for all of them
    check_case(case, tmp_path)


@pytest.mark.timeout(7200)
def test_hundreds_of_random_spaces_are_searched_to_the_end(tmp_path: Path) -> None:
    failed = []
    for seed in range(FIXED.stop, 300):
        (folder := tmp_path / str(seed)).mkdir()
        try:
            check_case(random_case(seed), folder)
        except Exception as error:
            failed.append(f"seed {seed}: {error!r}")
    assert not failed


@pytest.mark.parametrize(
    ("domain", "kind"),
    [
        (tune.lograndint(16, 513), "bayes"),
        (tune.lograndint(16, 513), "gradient"),
        (tune.lograndint(16, 513), "thompson"),
        (tune.qlograndint(8, 4000, 8), "bayes"),
        (tune.qloguniform(0.1, 100, 0.1), "bayes"),
        (tune.lograndint(1, 2**50), "bayes"),
        (tune.qrandn(0, 1, 0.01), "bayes"),
    ],
    ids=named,
)
def test_levels_are_climbed_on_every_scale(kind: str, domain: object) -> None:
    space = {"lr": tune.loguniform(1e-4, 1e-1), "units": domain}
    search = BoTorchSearch(
        space, "loss", "min", strategy=kind, seed=0, n_initial=4, background=False
    )
    for number in range(8):
        config = search.suggest(str(number))
        assert isinstance(config, dict)
        result = {"loss": -config["units"], "training_iteration": 1}  # to the upper end
        search.on_trial_complete(str(number), result)
    assert len(search.history) == 8
