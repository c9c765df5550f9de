"""What is to be run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import lcbench
from benchmarks.problem import Problem
from benchmarks.race.methods import METHODS
from benchmarks.race.runs import Key


@dataclass(frozen=True)
class Task:
    """A problem that another process can make.

    Attributes:
        data: Folder of YAHPO's data.
        instance: The data set.
        epochs: The first and last epoch that reports.
    """

    data: str
    instance: str
    epochs: tuple[int, int]

    @property
    def name(self) -> str:
        """The problem's name."""
        return lcbench.name_of(self.instance, self.epochs)

    def problem(self) -> Problem:
        """The problem."""
        return lcbench.load(self.data).problem(self.instance, self.epochs)


@dataclass(frozen=True)
class Plan:
    """A race.

    Attributes:
        methods: Names of methods.
        instances: OpenML task ids; or "development" or "test" for all of these.
        workers: Trials at the same time.
        budget: Mean full trainings a worker; None: 12, or 3 with 64 workers and more.
        seeds: How many seeds, from 0.
        epochs: The first and last epoch that LCBench reports.
    """

    methods: tuple[str, ...]
    instances: tuple[str, ...]
    workers: int = 8
    budget: float | None = None
    seeds: int = 5
    epochs: tuple[int, int] = lcbench.ALL_EPOCHS

    def changed(
        self,
        *,
        methods: Sequence[str] = (),
        instances: Sequence[str] = (),
        workers: int | None = None,
        budget: float | None = None,
        seeds: int | None = None,
        epochs: tuple[int, int] | None = None,
    ) -> Plan:
        """This plan with what is given in place of its own."""
        return replace(
            self,
            methods=tuple(methods) or self.methods,
            instances=tuple(instances) or self.instances,
            workers=workers or self.workers,
            budget=budget or self.budget,
            seeds=seeds or self.seeds,
            epochs=epochs or self.epochs,
        )

    @property
    def trainings(self) -> float:
        """Mean full trainings a worker."""
        return self.budget or (12.0 if self.workers < 64 else 3.0)

    def tasks(self, data: str | Path) -> dict[Key, Task]:
        """All runs and the problem of each, those first whose seed is low."""
        return {
            Key(method, task.name, seed, self.workers, self.trainings): task
            for seed in range(self.seeds)
            for task in (Task(str(data), i, self.epochs) for i in self._ids(data))
            for method in self.methods
        }

    def _ids(self, data: str | Path) -> tuple[str, ...]:
        known = lcbench.load(data).instances
        groups = {"development": lcbench.DEVELOPMENT, "test": lcbench.test_instances(known)}
        return tuple(i for name in self.instances for i in groups.get(name, (name,)))


# Development instances: whoever is at work on raytuner runs it often, and nothing may be tuned on
# the others.
QUICK = Plan(
    methods=("random", "random+ray-asha", "optuna-tpe", "ours", "ours+asha"),
    instances=("3945", "126029"),
    budget=3.0,
    seeds=2,
)
FULL = Plan(methods=tuple(METHODS), instances=("test",))
