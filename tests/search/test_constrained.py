"""A searcher under constraints."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from processes import Polled
from searcher_conformance import PARAM_SPACE, Driver

from raytuner import BoTorchSearch
from raytuner.errors import ConfigError, SpaceError
from raytuner.space import Float, Integer, Space

RULES = ["net/layers * lr <= 0.02", "epochs * net/layers != 9"]


def keeps(config: dict[str, Any]) -> bool:
    return config["net"]["layers"] * config["lr"] <= 0.02 and config["net"]["layers"] != 3


@pytest.mark.parametrize(("given_by", "background"), [("searcher", False), ("tuner", True)])
def test_every_proposal_keeps_them(tmp_path: Path, given_by: str, background: bool) -> None:
    space = dict(PARAM_SPACE) if given_by == "searcher" else None
    search = BoTorchSearch(
        space, parameter_constraints=RULES, seed=0, n_initial=4, background=background
    )
    if background:
        search.compute_in(Polled)
    made = pickle.dumps(search)
    search.set_search_properties("loss", "max", {} if space else dict(PARAM_SPACE))
    driver = Driver(search)
    driver.turns(8)
    search.save(str(tmp_path / "saved"))
    # Restored, it knows of them: from its arguments, or from the record.
    driver.searcher = pickle.loads(made)
    if background:
        driver.searcher.compute_in(Polled)
    driver.searcher.restore(str(tmp_path / "saved"))
    driver.turns(4)
    assert all(keeps(config) for config in driver.configs)
    assert len(driver.configs) >= 12


def test_a_function_will_do(tmp_path: Path) -> None:
    search = BoTorchSearch(PARAM_SPACE, parameter_constraints=[keeps], seed=0, background=False)
    search.set_search_properties("loss", "min", {})
    driver = Driver(search)
    driver.turns(8)
    search.save(str(tmp_path / "saved"))
    search.restore(str(tmp_path / "saved"))
    driver.turns(2)
    assert all(keeps(config) for config in driver.configs)


def test_a_finite_space_ends_when_what_is_allowed_is_used_up() -> None:
    space = Space({"a": Integer(0, 9), "b": Integer(0, 9)}, ["a + b <= 2"])
    search = BoTorchSearch(
        space, "loss", "min", parameter_constraints=["a != 1"], seed=0, background=False
    )
    driver = Driver(search, slots=1)
    driver.use_up(4)
    assert driver.finished
    assert sorted((c["a"], c["b"]) for c in driver.configs) == [(0, 0), (0, 1), (0, 2), (2, 0)]


def test_what_is_wrong_shows_before_the_first_trial() -> None:
    space = Space({"a": Float(0, 1), "b": Float(0, 1)})
    with pytest.raises(SpaceError, match="none of 100000 draws satisfies the constraint a > 1"):
        BoTorchSearch(space, parameter_constraints=["a > 1"])
    with pytest.raises(SpaceError, match="names 'c'"):
        BoTorchSearch(space, parameter_constraints=["c > 1"])
    with pytest.raises(ConfigError, match=r"points_to_evaluate\[1\]: received a=0.9, b=0.9"):
        BoTorchSearch(
            space,
            "loss",
            "min",
            parameter_constraints=["a + b < 1"],
            points_to_evaluate=[{"a": 0.1, "b": 0.2}, {"a": 0.9, "b": 0.9}],
        )
