"""What is to be run, and what cannot be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.features.about import ABOUT
from benchmarks.features.methods import METHODS
from benchmarks.features.play import play
from benchmarks.features.player import FeatureMethod
from benchmarks.features.problem import FeatureProblem
from benchmarks.features.problems import PROBLEMS
from benchmarks.race.method import missing
from benchmarks.race.runs import Key, Run

SEEDS = 3


@dataclass(frozen=True)
class Task:
    """A problem by name, that another process can make and run a method on."""

    problem: str

    @property
    def until(self) -> float:
        """It is run to its end."""
        return 1.0

    def run(self, key: Key) -> Run:
        """The run of this key."""
        return play(METHODS[key.method], PROBLEMS[self.problem](), key.seed)


@dataclass
class Plan:
    """Runs, and why some are not among them.

    Attributes:
        tasks: The runs, those first whose seed is low.
        lacking: Lines, of a problem or of a method on a problem.
    """

    tasks: dict[Key, Task] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)


def plan(methods: Iterable[str], problems: Iterable[str], seeds: int) -> Plan:
    """The runs of these methods on these problems that can be in this environment's version."""
    made = Plan()
    pairs = []
    for name in problems:
        try:
            problem = PROBLEMS[name]()
        except FileNotFoundError as error:
            made.lacking.append(f"{name}: {error}")
            continue
        for method in chosen(methods, problem):
            reason = None if missing(method.modules) else method.lacks(problem)
            if reason is None:
                pairs.append((name, problem, method))
            else:
                made.lacking.append(f"{method.title}, {ABOUT[name].feature} ({name}): {reason}")
    for seed in range(seeds):
        for name, problem, method in pairs:
            key = Key(method.name, problem.name, seed, problem.pending, float(problem.evaluations))
            made.tasks[key] = Task(name)
    return made


def chosen(methods: Iterable[str], problem: FeatureProblem) -> Sequence[FeatureMethod]:
    """Those of the methods that belong beside the others on a problem."""
    return [METHODS[name] for name in methods if METHODS[name].suits(problem)]
