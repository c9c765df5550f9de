"""Searches whose proposals come from a process of their own, on a real cluster."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from integration_driver import SPACE, loss
from ray import tune

import raytuner
from raytuner.bayes import SobolProposer
from raytuner.errors import MetricError, NoResultError
from raytuner.history import Origin, TrialState
from raytuner.search.botorch_search import BoTorchSearch

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

pytestmark = pytest.mark.usefixtures("ray_cluster")

_PATIENCE_S = 120


def proposers() -> set[int]:
    """Ids of the processes of this test run's cluster that think of proposals."""
    parents: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
                name = (folder / "cmdline").read_text()
            except OSError:
                continue  # it has just ended
            state, parent = stat.rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(folder.name)] = (int(parent), name)
    found = {pid for pid, (_, name) in parents.items() if "RaytunerProposer" in name}

    def is_ours(pid: int) -> bool:
        while pid in parents:
            if pid == os.getpid():
                return True
            pid = parents[pid][0]
        return False

    return {pid for pid in found if is_ours(pid)}


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(autouse=True)
def _leaves_no_process() -> Any:
    assert proposers() == set()
    yield
    wait_for(lambda: proposers() == set())


def sleeps(config: dict[str, Any]) -> None:
    for t in range(1, 4):
        time.sleep(0.2)
        tune.report({"loss": loss(config, t)})


def tuner(folder: Path, search: BoTorchSearch, **settings: Any) -> tune.Tuner:
    """A Tuner as a user makes it, of eight trials on two slots."""
    return tune.Tuner(
        settings.pop("trainable", sleeps),
        param_space=SPACE,
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=settings.pop("num_samples", 8),
            search_alg=search,
            reuse_actors=True,
            **settings.pop("tune", {}),
        ),
        run_config=tune.RunConfig(
            name=settings.pop("name", "experiment"),
            storage_path=str(folder),
            verbose=0,
            **settings,
        ),
    )


class Watch(tune.Callback):
    """Lets trials end once the proposer has answered; calls ``act`` once, after the first end.

    Trials wait for ``go``, so that nothing depends on how long a process takes to start.
    """

    def __init__(self, search: BoTorchSearch, go: Path, act: Callable[[], None]) -> None:
        self.search = search
        self.go = go
        self.act = act
        self.acted = False
        self.ended = 0
        self.seen: set[int] = set()
        self.processes = 1  # so many must have been seen, and the last have answered

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.ended += 1

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        self.seen |= proposers()
        source: Any = self.search._search().source()
        if source._heard and len(self.seen) >= self.processes:
            self.go.touch()
        if self.ended and self.seen and not self.acted:
            self.acted = True
            self.act()


def waiting_for(go: Path) -> Callable[[dict[str, Any]], None]:
    """A training function that waits for ``go`` before it reports."""

    def patient(config: dict[str, Any]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not go.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        for t in range(1, 4):
            time.sleep(0.4)
            tune.report({"loss": loss(config, t)})

    return patient


def test_fresh_proposals_and_no_process_after_a_plain_tuner(tmp_path: Path) -> None:
    search = BoTorchSearch(seed=0, n_initial=2)
    watch = Watch(search, tmp_path / "go", lambda: None)
    tuner(tmp_path, search, trainable=waiting_for(watch.go), callbacks=[watch]).fit()
    assert len(watch.seen) == 1  # one process, throughout
    wait_for(lambda: proposers() == set())  # though the searcher is still here
    record = search.history
    assert record.counts == {TrialState.COMPLETED: 8}
    origins = [trial.origin for trial in record.trials]
    # Which of the two depends on how quickly the process gets a core.
    assert Origin.BAYES in origins or Origin.STALE in origins
    counts = search.proposal_counts
    assert sum(counts.values()) == 8
    configs = [repr(trial.config) for trial in record.trials]
    assert len(set(configs)) == 8


def test_trials_that_are_faster_than_a_proposal_get_proposals_of_the_model(tmp_path: Path) -> None:
    search = BoTorchSearch(seed=0, n_initial=2)

    def instant(config: dict[str, Any]) -> None:
        tune.report({"loss": loss(config, 1)})

    tuner(tmp_path, search, trainable=instant, num_samples=12).fit()
    assert search.history.counts == {TrialState.COMPLETED: 12}
    # Nearly all would be quasi-random without waiting; a few are where the machine is very busy.
    assert search.proposal_counts["fallback"] <= 4


def test_a_killed_proposer_is_replaced(tmp_path: Path) -> None:
    search = BoTorchSearch(seed=0, n_initial=2)

    go = tmp_path / "go"

    def kill() -> None:
        go.unlink()  # until the next one has answered
        watch.processes = 2
        for pid in proposers():
            os.kill(pid, signal.SIGKILL)

    watch = Watch(search, go, kill)
    results = tuner(
        tmp_path, search, trainable=waiting_for(go), num_samples=10, callbacks=[watch]
    ).fit()
    assert watch.acted
    assert len(watch.seen) == 2
    assert len(results) == 10
    assert results.num_errors == 0
    assert search.history.counts == {TrialState.COMPLETED: 10}
    assert len({repr(trial.config) for trial in search.history.trials}) == 10
    last = [trial.origin for trial in search.history.trials[-3:]]
    assert Origin.BAYES in last or Origin.STALE in last


def test_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    search = BoTorchSearch(seed=0)
    watch = Watch(search, tmp_path / "go", lambda: os.kill(os.getpid(), signal.SIGINT))
    handler = signal.getsignal(signal.SIGINT)
    try:
        tuner(
            tmp_path, search, trainable=waiting_for(watch.go), num_samples=50, callbacks=[watch]
        ).fit()
    finally:
        signal.signal(signal.SIGINT, handler)
    assert watch.acted
    assert len(search.history) < 50
    source: Any = search._search()._proposals
    assert source._process is None  # at once, not when it has heard nothing for long


def test_an_exception_leaves_no_process(tmp_path: Path) -> None:
    def other(config: dict[str, Any]) -> None:
        for _ in range(3):
            time.sleep(0.2)
            tune.report({"accuracy": 0.5})

    with pytest.raises((MetricError, NoResultError), match="never reported the metric 'loss'"):
        raytuner.tune(
            other,
            SPACE,
            metric="loss",
            mode="min",
            num_samples=20,
            storage_path=tmp_path,
            progress=False,
        )


def test_a_time_budget_leaves_no_process(tmp_path: Path) -> None:
    def endless(config: dict[str, Any]) -> None:
        for t in range(1, 10_000):
            time.sleep(0.1)
            tune.report({"loss": loss(config, t)})

    study = raytuner.tune(
        endless,
        SPACE,
        metric="loss",
        mode="min",
        num_samples=-1,
        time_budget_s=8,
        storage_path=tmp_path,
        reuse_actors=True,
        progress=False,
    )
    assert not study.interrupted
    wait_for(lambda: proposers() == set())


def test_two_studies_at_the_same_time(tmp_path: Path) -> None:
    searches = [BoTorchSearch(seed=seed, n_initial=2) for seed in (0, 1)]
    # Made here: a Tuner that is made in a thread cannot handle signals.
    tuners = [
        tuner(tmp_path, search, name=f"study_{i}", num_samples=5)
        for i, search in enumerate(searches)
    ]
    threads = [threading.Thread(target=each.fit) for each in tuners]
    for thread, search in zip(threads, searches, strict=True):
        thread.start()
        # Ray's registry of training functions cannot take two at the same moment.
        wait_for(lambda search=search: search._active is not None)  # type: ignore[misc]
    for thread in threads:
        thread.join(_PATIENCE_S)
    for search in searches:
        assert search.history.counts == {TrialState.COMPLETED: 5}
    ids = [{trial.trial_id for trial in search.history.trials} for search in searches]
    assert not ids[0] & ids[1]


class Threads(SobolProposer):
    """Says how many threads it may use."""

    def state_dict(self) -> dict[str, Any]:
        import torch

        return {**super().state_dict(), "threads": torch.get_num_threads(), "pid": os.getpid()}


def test_by_hand_beside_a_connected_ray() -> None:
    search = BoTorchSearch(SPACE, "loss", "min", seed=0, proposer=Threads)
    search.suggest("a")
    search.on_trial_complete("a", {"loss": 1.0, "training_iteration": 1})
    source: Any = search._search()._proposals
    deadline = time.monotonic() + _PATIENCE_S
    while source.state_dict()["pid"] == os.getpid():
        assert time.monotonic() < deadline
        time.sleep(0.1)
        source.turn(search.history, free=0, slots=2)
    assert source.state_dict()["threads"] == 1
    assert {source.state_dict()["pid"]} == proposers()
    del search, source
    gc.collect()  # the process goes with the searcher, as the fixture sees


@pytest.mark.parametrize("limit", [None, 3])
def test_slots_are_filled_at_once_and_no_trial_is_asked_for_too_early(
    tmp_path: Path, limit: int | None
) -> None:
    slots = 6
    search = BoTorchSearch(seed=0, background=False, proposer=SobolProposer)
    most: list[tuple[int, int]] = []  # proposed, and running at the same time

    class Count(tune.Callback):
        def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
            status = [trial.status for trial in trials]
            if "TERMINATED" not in status:
                most.append((len(status), status.count("RUNNING")))

    def waits(config: dict[str, Any]) -> None:
        # Until all slots are taken, so that nothing depends on how quick the machine is.
        folder = tmp_path / "started"
        folder.mkdir(exist_ok=True)
        (folder / tune.get_context().get_trial_id()).touch()
        expected = min(slots, limit or slots)
        for _ in range(1200):
            if len(list(folder.iterdir())) >= expected:
                break
            time.sleep(0.1)
        time.sleep(1)
        tune.report({"loss": 1.0})

    tuner(
        tmp_path,
        search,
        trainable=tune.with_resources(waits, {"cpu": 2 / slots}),
        num_samples=8,
        callbacks=[Count()],
        tune={"max_concurrent_trials": limit},
    ).fit()
    expected = min(slots, limit or slots)
    assert max(running for _, running in most) == expected
    assert max(proposed for proposed, _ in most) <= (slots + 1 if limit is None else limit)
