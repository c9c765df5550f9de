"""What every scheduler of ours must do, whatever befalls the trials.

A test class inherits :class:`SchedulerConformance` and gives the fixture ``make``.
"""

from __future__ import annotations

import itertools
import math
import pickle
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray import tune
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.searcher import Searcher
from scheduler_fakes import FakeController, FakeTrial
from scheduler_loop import Forgetful, Loop, remembering

from raytuner import BoTorchSearch
from raytuner.bayes import SobolProposer
from raytuner.errors import MetricError
from raytuner.history import TrialState
from raytuner.simulate import Cluster, Curve, Settings, Simulation, simulate

MAX_T = 9

Make = Callable[..., TrialScheduler]
"""``make(metric=None, mode=None)``: a seeded scheduler with ``max_t`` 9 and a first rung at 1."""

# The fixture makes nothing but a function; each class is a case of its own.
anything = settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


def objective(config: dict[str, Any]) -> Curve:
    rng = random.Random(str(config))
    # No training ends at a rung: stopped there, it would have ended anyway.
    length = rng.choice([5, 6, 7, 10, 11, 12, 14])
    values = [config["x"] + rng.random() / t for t in range(1, length + 1)]
    seconds = [rng.choice([0.5, 1.0, 7.0]) for _ in values]
    return Curve(values, seconds, fails_at=rng.choice([None, None, None, 1, 4]), failures=1)


def study(scheduler: TrialScheduler, searcher: Searcher | None) -> Simulation:
    """A whole study in which trials fail and are retried."""
    return simulate(
        objective,
        {"x": tune.uniform(0, 1)},
        searcher=searcher,
        scheduler=scheduler,
        metric="loss",
        mode="min",
        num_samples=25,
        cluster=Cluster(workers=3, startup_s=0.5),
        max_failures=2,
        settings=Settings(checkpoint_every=2),
        seed=0,
    )


class SchedulerConformance:
    """Inherit it and define ``make``: see there."""

    @pytest.fixture
    def make(self) -> Make:
        """See `Make`."""
        raise NotImplementedError

    def check(self, loop: Loop) -> None:
        """What must hold after each step; to be extended."""

    # -- every study ends -------------------------------------------------------------------------

    @anything
    @given(
        seed=st.integers(0, 2**32),
        samples=st.integers(1, 20),
        slots=st.integers(1, 4),
        limit=st.sampled_from([None, None, 1, 3]),
        ours=st.booleans(),
        jumps=st.booleans(),
    )
    def test_every_study_ends_and_no_paused_trial_is_left(
        self,
        make: Make,
        seed: int,
        samples: int,
        slots: int,
        limit: int | None,
        ours: bool,
        jumps: bool,
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            loop = Loop(
                lambda: make("loss", "min"),
                remembering(limit) if ours else Forgetful(limit),
                random.Random(seed),
                samples=samples,
                slots=slots,
                folder=Path(folder),
                jumps=jumps and ours,  # of what was jumped over, a last report says nothing
            )
            loop.on_step = lambda: self.check(loop)
            loop.run()
        assert len(loop.trials) == samples
        self.check(loop)
        searcher = loop.search_alg.searcher
        if isinstance(searcher, BoTorchSearch):
            assert searcher.history.live() == ()
            for trial in searcher.history.trials:
                stopped = trial.state is TrialState.STOPPED_EARLY
                assert trial.reason or not stopped
        else:
            assert not searcher.live

    @pytest.mark.parametrize("kind", ["random", "ours", "ours, limited"])
    def test_whole_studies_with_failures(self, make: Make, kind: str) -> None:
        searcher: Any = None if kind == "random" else BoTorchSearch(seed=0, proposer=SobolProposer)
        wrapped = ConcurrencyLimiter(searcher, 2) if kind == "ours, limited" else searcher
        simulation = study(make(), wrapped)
        assert simulation.ended == "finished"
        assert len(simulation.trials) == 25
        assert not any(trial.state.is_live for trial in simulation.trials)
        assert simulation.counts[TrialState.COMPLETED] >= 1
        if searcher is not None:
            assert searcher.history.counts == simulation.counts

    # -- restores ---------------------------------------------------------------------------------

    @anything
    @given(seed=st.integers(0, 2**32), steps=st.integers(1, 120), retries=st.booleans())
    def test_a_restored_scheduler_is_the_one_that_died(
        self, make: Make, seed: int, steps: int, retries: bool
    ) -> None:
        rng = random.Random(seed)
        loop = Loop(
            lambda: make("loss", "min"),
            remembering(None),
            rng,
            samples=15,
            slots=3,
            retries=retries,
        )
        for _ in range(steps):
            if not loop.of("PENDING", "RUNNING", "PAUSED") and loop.search_alg.is_finished():
                break
            loop.step()
        restored: Any = make("loss", "min")
        for trial in loop.trials:
            restored.on_trial_add(loop, FakeTrial(trial.trial_id, trial.status))
        self.check_restored(loop, restored)

    def check_restored(self, loop: Loop, after: Any) -> None:
        """It knows what the loop's scheduler does; to be extended."""

    def test_it_can_be_pickled(self, make: Make) -> None:
        scheduler = pickle.loads(pickle.dumps(make("loss", "min")))
        assert study(pickle.loads(pickle.dumps(make())), None) == study(make(), None)
        assert isinstance(scheduler.debug_string(), str)


class SchedulerHooks:
    """What the hooks of `RuleScheduler`, the base class, decide for every scheduler.

    One test class of each kind (stopping, pausing, forecasting) inherits it, too.
    """

    def test_a_time_budget_ends_it(self, make: Make) -> None:
        simulation = simulate(
            lambda config: Curve(config["x"] + 1 / t for t in itertools.count(1)),
            {"x": tune.uniform(0, 1)},
            scheduler=make(),
            searcher=BoTorchSearch(seed=0, proposer=SobolProposer),
            metric="loss",
            mode="min",
            num_samples=-1,
            cluster=Cluster(workers=3),
            time_budget_s=60.0,
        )
        assert (simulation.ended, simulation.end_s) == ("time_budget", 60.0)
        assert simulation.utilisation() > 0.95

    def test_min_is_max_of_negated_values(self, make: Make) -> None:
        def values(sign: int, mode: str) -> list[tuple[str, int, str]]:
            simulation = simulate(
                lambda config: [sign * (config["x"] + 1 / t) for t in range(1, 12)],
                {"x": tune.uniform(0, 1)},
                scheduler=make(),
                metric="loss",
                mode=mode,
                num_samples=9,
                cluster=Cluster(workers=2),
                seed=0,
            )
            return [(str(e.kind), int(e.trial or 0), str(e.t)) for e in simulation.events]

        assert values(1, "min") == values(-1, "max")

    def test_one_line_says_how_it_stands(self, make: Make) -> None:
        scheduler = make()
        assert "\n" not in scheduler.debug_string()
        study(scheduler, None)
        assert "\n" not in scheduler.debug_string()

    def test_it_takes_no_buffered_results(self, make: Make) -> None:
        assert make().supports_buffered_results is False

    def test_a_trial_at_max_t_is_complete(self, make: Make) -> None:
        scheduler, controller = make("loss", "min"), FakeController()
        scheduler.on_trial_add(controller, FakeTrial("a"))  # type: ignore[arg-type]
        for t, value in ((MAX_T, 0.5), (MAX_T + 1, math.nan)):
            report = {"training_iteration": t, "loss": value}
            decision = scheduler.on_trial_result(controller, FakeTrial("a"), report)  # type: ignore[arg-type]
            assert decision == "STOP"

    def test_a_report_that_cannot_be_used(self, make: Make) -> None:
        scheduler: Any = make("loss", "min")
        controller = FakeController()
        for trial_id in "ab":
            scheduler.on_trial_add(controller, FakeTrial(trial_id))
        bad = {"training_iteration": 1, "loss": "low"}
        with pytest.raises(MetricError, match="metric 'loss' was reported as 'low'"):
            scheduler.on_trial_result(controller, FakeTrial("a"), bad)
        scheduler.on_trial_result(
            controller, FakeTrial("b"), {"training_iteration": 0.5, "loss": 1}
        )
        assert scheduler.on_trial_result(controller, FakeTrial("a"), bad) == "STOP"

    @pytest.mark.parametrize("kind", ["random", "ours"])
    def test_trials_that_validate_every_few_epochs(self, make: Make, kind: str) -> None:
        def curve(config: dict[str, Any]) -> Curve:
            loss = config["x"]
            return Curve(
                [
                    {"loss": loss + 1 / t} if t % 3 == 0 else {"loss": None, "train_loss": loss}
                    for t in range(1, 2 * MAX_T)
                ]
            )

        searcher: Any = None if kind == "random" else BoTorchSearch(seed=0, proposer=SobolProposer)
        simulation = simulate(
            curve,
            {"x": tune.uniform(0, 1)},
            searcher=searcher,
            scheduler=make(),
            metric="loss",
            mode="min",
            num_samples=12,
            cluster=Cluster(workers=3),
            settings=Settings(checkpoint_every=1),
            seed=0,
        )
        assert simulation.ended == "finished"
        assert set(simulation.counts) <= {TrialState.COMPLETED, TrialState.STOPPED_EARLY}
        assert simulation.counts[TrialState.COMPLETED] >= 1
        if searcher is not None:
            assert searcher.history.counts == simulation.counts
            steps = {t for trial in searcher.history.trials for t, _ in trial.values}
            assert steps <= {3, 6, MAX_T}

    def test_reports_without_the_metric_are_skipped(self, make: Make) -> None:
        scheduler: Any = make("loss", "min")
        controller = FakeController()
        scheduler.on_trial_add(controller, FakeTrial("a"))
        before = scheduler.debug_string()
        for metrics in ({}, {"accuracy": 0.5}, {"loss": None}):
            result = {"training_iteration": 1, **metrics}
            assert scheduler.on_trial_result(controller, FakeTrial("a"), result) == "CONTINUE"
            assert scheduler.debug_string() == before
            at_end = {**result, "training_iteration": MAX_T}
            assert scheduler.on_trial_result(controller, FakeTrial("a"), at_end) == "STOP"
        no_time = {"loss": 1.0}
        with pytest.raises(MetricError, match="time_attr 'training_iteration' is not in"):
            scheduler.on_trial_result(controller, FakeTrial("a"), no_time)
        good = {"training_iteration": 0.5, "loss": 1.0}
        assert scheduler.on_trial_result(controller, FakeTrial("a"), good) == "CONTINUE"
        assert scheduler.on_trial_result(controller, FakeTrial("a"), no_time) == "CONTINUE"

    @pytest.mark.parametrize("status", ["TERMINATED", "ERROR"])
    def test_a_report_after_the_end_decides_nothing(self, make: Make, status: str) -> None:
        scheduler: Any = make("loss", "min")
        controller = FakeController()
        for trial_id in "ab":
            scheduler.on_trial_add(controller, FakeTrial(trial_id))
            result = {"training_iteration": 0.5, "loss": 1.0}
            scheduler.on_trial_result(controller, FakeTrial(trial_id), result)
        before = scheduler.debug_string()
        for value in (0.1, "low", None):
            late = {"training_iteration": 1, "loss": value}
            assert scheduler.on_trial_result(controller, FakeTrial("a", status), late) == "STOP"
            assert scheduler.debug_string() == before
