"""``python -m benchmarks.forecasts``: whether the chances that forecasts give trials are true.

A search runs on each development instance of LCBench, on the virtual clock. Whenever a trial's
epochs have doubled, the forecaster that `PredictiveTerminationScheduler` asks is asked for the
trial's chance to end better than its rival. Trials are then stopped by chance, whatever it says, so
that all kinds of forecasts are seen. The surrogate knows how every trial would have ended.
"""

from __future__ import annotations

import os

# Before NumPy and torch come in: the cores are for whole processes.
os.environ["OMP_NUM_THREADS"] = "1"

import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from benchmarks import lcbench
from benchmarks.race.runs import this_machine
from benchmarks.race.table import markdown_table
from raytuner import BoTorchSearch
from raytuner.bayes import Forecaster
from raytuner.halving import rung_levels
from raytuner.simulate import Cluster, simulate

RUNGS = rung_levels(1, lcbench.MAX_T, 2)
STOP_AT_A_RUNG = 0.3  # whatever the forecast
LEAST_CHANCE = 0.05  # the scheduler's default
BINS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Said:
    """One forecast, and what happened.

    Attributes:
        instance: The data set.
        seed: Of the search.
        t: Epochs that the trial had run.
        chance: That it would end better than its rival.
        won: Whether it does, trained in full.
    """

    instance: str
    seed: int
    t: int
    chance: float
    won: bool


class Asking(FIFOScheduler):
    """Asks for a forecast at each rung, and stops trials by chance.

    Args:
        searcher: The searcher beside it.
        seed: Of the chance.
    """

    def __init__(self, searcher: BoTorchSearch, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._searcher = searcher
        self._rng = random.Random(seed)
        self._forecaster: Forecaster | None = None
        self.forecasts: list[tuple[str, int, float, str]] = []  # trial, t, chance, rival

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Nothing to know."""
        return True

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        """Ask at a rung."""
        t, trial_id = int(result["training_iteration"]), str(trial.trial_id)
        if t not in RUNGS:
            return self.CONTINUE
        space, snapshot = self._searcher.curves_with(trial_id, t, result[lcbench.METRIC])
        self._forecaster = self._forecaster or Forecaster(space)
        forecast = self._forecaster(snapshot, trial_id)
        if forecast is not None:
            self.forecasts.append((trial_id, t, forecast.chance, forecast.rival))
        if self._rng.random() < STOP_AT_A_RUNG:
            self._searcher.on_trial_stopped(trial_id, "by chance")
            return self.STOP
        return self.CONTINUE


def ask(data: lcbench.LCBench, instance: str, seed: int, trials: int) -> list[Said]:
    """One search, and what was said in it."""
    problem = data.problem(instance)
    searcher = BoTorchSearch(background=False, seed=seed)
    scheduler = Asking(searcher, seed)
    simulate(
        problem.objective,
        problem.space,
        searcher=searcher,
        scheduler=scheduler,
        metric=problem.metric,
        mode=problem.mode,
        num_samples=trials,
        cluster=Cluster(workers=8),
        max_t=problem.max_t,
        seed=seed,
    )
    end = {
        trial.trial_id: data.predict(
            instance,
            [problem.max_t],
            [[float(trial.config[name]) for name in lcbench.HYPERPARAMETERS]],
        )[0].item()
        for trial in searcher.history.trials
    }
    return [
        Said(instance, seed, t, round(chance, 5), end[trial_id] > end[rival])
        for trial_id, t, chance, rival in scheduler.forecasts
    ]


def page(said: Sequence[Said], trials: int) -> str:
    """The tables, as Markdown."""
    chance = np.array([s.chance for s in said])
    won = np.array([s.won for s in said])
    t = np.array([s.t for s in said])
    bins = []
    for least, most in pairwise(BINS):
        these = (chance >= least) & ((chance < most) | (most == BINS[-1]))
        if these.any():
            share = f"{won[these].mean():.3f}"
            bins.append(
                (f"{least:g} to {most:g}", str(these.sum()), f"{chance[these].mean():.3f}", share)
            )
    rungs = []
    for rung in RUNGS:
        here = t == rung
        low = here & (chance < LEAST_CHANCE)
        lost = f"{won[low].mean():.3f}" if low.any() else ""
        rungs.append((f"{rung:g}", str(here.sum()), str(low.sum()), str(won[low].sum()), lost))
    low = chance < LEAST_CHANCE
    share = f"{won[low].mean():.3f}"
    rungs.append(("all", str(len(said)), str(low.sum()), str(won[low].sum()), share))
    instances = sorted({s.instance for s in said}, key=int)
    seeds = sorted({s.seed for s in said})
    packages = ", ".join(f"{name} {version(name)}" for name in ("raytuner", "torch", "botorch"))
    return "\n".join(
        [
            "# Are the forecasts true?",
            "",
            "Chances of trials to end better than their rivals, as forecast from their curves so"
            " far, against how they would have ended. Written by `python -m benchmarks.forecasts`"
            " (how: the file's first lines).",
            "",
            f"LCBench, development instances {', '.join(instances)}; seeds"
            f" {', '.join(map(str, seeds))}; {trials} trials each, 8 workers.",
            "",
            "![Reliability](plots/forecasts.svg)",
            "",
            *markdown_table(("chance", "forecasts", "mean chance", "share that won"), bins),
            "",
            f"Forecasts below {LEAST_CHANCE:g}, which make `PredictiveTerminationScheduler` stop a"
            " trial, by the epochs that the trial had run:",
            "",
            *markdown_table(
                ("epochs", "forecasts", "below", "of these would have won", "share"), rungs
            ),
            "",
            f"{this_machine()}; {packages}.",
            "",
        ]
    )


def draw(said: Sequence[Said], file: Path) -> None:
    """A reliability plot."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "raytuner", "svg.fonttype": "none"})
    from matplotlib import pyplot

    chance = np.array([s.chance for s in said])
    won = np.array([s.won for s in said])
    edges = np.linspace(0.0, 1.0, 11)
    place = np.clip(np.digitize(chance, edges) - 1, 0, 9)
    full = [b for b in range(10) if (place == b).any()]
    share = np.array([won[place == b].mean() for b in full])
    count = np.array([(place == b).sum() for b in full])
    error = 1.96 * np.sqrt(np.maximum(share * (1 - share), 0.25 / count) / count)
    figure, axes = pyplot.subplots(figsize=(5.0, 5.0), layout="constrained")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    means = [chance[place == b].mean() for b in full]
    axes.errorbar(means, share, yerr=error, marker="o", capsize=3)
    axes.set_xlabel("chance that was forecast")
    axes.set_ylabel("share that won, with 95 % intervals")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


@click.command()
@click.option(
    "--data",
    envvar=lcbench.DATA_VARIABLE,
    required=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help=f"Folder of YAHPO's data, which holds lcbench/. Environment: {lcbench.DATA_VARIABLE}.",
)
@click.option("--trials", default=100, show_default=True, type=click.IntRange(10))
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(1), help="From 0.")
@click.option(
    "--out",
    default=Path("benchmarks/FORECASTS.md"),
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page; beside it go forecasts.jsonl, what was said, and plots/forecasts.svg.",
)
def main(data: Path, trials: int, seeds: int, out: Path) -> None:
    """Ask for forecasts in searches on the development instances, and hold them to the truth."""
    surrogate = lcbench.load(data)
    said: list[Said] = []
    for seed in range(seeds):
        for instance in lcbench.DEVELOPMENT:
            said += ask(surrogate, instance, seed, trials)
            print(f"{instance}, seed {seed}: {len(said)} forecasts so far", file=sys.stderr)
    (out.parent / "plots").mkdir(parents=True, exist_ok=True)
    raw = out.parent / "forecasts.jsonl"
    raw.write_text("".join(f"{json.dumps(asdict(s))}\n" for s in said), encoding="utf-8")
    draw(said, out.parent / "plots" / "forecasts.svg")
    out.write_text(page(said, trials), encoding="utf-8")
    click.echo(f"{out}: {len(said)} forecasts")


if __name__ == "__main__":
    main()
