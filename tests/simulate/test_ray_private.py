"""What the simulator takes from Ray without a promise: each piece is still as it was read."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import ray
from call_journal import Journal, JournalSearcher
from ray import tune
from ray.tune.execution import tune_controller
from ray.tune.experiment import Experiment, Trial
from ray.tune.schedulers import ASHAScheduler as RaysASHA
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchGenerator
from ray.tune.search.basic_variant import _TrialIterator

from raytuner.schedulers import ASHAScheduler
from raytuner.simulate import ray_private
from raytuner.simulate.controller import VirtualController


def experiment(**spec: Any) -> ray_private.VirtualExperiment:
    given = {"num_samples": 3, "stop": {}, "time_budget_s": None, "max_failures": 2, **spec}
    return ray_private.VirtualExperiment({"a": tune.uniform(0, 1), "k": {"c": 1}}, **given)


def generators() -> list[Any]:
    searcher = JournalSearcher(Journal())
    return [
        BasicVariantGenerator(random_state=0),
        BasicVariantGenerator(max_concurrent=3),
        SearchGenerator(searcher),
        SearchGenerator(ConcurrencyLimiter(searcher, 7)),
    ]


@pytest.mark.parametrize(
    ("which", "workers"),
    [(0, 4), (0, 1000), (1, 4), (2, 4), (3, 4)],  # the workers matter where nothing else is said
)
def test_the_pending_cap_is_rays(which: int, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": float(workers)})
    generator = generators()[which]
    expected = tune_controller._get_max_pending_trials(generator)
    assert ray_private.max_pending_of(generator, workers) == expected


def test_an_experiment_has_what_ray_reads_of_it() -> None:
    public = experiment(stop={"training_iteration": 5}).public_spec
    assert public == {"stop": {"training_iteration": 5}, "num_samples": 3, "time_budget_s": None}
    assert set(public) == Experiment.PUBLIC_KEYS


def test_random_search_still_makes_trials_where_we_step_in() -> None:
    assert list(inspect.signature(_TrialIterator.create_trial).parameters) == [
        "self",
        "resolved_vars",
        "spec",
    ]
    generator: Any = BasicVariantGenerator(random_state=0)
    ray_private.prepare_searcher(generator, "loss", "min", experiment())
    trials = [generator.next_trial() for _ in range(3)]
    assert [trial.trial_id for trial in trials] == ["00000_00000", "00000_00001", "00000_00002"]
    first = trials[0]
    assert first.config["k"] == {"c": 1}
    assert first.evaluated_params == {"a": first.config["a"]}
    assert first.experiment_tag == f"0_a={first.config['a']:.4f}"
    assert generator.next_trial() is None


def test_a_generators_trials_are_as_rays() -> None:
    """The same searcher behind Ray's generator, with Ray's own way of making trials."""
    tune.register_trainable(ray_private.TRAINABLE, lambda config: None)
    made = []
    for kind in (SearchGenerator, ray_private.VirtualSearchGenerator):
        generator: Any = kind(JournalSearcher(Journal()))
        spec = experiment(stop={"training_iteration": 5})
        spec.spec["config"] = {"k": {"c": 1}, "nested": {"x": 7.0, "y": 2}}
        ray_private.prepare_searcher(generator, "loss", "min", spec)
        trial = generator.next_trial()
        made.append(
            {
                "config": trial.config,
                "tag": trial.experiment_tag,
                "evaluated": trial.evaluated_params,
                "stop": trial.stopping_criterion,
                "failures": trial.max_failures,
                "status": trial.status,
            }
        )
    assert made[0] == made[1]


def test_a_trial_takes_what_the_loop_enters() -> None:
    trial = ray_private.make_trial(
        {"config": {"a": 1}, "stop": {"training_iteration": 5}, "max_failures": 1},
        "id",
        {},
        "1_a=1",
    )
    ray_private.set_default_result(trial, {"date": "now"})
    assert trial.last_result == {"date": "now", "trial_id": "id"}
    ray_private.set_last_result(trial, {"loss": 1.0})
    assert trial.last_result == {"loss": 1.0, "experiment_tag": "1_a=1", "trial_id": "id"}
    assert not trial.is_saving
    ray_private.set_saving(trial, True)
    assert trial.is_saving
    ray_private.count_failure(trial)
    assert not ray_private.exceeds_max_failures(trial)
    ray_private.count_failure(trial)
    assert ray_private.exceeds_max_failures(trial)
    assert trial.should_stop({"training_iteration": 5})  # type: ignore[no-untyped-call]


def test_the_full_resource_of_asha() -> None:
    each = "training_iteration"
    assert ray_private.schedule_of(RaysASHA(max_t=81)) == (each, 81)
    assert ray_private.schedule_of(ASHAScheduler(max_t=27)) == (each, 27)
    assert ray_private.schedule_of(ASHAScheduler("epoch", max_t=27)) == ("epoch", 27)
    assert ray_private.schedule_of(RaysASHA("epoch", max_t=81)) == ("epoch", 81)
    assert ray_private.schedule_of(TrialScheduler()) == (each, None)  # type: ignore[no-untyped-call]


def test_schedulers_find_all_that_ray_offers_them() -> None:
    source = inspect.getsource(tune_controller.TuneController._wrapped)
    offered = ["search_alg", "get_trials", "get_live_trials", "_set_trial_status"]
    offered += ["pause_trial", "stop_trial"]
    for name in offered:
        assert f'"{name}"' in source
        assert hasattr(VirtualController, name) or name == "search_alg"
    assert '"_schedule_trial_save"' in source  # for PBT, which is not offered here


def test_rays_loop_is_the_one_that_was_read() -> None:
    """The order of a turn, and of the calls at a result: `controller.py` follows it."""

    def order(function: Any, *parts: str) -> None:
        source = inspect.getsource(function)
        places = [source.index(part) for part in parts]
        assert places == sorted(places)

    loop = tune_controller.TuneController
    order(
        loop.step,
        "_maybe_update_trial_queue()",
        "_maybe_add_actors()",
        "_actor_manager.next(timeout=0.1)",
        "_stop_experiment_if_needed()",
    )
    order(
        loop._process_trial_result,
        "_validate_result_metrics",
        "self._stopper(trial.trial_id, result) or trial.should_stop(flat_result)",
        "self._scheduler_alg.on_trial_result",
        "decision == TrialScheduler.STOP:",
        "self._search_alg.on_trial_result",
        "trial.update_last_result",
        "_checkpoint_trial_if_needed",
        "_queue_decision",
    )
    order(
        loop._requeue_trial,
        "on_trial_error",
        "status=Trial.PENDING",
        "self._trials.append(trial)",
        "on_trial_add",
    )
    assert (Trial.PENDING, Trial.PAUSED, Trial.ERROR) == ("PENDING", "PAUSED", "ERROR")
