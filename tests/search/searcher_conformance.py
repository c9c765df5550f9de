"""What every searcher of ours must do, driven by hand as Ray drives it.

A test class inherits :class:`SearcherConformance`, or a part of it, and gives the fixture ``make``.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune
from ray.tune.search import ConcurrencyLimiter, Searcher

from raytuner.history import History, TrialState

PARAM_SPACE: dict[str, Any] = {
    "lr": tune.loguniform(1e-4, 1e-1),
    "net": {"layers": tune.randint(1, 5), "act": tune.choice(["relu", "tanh"])},
    "epochs": 3,
}
"""A nested space with a number, an integer, a choice and a constant."""

FINITE_SPACE: dict[str, Any] = {"a": tune.choice(["x", "y"]), "b": tune.randint(0, 3)}
"""A space of six configurations."""

Make = Callable[..., Searcher]


def inner(searcher: Any) -> Any:
    """The searcher itself, out of its wrappers."""
    while hasattr(searcher, "searcher"):
        searcher = searcher.searcher
    return searcher


def record_of(searcher: Any) -> History:
    history: History = inner(searcher).history
    return history


def key(config: Any) -> str:
    """A configuration, to be compared."""
    return json.dumps(config, sort_keys=True)


def objective(config: dict[str, Any]) -> float:
    """Something to be minimised over ``PARAM_SPACE``."""
    act = 0.5 if config["net"]["act"] == "relu" else 0.0
    return abs(math.log10(config["lr"]) + 2.5) + 0.1 * config["net"]["layers"] + act


class Driver:
    """Plays Ray: a few trials at a time, each with three reports.

    Args:
        searcher: The searcher, perhaps in wrappers.
        slots: How many trials run at the same time.
    """

    def __init__(self, searcher: Any, slots: int = 3) -> None:
        self.searcher = searcher
        self.slots = slots
        self.running: dict[str, dict[str, Any]] = {}
        self.asked = 0
        self.configs: list[dict[str, Any]] = []
        self.finished = False

    def fill(self) -> None:
        """Ask for as many trials as there are free slots."""
        while len(self.running) < self.slots and not self.finished:
            trial_id = f"trial_{self.asked:03d}"
            config = self.searcher.suggest(trial_id)
            if config == Searcher.FINISHED:
                self.finished = True
            elif config is None:
                assert self.running, "None while nothing is live: Ray would wait for ever"
                return
            else:
                self.asked += 1
                self.running[trial_id] = config
                self.configs.append(config)

    def end_one(self, value: float | None = None) -> None:
        """The oldest running trial reports three times and ends by itself."""
        trial_id = next(iter(self.running))
        for t in range(1, 4):
            result = self.result(trial_id, t, value if value is not None else 1 / t)
            self.searcher.on_trial_result(trial_id, result)
        self.searcher.on_trial_complete(trial_id, result=result)
        del self.running[trial_id]

    def result(self, trial_id: str, t: int, value: float) -> dict[str, Any]:
        """A report as Ray hands it on, flattened and with keys of its own."""
        return {
            "loss": value,
            "training_iteration": t,
            "trial_id": trial_id,
            "time_total_s": float(t),
            "done": False,
            "config/epochs": 3,
        }

    def turns(self, n: int) -> None:
        """So many times: fill the slots, end a trial by ``objective``."""
        for _ in range(n):
            self.fill()
            if not self.running:
                return
            self.end_one(objective(next(iter(self.running.values()))))

    def use_up(self, n: int) -> None:
        """Run ``n`` trials one after another, and ask for one more."""
        for _ in range(n):
            self.fill()
            self.end_one(1.0)
        self.fill()

    def drain(self) -> None:
        """End what runs."""
        while self.running:
            self.end_one(1.0)


class BareConformance:
    """Proposals, saves and copies. Inherit it and define ``make``: see there."""

    tolerance = 0.0
    """How far in the unit cube two runs of one seed may be apart."""

    @pytest.fixture
    def make(self) -> Make:
        """``make(seed)`` gives a fresh, seeded searcher that knows neither space nor metric."""
        raise NotImplementedError

    @pytest.fixture
    def fresh(self, make: Make) -> Make:
        """``fresh(seed)`` gives a fresh searcher to drive."""
        return make

    @pytest.fixture
    def start(self, fresh: Make) -> Callable[..., Driver]:
        """``start(space, seed)`` gives a driver whose searcher knows what the Tuner does."""

        def begin(space: dict[str, Any] = PARAM_SPACE, seed: int = 0) -> Driver:
            searcher = fresh(seed)
            assert searcher.set_search_properties("loss", "min", space, stop={})
            return Driver(searcher)

        return begin

    def test_configurations_are_full_and_within_the_space(
        self, start: Callable[..., Driver]
    ) -> None:
        driver = start()
        driver.turns(8)
        for config in driver.configs:
            record_of(driver.searcher).space.validate(config)
            assert config["epochs"] == 3
            assert type(config["net"]["layers"]) is int

    def test_no_configuration_comes_twice(self, start: Callable[..., Driver]) -> None:
        driver = start()
        driver.turns(10)
        keys = [key(config) for config in driver.configs]
        assert len(set(keys)) == len(keys) >= 10

    @pytest.mark.parametrize("turns", [0, 4, 7])
    def test_saved_and_restored_it_goes_on_as_if_nothing_had_been(
        self, start: Callable[..., Driver], fresh: Make, tmp_path: Path, turns: int
    ) -> None:
        straight, interrupted = start(seed=3), start(seed=3)
        straight.turns(turns)
        interrupted.turns(turns)
        inner(interrupted.searcher).save(str(tmp_path / "saved.pkl"))
        # Another seed, and no word of space and metric: what was saved decides.
        interrupted.searcher = fresh(8)
        inner(interrupted.searcher).restore(str(tmp_path / "saved.pkl"))
        if isinstance(interrupted.searcher, ConcurrencyLimiter):
            interrupted.searcher.live_trials = set(interrupted.running)
        straight.turns(2)
        interrupted.turns(2)
        self.check_restored(straight, interrupted)

    def test_saving_changes_nothing(self, start: Callable[..., Driver], tmp_path: Path) -> None:
        straight, saved = start(seed=1), start(seed=1)
        for turn in range(6):
            inner(saved.searcher).save(str(tmp_path / f"saved_{turn}.pkl"))
            straight.turns(1)
            saved.turns(1)
        self.check_same(straight, saved)

    def check_restored(self, straight: Driver, restored: Driver) -> None:
        """The restored one did as one that was never interrupted."""
        self.check_same(straight, restored)

    def check_same(self, a: Driver, b: Driver) -> None:
        """Both were given the same configurations, up to ``tolerance`` in the unit cube."""
        space = record_of(a.searcher).space
        assert len(a.configs) == len(b.configs)
        gap = abs(space.encode(a.configs) - space.encode(b.configs)).max()
        assert gap <= self.tolerance
        assert gap < abs(np.diff(space.encode(a.configs), axis=0)).max(axis=1).min()

    def test_it_can_be_pickled_at_each_stage(
        self, start: Callable[..., Driver], fresh: Make
    ) -> None:
        pickle.loads(pickle.dumps(fresh(0)))
        driver = start()
        for _ in range(3):
            driver.searcher = pickle.loads(pickle.dumps(driver.searcher))
            driver.turns(3)
        record = record_of(driver.searcher)
        assert record.counts[TrialState.COMPLETED] == 9
        assert len({key(config) for config in driver.configs}) == len(driver.configs)


class FiniteConformance(BareConformance):
    """With a finite space."""

    def test_a_finite_space_is_used_up_and_ends_the_search(
        self, start: Callable[..., Driver]
    ) -> None:
        driver = start(FINITE_SPACE)
        for _ in range(6):
            driver.fill()
            driver.end_one(1.0)
        driver.fill()
        assert driver.finished
        assert len({key(config) for config in driver.configs}) == 6 == len(driver.configs)

    def test_a_finite_space_ends_while_its_last_trials_run(
        self, start: Callable[..., Driver]
    ) -> None:
        driver = start(FINITE_SPACE)
        for _ in range(3):
            driver.fill()
            driver.end_one(1.0)
        driver.slots = 4  # a free slot, bare; the limiter holds it back
        driver.fill()
        driver.drain()
        driver.fill()
        driver.drain()
        assert driver.finished
        assert driver.asked == 6


class SearcherConformance(FiniteConformance):
    """And the record, whatever proposes. Each test runs bare and in Ray's limiter."""

    @pytest.fixture(params=["bare", "limited"])
    def fresh(self, request: pytest.FixtureRequest, make: Make) -> Make:
        """``fresh(seed)``: as ``make``, in a ConcurrencyLimiter or not."""
        if request.param == "bare":
            return make
        return lambda seed=0: ConcurrencyLimiter(make(seed), max_concurrent=3)

    def test_nothing_is_pending_once_all_trials_ended(self, start: Callable[..., Driver]) -> None:
        driver = start()
        searcher, record = driver.searcher, record_of(driver.searcher)
        ends: list[dict[str, Any]] = [
            {"result": driver.result("", 3, 0.5)},
            {"result": driver.result("", 1, math.nan)},
            {"result": driver.result("", 1, math.inf)},
            {"result": {}},
            {"result": None},
            {"result": {"training_iteration": 1, "accuracy": 0.5}},
            {"result": {"training_iteration": 1, "loss": "low"}},
            {"error": True},
            {"result": driver.result("", 2, 0.5), "error": True},
        ]
        for reported in (False, True):
            for number, end in enumerate(ends):
                trial_id = f"trial_{number}_{reported}"
                assert isinstance(searcher.suggest(trial_id), dict)
                if reported:
                    searcher.on_trial_result(trial_id, driver.result(trial_id, 1, 0.75))
                assert len(record.snapshot().pending) == 1
                searcher.on_trial_complete(trial_id, **end)
                assert len(record.snapshot().pending) == 0
                assert not record[trial_id].state.is_live
        assert record.live() == ()

    def test_hooks_for_unknown_trials_are_harmless(self, start: Callable[..., Driver]) -> None:
        driver = start()
        driver.searcher.on_trial_result("nobody", driver.result("nobody", 1, 0.5))
        driver.searcher.on_trial_complete("nobody", driver.result("nobody", 1, 0.5))
        assert len(record_of(driver.searcher)) == 0

    def test_repeated_reports_count_once(self, start: Callable[..., Driver]) -> None:
        driver = start()
        driver.fill()
        trial_id = next(iter(driver.running))
        for t in (1, 2, 1, 2, 3):  # a retry begins anew
            driver.searcher.on_trial_result(trial_id, driver.result(trial_id, t, 1 / t))
        driver.searcher.on_trial_complete(trial_id, driver.result(trial_id, 3, 1 / 3))
        assert record_of(driver.searcher)[trial_id].values == ((1, 1), (2, 1 / 2), (3, 1 / 3))
