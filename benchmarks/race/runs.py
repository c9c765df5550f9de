"""One run of the race: made, and kept."""

from __future__ import annotations

import json
import math
import os
import platform
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.race.method import Contest, Method
from raytuner.simulate import Cluster, EventKind, Settings, Step, simulate

STARTS = "starts"  # the folder, among the results, of runs in which a start takes time

Steps = list[tuple[float, float]]


@dataclass(frozen=True)
class Key:
    """What a run is told apart by."""

    method: str
    problem: str
    seed: int
    workers: int
    budget: float
    start_s: float = 0.0


@dataclass(frozen=True)
class Run:
    """What a run came to.

    Attributes:
        method: Name of the method.
        problem: Name of the problem.
        seed: Seed of the run.
        workers: Trials at the same time.
        budget: Mean full trainings a worker.
        final: Regret of the incumbent among fully trained trials, each time it improved: pairs of
            share of the budget and regret.
        any: Likewise of the best value that any trial has reported at any time, thinned: of the
            improvements within a twentieth of the budget, the last.
        trials: How many trials ended in each state.
        units: Units of resource spent.
        utilisation: Share of the workers' time spent training.
        suggest_median_s: Median seconds of a proposal, of the processor's: what else runs on the
            machine does not show in them. All BLAS is kept to one thread.
        suggest_worst_s: The slowest.
        suggest_total_s: All proposals together.
        suggestions: How many proposals there were.
        hooks_s: All other calls to the searcher together.
        scheduler_s: All calls to the scheduler together.
        wall_s: Seconds of the run by the clock on the wall.
        versions: Versions of the method's packages.
        machine: Where it ran.
        until: Share of the budget at which it was broken off, as planned.
        start_s: Virtual seconds of each start or resume of a trial.
        starts: How many there were; 0 in runs that were stored before they were counted.
        starting: Share of the workers' time spent starting.
    """

    method: str
    problem: str
    seed: int
    workers: int
    budget: float
    final: Steps
    any: Steps
    trials: dict[str, int]
    units: int
    utilisation: float
    suggest_median_s: float
    suggest_worst_s: float
    suggest_total_s: float
    suggestions: int
    hooks_s: float
    scheduler_s: float
    wall_s: float
    versions: dict[str, str]
    machine: str
    until: float = 1.0
    start_s: float = 0.0
    starts: int = 0
    starting: float = 0.0

    @property
    def key(self) -> Key:
        """What it is told apart by."""
        return Key(self.method, self.problem, self.seed, self.workers, self.budget, self.start_s)

    @property
    def benchmark(self) -> str:
        """What its problem is one of."""
        return self.problem.partition("/")[0]

    def regret(self, mark: float, *, final: bool = True) -> float:
        """The incumbent's regret at a share of the budget; 1 while there is none.

        NaN beyond where the run was broken off.
        """
        if mark > self.until:
            return math.nan
        reached = [regret for share, regret in (self.final if final else self.any) if share <= mark]
        return reached[-1] if reached else 1.0


def race(method: Method, contest: Contest, until: float = 1.0) -> Run:
    """Run a method once, from a random state of its own.

    Args:
        method: The method.
        contest: On what.
        until: Share of the budget after which the run is broken off; the method does not know.
    """
    seed_everything(contest.seed)
    problem = contest.problem
    start = time.perf_counter()
    search = method.make(contest)
    simulation = simulate(
        problem.objective,
        problem.space,
        searcher=search.searcher,
        scheduler=search.scheduler,
        metric=problem.metric,
        mode=problem.mode,
        num_samples=search.num_samples,
        cluster=Cluster(contest.workers, contest.start_s),
        time_budget_s=contest.budget_s * until,
        max_t=problem.max_t,
        settings=Settings(timer=time.process_time),
        seed=contest.seed,
    )
    wall_s = time.perf_counter() - start
    seconds = simulation.searcher_seconds
    starts = sum(event.kind is EventKind.STARTED for event in simulation.events)
    return Run(
        method=method.name,
        problem=problem.name,
        seed=contest.seed,
        workers=contest.workers,
        budget=contest.budget,
        final=_shares(simulation.incumbent(), contest),
        any=thinned(_shares(simulation.incumbent(final=False), contest)),
        trials={state.value: count for state, count in sorted(simulation.counts.items())},
        units=simulation.resource_spent,
        utilisation=round(simulation.utilisation(), 4),
        suggest_median_s=brief(statistics.median(seconds["suggest"] or [0.0])),
        suggest_worst_s=brief(max(seconds["suggest"], default=0.0)),
        suggest_total_s=brief(sum(seconds["suggest"])),
        suggestions=len(seconds["suggest"]),
        hooks_s=brief(sum(seconds["hooks"])),
        scheduler_s=brief(sum(seconds["scheduler"])),
        wall_s=brief(wall_s),
        versions=method.versions(),
        machine=this_machine(),
        until=until,
        start_s=contest.start_s,
        starts=starts,
        starting=round(starts * contest.start_s / (contest.workers * simulation.end_s), 4),
    )


def this_machine() -> str:
    """The machine and Python, in words."""
    return f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"


class Store:
    """Runs on disk: a folder with a file of JSON lines for each method.

    Args:
        folder: Where; made when the first run is added.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def runs(self, method: str | None = None) -> list[Run]:
        """The runs of a method, or all; of runs with the same key, the last."""
        pattern = "*.jsonl" if method is None else f"{method}.jsonl"
        found = [
            _from_json(line)
            for file in sorted(self.folder.glob(pattern))
            for line in file.read_text(encoding="utf-8").splitlines()
        ]
        return list({run.key: run for run in found}.values())

    def add(self, run: Run) -> None:
        """Keep a run: its method's file is replaced as a whole, so that none is ever torn."""
        self.folder.mkdir(parents=True, exist_ok=True)
        runs = [*(kept for kept in self.runs(run.method) if kept.key != run.key), run]
        file = self.folder / f"{run.method}.jsonl"
        new = file.with_suffix(f".{os.getpid()}.tmp")
        new.write_text("".join(f"{json.dumps(asdict(r))}\n" for r in runs), encoding="utf-8")
        new.replace(file)


def _from_json(line: str) -> Run:
    fields: dict[str, Any] = json.loads(line)
    for name in ("final", "any"):
        fields[name] = [(share, regret) for share, regret in fields[name]]
    return Run(**fields)


def _shares(steps: Sequence[Step], contest: Contest) -> Steps:
    return [
        (round(step.time / contest.budget_s, 5), round(contest.problem.regret(step.value), 5))
        for step in steps
    ]


def thinned(steps: Steps) -> Steps:
    """The last step of each twentieth of the budget: hundreds would be kept for nothing.

    At every twentieth, the ends of which belong to what is before them, nothing is lost.
    """
    return list({math.ceil(share * 20): (share, regret) for share, regret in steps}.values())


def brief(seconds: float) -> float:
    """To four digits."""
    return float(f"{seconds:.4g}")


def seed_everything(seed: int) -> None:
    """Some peers draw from the global generators."""
    random.seed(seed)
    np.random.seed(seed)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
