"""Run one small study in Ray and on the virtual clock, and keep a journal of the calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.searcher import Searcher

from raytuner.simulate import Cluster, Curve, Settings, simulate

METRIC = "loss"


@dataclass(frozen=True)
class Plan:
    """A trial: its values by t, the seconds of each, and where it raises in which attempts.

    Where it would raise, Ray may kill its process instead: then the error is that of a lost node.
    """

    values: tuple[float, ...]
    seconds: float = 0.1
    raises_at: int | None = None
    attempts_that_raise: int | None = None
    is_killed: bool = False


@dataclass(frozen=True)
class Study:
    """A study to be run twice."""

    plans: tuple[Plan, ...]
    scheduler: Callable[[], TrialScheduler] = FIFOScheduler
    max_concurrent: int | None = None
    stop: dict[str, Any] | None = None
    max_failures: int = 0
    checkpoints: bool = False
    changes: tuple[tuple[float, int], ...] = ()  # of the simulated cluster


@dataclass(frozen=True)
class Call:
    """One call of a hook."""

    hook: str
    trial: int
    t: int | None
    says: tuple[Any, ...]


class Journal:
    """All calls, in order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.numbers: dict[str, int] = {}

    def note(self, hook: str, trial_id: str, result: dict[str, Any] | None, *says: Any) -> None:
        t = None if result is None else result.get("training_iteration")
        known = () if result is None else (*sorted(result), result.get(METRIC), result.get("done"))
        number = self.numbers[trial_id]
        self.calls.append(Call(hook, number, t, (*says, known)))


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


def in_ray(study: Study, folder: Path) -> Journal:
    """Run it on the cluster that is there."""
    journal = Journal()
    # Plain data: Ray's workers cannot import this module.
    plans, checkpoints, marked = (
        [asdict(plan) for plan in study.plans],
        study.checkpoints,
        str(folder),
    )

    def train(config: dict[str, Any]) -> None:
        import os
        import signal
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
                if plan["is_killed"]:
                    os.kill(os.getpid(), signal.SIGKILL)
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
        ),
    )
    tuner.fit()
    return journal


def on_the_clock(study: Study) -> Journal:
    """Simulate it."""
    journal = Journal()

    def objective(config: dict[str, Any]) -> Curve:
        plan = study.plans[config["index"]]
        return Curve(
            [{METRIC: value, "more": {"t": t}} for t, value in enumerate(plan.values, 1)],
            seconds=plan.seconds,
            fails_at=None if plan.is_killed else plan.raises_at,
            failures=plan.attempts_that_raise,
        )

    simulate(
        objective,
        {"index": tune.randint(0, 100), "nested": {"x": tune.uniform(0, 1), "c": 1}},
        searcher=_limited(JournalSearcher(journal), study),
        scheduler=JournalScheduler(study.scheduler(), journal),
        metric=METRIC,
        mode="min",
        num_samples=len(study.plans),
        cluster=Cluster(2, startup_s=2.0, changes=study.changes),
        stop=study.stop,
        max_failures=study.max_failures,
        settings=Settings(checkpoint_every=1 if study.checkpoints else None, saves_on_pause=False),
    )
    return journal


def _limited(searcher: Searcher, study: Study) -> Searcher:
    if study.max_concurrent is None:
        return searcher
    return ConcurrencyLimiter(searcher, max_concurrent=study.max_concurrent)
