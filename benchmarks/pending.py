"""Compare ways to account for pending trials, with 8 to 1,000 workers.

Trials are trained in full. A trial that ends is replaced at once. With more than 64 workers, a
sixteenth of the workers is filled together. The figures are mean regrets of the best trial so far
after shares of the budget: 0 is the best possible value, 1 the median of random configurations.

python -m benchmarks.pending
"""

from __future__ import annotations

import heapq
import json
import math
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import numpy as np
from torch import Tensor

from benchmarks import long
from benchmarks.families import FAMILIES, benchmark
from benchmarks.problem import Problem
from benchmarks.race.method import versions
from benchmarks.race.runs import this_machine
from benchmarks.race.table import markdown_table
from raytuner.bayes import BayesProposer, Proposer
from raytuner.bayes.acquisition import LogExpectedImprovement
from raytuner.bayes.proposer import RandomProposer
from raytuner.bayes.surrogate import Posterior
from raytuner.history import History, TrialState
from raytuner.history.snapshot import FloatArray
from raytuner.search.tune_space import space_from_tune
from raytuner.simulate import Curve

MARKS = (0.2, 0.35, 0.5, 0.75, 1.0)
RESULTS = Path("benchmarks/results/pending/searches.jsonl")
PAGE = Path("benchmarks/PENDING.md")


class AtTheMean(LogExpectedImprovement):
    """Expected improvement; a pending trial counts as if it had the value that is expected."""

    def _draws(self, mean: Tensor, corner: Tensor) -> Tensor:
        draws = super()._draws(mean, corner)
        draws[:, len(self._contenders) :] = 0.0
        return draws


class Ignored(LogExpectedImprovement):
    """Expected improvement without pending trials."""

    def __init__(self, posterior: Posterior, *, pending: FloatArray, **known: Any) -> None:
        super().__init__(posterior, pending=pending[:0], **known)

    def add_pending(self, point: FloatArray) -> None:
        """Do nothing."""


_NEVER = 10**9
WAYS: Mapping[str, Any] = {
    "integrated": partial(BayesProposer, fleet=_NEVER),
    "mean": partial(BayesProposer, fleet=_NEVER, acquisition=AtTheMean),
    "ignored": partial(BayesProposer, fleet=_NEVER, acquisition=Ignored),
    "functions": partial(BayesProposer, fleet=0),
    "random": RandomProposer,
}
ABOUT = {
    "integrated": "expected improvement, averaged over possible values of pending trials",
    "mean": "expected improvement, pending trials counted with their expected values",
    "ignored": "expected improvement, pending trials ignored",
    "functions": "the maximum of a function drawn from the model, pending trials ignored",
    "random": "random search",
}


@dataclass(frozen=True)
class Run:
    """A search.

    Attributes:
        way: One of `WAYS`.
        problem: Name of the problem.
        workers: Trials at the same time.
        seed: Seed of the search.
        regrets: Regret of the incumbent at `MARKS`.
        trials: How many were proposed.
        proposals_s: Processor seconds of all proposals.
        versions: Versions of raytuner and Ray.
        machine: Where it ran.
    """

    way: str
    problem: str
    workers: int
    seed: int
    regrets: tuple[float, ...]
    trials: int
    proposals_s: float
    versions: dict[str, str]
    machine: str


def search(way: str, problem: Problem, workers: int, budget: float, seed: int) -> Run:
    """Search once, for a budget of mean full trainings a worker."""
    space = space_from_tune(problem.space)
    history = History(space, metric=problem.metric, mode=problem.mode, max_t=problem.max_t)
    own = zlib.crc32(f"{problem.name} {seed}".encode())
    proposer: Proposer = WAYS[way](space, own)
    running: list[tuple[float, int, float]] = []  # when it ends, its number, its value
    seconds, best, free, reached = 0.0, math.inf, workers, list[tuple[float, float]]()
    together = max(1, workers // 16) if workers > 64 else 1
    now, end = 0.0, budget * problem.training_s
    while True:
        if free >= together:
            start = time.process_time()
            proposer.tell(history.snapshot())
            found = proposer.ask(free)
            seconds += time.process_time() - start
            for proposal in found:
                trial = len(history)
                curve = problem.objective(proposal.config)
                assert isinstance(curve, Curve)
                took = sum(curve.duration(t) for t in range(1, problem.max_t + 1))
                last: Any = curve.report(problem.max_t)
                history.add(str(trial), proposal.config, proposal.origin)
                heapq.heappush(running, (now + took, trial, float(last[problem.metric])))
            free = 0
        if running[0][0] > end:
            break
        now, trial, value = heapq.heappop(running)
        history.report(str(trial), problem.max_t, value)
        history.end(str(trial), TrialState.COMPLETED)
        if problem.regret(value) < best:
            best = problem.regret(value)
            reached.append((now / end, best))
        free += 1
    regrets = [min((r for share, r in reached if share <= mark), default=1.0) for mark in MARKS]
    return Run(
        way, problem.name, workers, seed, tuple(np.round(regrets, 5).tolist()), len(history),
        round(seconds, 1), versions(()), this_machine(),
    )  # fmt: skip


def page(runs: Sequence[Run]) -> str:
    """The page: one table for each number of workers, and paired differences."""
    lines = [_HEAD]
    for workers in sorted({run.workers for run in runs}):
        own = [run for run in runs if run.workers == workers]
        by_way = {
            way: {(run.problem, run.seed): run for run in own if run.way == way} for way in WAYS
        }
        base = by_way["functions"]
        rows = [
            [
                ABOUT[way],
                str(len(found)),
                *(f"{value:.3f}" for value in np.mean([r.regrets for r in found.values()], axis=0)),
                _difference(found, base),
                f"{1e3 * fmean(r.proposals_s / r.trials for r in found.values()):.1f}",
            ]
            for way, found in by_way.items()
            if found
        ]
        marks = [f"{mark:.0%}" for mark in MARKS]
        problems = sorted({run.problem for run in own})
        lines += [f"## {workers} workers", "", f"On {', '.join(problems)}:", ""]
        head = ["way", "runs", *marks, "end minus end of drawn functions", "ms per trial"]
        lines += markdown_table(head, rows)
        lines.append("")
    if long_runs := long.load():
        lines += [_LONG, *long.table(long_runs), ""]
    every: list[Run | long.LongRun] = [*runs, *long_runs]
    commits = sorted({run.versions["raytuner"] for run in every})
    machines = sorted({run.machine for run in every})
    return "\n".join([*lines, f"{'; '.join(machines)}; raytuner {', '.join(commits)}.", ""])


def _difference(found: Mapping[Any, Run], base: Mapping[Any, Run]) -> str:
    """The mean difference at the end over the same problems and seeds, and its standard error."""
    pairs = [found[key].regrets[-1] - base[key].regrets[-1] for key in found if key in base]
    if len(pairs) < 2 or found is base:
        return "-"
    return f"{np.mean(pairs):+.3f} ({np.std(pairs, ddof=1) / math.sqrt(len(pairs)):.3f})"


_HEAD = """\
# Pending trials

A proposal must account for pending trials: those that run and have no value yet. This page compares
ways to do that, by the number of workers.

- Regret: 0 is the best possible value, 1 the median of random configurations.
- The columns are shares of a budget of three mean full trainings per worker, or twelve with eight
  workers.
- "end minus end of drawn functions": the difference of the regrets at 100%, over pairs of runs with
  the same problem and seed, and in brackets its standard error. If two ways ran different problems,
  compare them only by this difference.
- With more than 64 workers, trials are replaced in groups: the next group starts when a sixteenth
  of the workers is free.

With fewer than 128 pending trials, raytuner averages over their possible values. With more, each
proposal is the maximum of a function drawn from the model.

```sh
python -m benchmarks.pending
```
"""


_LONG = """\
## Up to 50,000 trials

A model has at most 500 rows. With more trials, every second proposal comes from a local model. The
table shows the distance of the best trial from the minimum after 1,000 to 50,000 trials. The last
column is the processor time per proposal: first up to 1,000 trials, then from 20,000 on. In these
searches, 1,000 trials ran at the same time, and 64 ended together (`python -m benchmarks.long`).
"""


def _load() -> dict[tuple[Any, ...], Run]:
    if not RESULTS.exists():
        return {}
    rows = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    runs = [Run(**{**row, "regrets": tuple(row["regrets"])}) for row in rows]
    return {(run.way, run.problem, run.workers, run.seed): run for run in runs}


@click.command()
@click.option("--workers", multiple=True, type=int, default=(8, 64, 256, 1000), show_default=True)
@click.option("--ways", default=",".join(WAYS), show_default=True, help="With commas between.")
@click.option("--benchmark", "family", type=click.Choice(FAMILIES), default="lcbench")
@click.option("--instances", default="development", show_default=True, help="With commas between.")
@click.option("--seeds", default=1, show_default=True, help="Seeds, from 0.")
def main(workers: Sequence[int], ways: str, family: str, instances: str, seeds: int) -> None:
    """Run what the results lack, and write the page."""
    problems, runs = benchmark(family), _load()
    chosen = problems.chosen(instances.split(","))
    for seed, count, instance, way in product(range(seeds), workers, chosen, ways.split(",")):
        key = way, problems.name_of(instance), count, seed
        if key in runs:
            continue
        budget = 3.0 if count >= 64 else 12.0
        runs[key] = search(way, problems.problem(instance), count, budget, seed)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(runs[key])) + "\n")
    text = page(list(runs.values()))
    PAGE.write_text(text, encoding="utf-8")
    click.echo(text)


if __name__ == "__main__":
    main()
