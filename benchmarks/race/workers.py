"""Runs what is missing, in processes of its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Protocol

from benchmarks.race.runs import Key, Run, Store

Say = Callable[[str], None]


class Task(Protocol):
    """What another process can run: it is sent there."""

    @property
    def until(self) -> float:
        """How much of its budget is wanted, as a share."""

    def run(self, key: Key) -> Run:
        """The run of a key."""


def run_all(
    tasks: Mapping[Key, Task],
    absent: Mapping[str, str],
    store: Store,
    jobs: int,
    say: Say | None = None,
) -> list[str]:
    """Run what the store lacks.

    Args:
        tasks: What is to be run, in this order.
        absent: Why methods cannot run in this environment, by name; none of their tasks is run.
        store: Where runs are kept.
        jobs: Processes at the same time.
        say: Receives progress messages; None: the standard error.

    Returns:
        A line for each method that could not run, or failed, with the reason.
    """
    say = say or _to_stderr
    kept = store.runs()
    able = {key: task for key, task in tasks.items() if key.method not in absent}
    todo = missing_runs(able, kept)
    left_out = [f"{name}: {reason}" for name, reason in absent.items()]
    for line in left_out:
        say(f"left out: {line}")
    if not todo:
        return left_out
    # One BLAS thread each: on two cores, threads of small matrices only get in each other's way.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        failures = _work_off(pool, todo, store, Progress(kept, todo, jobs), say)
    return [*left_out, *(f"{name}: {reason}" for name, reason in failures.items())]


def missing_runs(tasks: Mapping[Key, Task], kept: Iterable[Run]) -> dict[Key, Task]:
    """Those of the tasks whose run there is not yet, or not as far as it is wanted."""
    reached = {run.key: run.until for run in kept}
    return {key: task for key, task in tasks.items() if reached.get(key, 0.0) < task.until}


def _work_off(
    pool: ProcessPoolExecutor,
    todo: Mapping[Key, Task],
    store: Store,
    progress: Progress,
    say: Say,
) -> dict[str, str]:
    """Run all of ``todo``. Returns why methods failed, by name."""
    failures: dict[str, str] = {}
    running: dict[Future[Run], Key] = {}
    waiting = deque(todo.items())
    while waiting or running:
        while waiting and len(running) < progress.jobs:
            key, task = waiting.popleft()
            if not missing_runs({key: task}, store.runs(key.method)):
                say(progress.elsewhere(key))
            else:
                running[pool.submit(task.run, key)] = key
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            key = running.pop(future)
            error = future.exception()
            if error is None:
                store.add(future.result())
                say(progress.ended(future.result()))
            else:
                failures[key.method] = f"{type(error).__name__}: {_last_line(error)}"
                say(progress.failed(key, failures[key.method]))
    return failures


_Kind = tuple[str, str, int, float]


def _kind(key: Key) -> _Kind:
    """Of runs that take about as long: of a method on a benchmark, with one size of race."""
    return key.method, key.problem.partition("/")[0], key.workers, key.budget


class Progress:
    """Says what has run, and how long the rest will take.

    Args:
        kept: Runs of earlier times: their seconds are the first estimates.
        todo: What is to be run.
        jobs: Processes at the same time.
    """

    def __init__(self, kept: Iterable[Run], todo: Iterable[Key], jobs: int) -> None:
        self._left = dict.fromkeys(todo)
        self._count = len(self._left)
        self.jobs = jobs
        self._start = time.monotonic()
        self._seconds: defaultdict[_Kind, list[float]] = defaultdict(list)
        for run in kept:
            self._seconds[_kind(run.key)].append(run.wall_s)

    def ended(self, run: Run) -> str:
        """A run has ended."""
        self._seconds[_kind(run.key)].append(run.wall_s)
        return self._line(run.key, f"regret {run.regret(run.until):.3f} after {run.wall_s:.0f} s")

    def elsewhere(self, key: Key) -> str:
        """Another process has run it meanwhile, from another environment."""
        return self._line(key, "run elsewhere")

    def failed(self, key: Key, reason: str) -> str:
        """A run has failed."""
        return self._line(key, f"failed: {reason}")

    def seconds_left(self) -> float:
        """Estimated from the runs so far; those of a kind that never ran count as the mean."""
        means = {kind: sum(all_) / len(all_) for kind, all_ in self._seconds.items()}
        overall = sum(means.values()) / len(means) if means else 0.0
        return sum(means.get(_kind(key), overall) for key in self._left) / self.jobs

    def _line(self, key: Key, what: str) -> str:
        self._left.pop(key, None)
        return (
            f"[{self._count - len(self._left)}/{self._count}] {key.method} on {key.problem},"
            f" seed {key.seed}, {key.workers} workers: {what};"
            f" {_duration(time.monotonic() - self._start)} so far,"
            f" about {_duration(self.seconds_left())} left"
        )


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[-1]


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
