"""Search for 50,000 trials: does a proposal stay fast, and does the best trial still improve?

1,000 trials run at the same time, and 64 of them end together. The figures are the distance of the
best trial from the minimum, and processor time per proposal.

python -m benchmarks.long
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.knowledge import Function, ackley, levy
from benchmarks.race.method import versions
from benchmarks.race.runs import this_machine
from benchmarks.race.table import markdown_table
from raytuner.bayes import BayesProposer, Proposer
from raytuner.bayes.bayes import Fitted
from raytuner.bayes.proposer import RandomProposer
from raytuner.history import History, TrialState
from raytuner.history.snapshot import FloatArray
from raytuner.space import Config, Float, Space

MARKS = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
RESULTS = Path("benchmarks/results/pending/long.jsonl")
_RUNNING, _TOGETHER = 1_000, 64


class OneModel(BayesProposer):
    """raytuner's proposer without the local model."""

    def _by_paths(self, fitted: Fitted, n: int, local: int, asked: FloatArray) -> FloatArray:
        return super()._by_paths(fitted, n, 0, asked)


def rosenbrock(dim: int) -> Function:
    """Rosenbrock's function: a narrow curved valley."""

    def loss(config: Config) -> float:
        x = np.array(list(config.values()), dtype=np.float64)
        return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())

    return Function(Space({f"x{i}": Float(-5, 10) for i in range(dim)}), loss)


PROBLEMS = {
    "Ackley, 10": ackley(10),
    "Levy, 20": levy(20),
    "Rosenbrock, 10": rosenbrock(10),
}
WAYS: Mapping[str, Any] = {
    "raytuner": BayesProposer,
    "raytuner without the local model": OneModel,
    "random search": RandomProposer,
}


@dataclass(frozen=True)
class LongRun:
    """A search.

    Attributes:
        way: One of `WAYS`.
        problem: One of `PROBLEMS`.
        seed: Seed of the search.
        best: Distance of the best trial from the minimum at `MARKS`, as far as it went.
        ms: Processor time per proposal in each of the intervals that end at `MARKS`, in ms.
        versions: Versions of raytuner and Ray.
        machine: Where it ran.
    """

    way: str
    problem: str
    seed: int
    best: tuple[float, ...]
    ms: tuple[float, ...]
    versions: dict[str, str]
    machine: str


def search(way: str, problem: str, trials: int, seed: int) -> LongRun:
    """Search once."""
    function = PROBLEMS[problem]
    history = History(function.space, metric="loss", mode="min")
    proposer: Proposer = WAYS[way](function.space, seed)
    rng, running = np.random.default_rng(seed), list[str]()
    lowest, best, ms = np.inf, list[float](), list[float]()
    ended, since, seconds = 0, 0, 0.0
    while ended < trials:
        start = time.process_time()
        proposer.tell(history.snapshot())
        for proposal in proposer.ask(_RUNNING if not running else _TOGETHER):
            trial_id = str(len(history))
            history.add(trial_id, proposal.config, proposal.origin)
            running.append(trial_id)
        seconds += time.process_time() - start
        for _ in range(_TOGETHER):
            trial_id = running.pop(int(rng.integers(len(running))))
            value = function.loss(history[trial_id].config)
            history.report(trial_id, 1, value)
            history.end(trial_id, TrialState.COMPLETED)
            lowest, ended = min(lowest, value), ended + 1
            if ended in MARKS:
                best.append(lowest)
                ms.append(1e3 * seconds / (len(history) - since))
                since, seconds = len(history), 0.0
    return LongRun(
        way, problem, seed, tuple(best), tuple(np.round(ms, 2).tolist()), versions(()),
        this_machine(),
    )  # fmt: skip


def table(runs: Sequence[LongRun]) -> list[str]:
    """Return the lines of a table: mean distances, and the time of first and last proposals."""
    rows = []
    for problem, way in product(PROBLEMS, WAYS):
        own = [run for run in runs if (run.problem, run.way) == (problem, way)]
        if own:
            best = np.mean([run.best for run in own], axis=0)
            first, last = np.mean([(run.ms[0], run.ms[-1]) for run in own], axis=0)
            cells = [f"{value:.3g}" for value in best]
            rows.append([problem, way, str(len(own)), *cells, f"{first:.1f} to {last:.1f}"])
    marks = [f"{mark:,}" for mark in MARKS[: max((len(run.best) for run in runs), default=0)]]
    return markdown_table(["problem", "way", "runs", *marks, "ms per proposal"], rows)


def load() -> list[LongRun]:
    """Return the stored runs."""
    if not RESULTS.exists():
        return []
    rows = [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    return [LongRun(**{**row, "best": tuple(row["best"]), "ms": tuple(row["ms"])}) for row in rows]


@click.command()
@click.option("--seeds", default=1, show_default=True, help="Seeds, from 0.")
def main(seeds: int) -> None:
    """Run what the results lack, and print the table. `benchmarks.pending` writes the page."""
    runs = load()
    for seed, problem, way in product(range(seeds), PROBLEMS, WAYS):
        if (way, problem, seed) in [(run.way, run.problem, run.seed) for run in runs]:
            continue
        runs.append(search(way, problem, MARKS[-1], seed))
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(runs[-1])) + "\n")
    click.echo("\n".join(table(runs)))


if __name__ == "__main__":
    main()
