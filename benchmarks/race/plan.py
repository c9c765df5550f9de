"""What is to be run."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.problem import Benchmark, Problem
from benchmarks.race.method import Contest
from benchmarks.race.methods import METHODS
from benchmarks.race.runs import Key, Run, race


@dataclass(frozen=True)
class Task:
    """A problem that another process can make, and run a method on."""

    benchmark: Benchmark
    instance: str
    until: float = 1.0

    @property
    def name(self) -> str:
        """The problem's name."""
        return self.benchmark.name_of(self.instance)

    def problem(self) -> Problem:
        """The problem."""
        return self.benchmark.problem(self.instance)

    def run(self, key: Key) -> Run:
        """The run of this key; its seed differs between problems."""
        seed = zlib.crc32(f"{key.problem} {key.seed}".encode())
        contest = Contest(self.problem(), seed, key.workers, key.budget, key.start_s)
        return replace(race(METHODS[key.method], contest, self.until), seed=key.seed)


@dataclass(frozen=True)
class Plan:
    """A race.

    Attributes:
        methods: Names of methods.
        instances: Names of the benchmark's instances or groups of them.
        workers: Trials at the same time.
        budget: Mean full trainings a worker; None: 12, or 3 with 64 workers and more.
        seeds: How many seeds, from 0.
        until: Share of the budget after which runs are broken off.
        start_s: Virtual seconds of each start or resume of a trial.
    """

    methods: tuple[str, ...]
    instances: tuple[str, ...]
    workers: int = 8
    budget: float | None = None
    seeds: int = 5
    until: float = 1.0
    start_s: float = 0.0

    def changed(
        self,
        *,
        methods: Sequence[str] = (),
        instances: Sequence[str] = (),
        workers: int | None = None,
        budget: float | None = None,
        seeds: int | None = None,
        until: float | None = None,
        start_s: float | None = None,
    ) -> Plan:
        """This plan with what is given in place of its own."""
        return replace(
            self,
            methods=tuple(methods) or self.methods,
            instances=tuple(instances) or self.instances,
            workers=workers or self.workers,
            budget=budget or self.budget,
            seeds=seeds or self.seeds,
            until=until or self.until,
            start_s=start_s or self.start_s,
        )

    @property
    def trainings(self) -> float:
        """Mean full trainings a worker."""
        return self.budget or (12.0 if self.workers < 64 else 3.0)

    def tasks(self, benchmark: Benchmark) -> dict[Key, Task]:
        """All runs and the problem of each, those first whose seed is low."""
        instances = benchmark.chosen(self.instances)
        return {
            Key(method, task.name, seed, self.workers, self.trainings, self.start_s): task
            for seed in range(self.seeds)
            for task in (Task(benchmark, instance, self.until) for instance in instances)
            for method in self.methods
        }


QUICK = Plan(
    methods=("random", "random+ray-asha", "optuna-tpe", "ours", "ours+asha", "ours+freeze-thaw"),
    instances=("quick",),
    budget=3.0,
    seeds=2,
)
FULL = Plan(methods=tuple(METHODS), instances=("full",))
