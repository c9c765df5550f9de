"""One small study twice, in Ray and on the virtual clock, and what each did, call by call."""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.searcher import Searcher

from raytuner.simulate import Cluster, Curve, Settings, Simulation, simulate

METRIC = "loss"


@dataclass(frozen=True)
class Plan:
    """What one trial does: values by t, seconds of each, and where it raises in which attempts."""

    values: tuple[float, ...]
    seconds: float = 0.1
    raises_at: int | None = None
    attempts_that_raise: int | None = None


@dataclass(frozen=True)
class Study:
    """A study to be run twice."""

    plans: tuple[Plan, ...]
    scheduler: Callable[[], TrialScheduler] = FIFOScheduler
    max_concurrent: int | None = None
    stop: dict[str, Any] | None = None
    max_failures: int = 0
    checkpoints: bool = False


@dataclass(frozen=True)
class Call:
    """One call of a hook; `at` is left out of comparisons."""

    hook: str
    trial: int
    t: int | None
    says: tuple[Any, ...]
    at: float = field(compare=False)


class Journal:
    """All calls, in order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.numbers: dict[str, int] = {}
        self.controller: Any = None  # the virtual one

    def now(self) -> float:
        if self.controller is not None:
            virtual: float = self.controller._clock.now
            return virtual
        return time.monotonic() if not self.virtual else 0.0

    virtual = False

    def note(self, hook: str, trial_id: str, result: dict[str, Any] | None, *says: Any) -> None:
        t = None if result is None else result.get("training_iteration")
        known = () if result is None else (*sorted(result), result.get(METRIC), result.get("done"))
        number = self.numbers[trial_id]
        self.calls.append(Call(hook, number, t, (*says, known), self.now()))


class JournalSearcher(Searcher):
    """Proposes one plan after another."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self.journal = journal

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        self._metric, self._mode = metric, mode
        return True

    def suggest(self, trial_id: str) -> dict[str, Any]:
        number = len(self.journal.numbers)
        self.journal.numbers[trial_id] = number
        self.journal.note("suggest", trial_id, None)
        return {"index": number, "nested": {"x": number / 2}}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.journal.note("searcher.result", trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self.journal.note("searcher.complete", trial_id, result, error)


class JournalScheduler(TrialScheduler):
    """Another scheduler, and a note of each call."""

    def __init__(self, inner: TrialScheduler, journal: Journal) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inner: Any = inner
        self.journal = journal

    @property
    def metric(self) -> Any:
        return self.inner.metric

    @property
    def supports_buffered_results(self) -> bool:
        return False

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        return bool(self.inner.set_search_properties(metric, mode, **spec))

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        if self.journal.virtual:
            self.journal.controller = tune_controller
        self.journal.note("add", trial.trial_id, None, trial.status, trial.experiment_tag)
        self.inner.on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        self.journal.note("error", trial.trial_id, None, trial.status)
        self.inner.on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        last = trial.last_result.get("training_iteration")
        decision: str = self.inner.on_trial_result(tune_controller, trial, result)
        self.journal.note("result", trial.trial_id, result, trial.status, decision, last)
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        self.journal.note("complete", trial.trial_id, result, trial.status)
        self.inner.on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        self.journal.note("remove", trial.trial_id, None, trial.status)
        self.inner.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        chosen: Trial | None = self.inner.choose_trial_to_run(tune_controller)
        if chosen is not None and chosen.status == Trial.PAUSED:
            self.journal.note("resume", chosen.trial_id, None)
        return chosen

    def debug_string(self) -> str:
        return "journal"


class Stamps(Callback):
    """When trials started, and when each of their units ended, as Ray's loop saw it."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.starts: dict[int, list[float]] = defaultdict(list)
        self.ends: dict[int, list[float]] = defaultdict(list)
        self.longest_turn_s = 0.0
        self._turn: dict[str, int] = {}
        self._turn_began = math.inf

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        self._turn_began = time.monotonic()

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        self.longest_turn_s = max(self.longest_turn_s, time.monotonic() - self._turn_began)

    def _end(self, trial: Trial) -> None:
        self.ends[self.journal.numbers[trial.trial_id]].append(time.monotonic())

    def on_trial_start(self, iteration: int, trials: Any, trial: Trial, **info: Any) -> None:
        self.starts[self.journal.numbers[trial.trial_id]].append(time.monotonic())

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Trial, result: Any, **info: Any
    ) -> None:
        self._turn[trial.trial_id] = iteration
        self._end(trial)

    def on_trial_save(self, iteration: int, trials: Any, trial: Trial, **info: Any) -> None:
        self._turn[trial.trial_id] = iteration

    def on_trial_complete(self, iteration: int, trials: Any, trial: Trial, **info: Any) -> None:
        if self._turn.get(trial.trial_id) != iteration:  # no report ended it: training returned
            self._end(trial)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Trial, **info: Any) -> None:
        self._end(trial)

    def on_trial_error(self, iteration: int, trials: Any, trial: Trial, **info: Any) -> None:
        self._end(trial)


def in_ray(study: Study, folder: Path) -> tuple[Journal, Stamps]:
    """Run it on the cluster that is there."""
    journal = Journal()
    stamps = Stamps(journal)
    # Plain data: Ray's workers cannot import this module.
    plans, checkpoints, marked = (
        [asdict(plan) for plan in study.plans],
        study.checkpoints,
        str(folder),
    )

    def train(config: dict[str, Any]) -> None:
        import os
        import tempfile
        import time

        from ray import tune

        plan = plans[config["index"]]
        marks = os.path.join(marked, f"attempts-{config['index']}")
        with open(marks, "a") as file:
            file.write("x")
        attempt = os.path.getsize(marks)
        begin = 1
        checkpoint = tune.get_checkpoint()
        if checkpoint is not None:
            with checkpoint.as_directory() as place, open(os.path.join(place, "t")) as file:
                begin = int(file.read()) + 1
        raising = plan["attempts_that_raise"]
        raises = raising is None or attempt <= raising
        for t in range(begin, len(plan["values"]) + 1):
            time.sleep(plan["seconds"])
            if t == plan["raises_at"] and raises:
                raise RuntimeError("planned")
            report = {"loss": plan["values"][t - 1], "more": {"t": t}}
            if not checkpoints:
                tune.report(report)
                continue
            with tempfile.TemporaryDirectory() as place:
                with open(os.path.join(place, "t"), "w") as file:
                    file.write(str(t))
                tune.report(report, checkpoint=tune.Checkpoint.from_directory(place))

    tuner = tune.Tuner(
        train,
        param_space={"index": tune.randint(0, 100), "nested": {"x": tune.uniform(0, 1), "c": 1}},
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="min",
            num_samples=len(plans),
            search_alg=_limited(JournalSearcher(journal), study),
            scheduler=JournalScheduler(study.scheduler(), journal),
        ),
        run_config=tune.RunConfig(
            name="journal",
            storage_path=str(folder),
            verbose=0,
            stop=study.stop,
            failure_config=tune.FailureConfig(max_failures=study.max_failures),
            callbacks=[stamps],
        ),
    )
    tuner.fit()
    return journal, stamps


def on_the_clock(study: Study, stamps: Stamps) -> tuple[Journal, Simulation, list[float]]:
    """Simulate it, each start and each unit as long as Ray and the machine took for it.

    Returns:
        The calls, the record, and the start-up seconds that follow from the simulator's own account
        of when each worker became free.
    """
    journal = Journal()
    journal.virtual = True
    origin = min(min(times) for times in stamps.starts.values())
    starts = {n: deque(t - origin for t in times) for n, times in stamps.starts.items()}
    ends = {n: deque(t - origin for t in times) for n, times in stamps.ends.items()}
    implied: list[float] = []
    seen: set[int] = set()

    def startup(rng: Any) -> float:
        holders = journal.controller._workers._holder.values()
        (actor,) = (actor for actor in holders if id(actor) not in seen)
        seen.add(id(actor))
        implied.append(starts[actor.run.number].popleft() - journal.now())
        actors.append(actor)  # kept alive: ids are compared
        return max(0.0, implied[-1])

    actors: list[Any] = []

    def objective(config: dict[str, Any]) -> Curve:
        number = config["index"]
        plan = study.plans[number]

        def until_next(t: int = 0) -> float:
            return max(0.0, ends[number].popleft() - journal.now())

        return Curve(
            [{METRIC: value, "more": {"t": t}} for t, value in enumerate(plan.values, 1)],
            seconds=until_next,
            fails_at=plan.raises_at,
            failures=plan.attempts_that_raise,
            end_s=until_next,
        )

    simulation = simulate(
        objective,
        {"index": tune.randint(0, 100), "nested": {"x": tune.uniform(0, 1), "c": 1}},
        searcher=_limited(JournalSearcher(journal), study),
        scheduler=JournalScheduler(study.scheduler(), journal),
        metric=METRIC,
        mode="min",
        num_samples=len(study.plans),
        cluster=Cluster(workers=2, startup_s=startup),
        stop=study.stop,
        max_failures=study.max_failures,
        settings=Settings(checkpoint_every=1 if study.checkpoints else None, saves_on_pause=False),
    )
    return journal, simulation, implied


def _limited(searcher: Searcher, study: Study) -> Searcher:
    if study.max_concurrent is None:
        return searcher
    return ConcurrencyLimiter(searcher, max_concurrent=study.max_concurrent)
