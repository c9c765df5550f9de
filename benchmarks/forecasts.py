"""``python -m benchmarks.forecasts``: whether the forecasts of trials come true.

A search runs on each development instance of LCBench, on the virtual clock. Whenever a trial's
epochs have doubled, the forecaster of `PredictiveTerminationScheduler` gives the trial's chance to
end better than its rival. Trials then stop at random, whatever the forecast says, so that all kinds
of forecasts occur. The surrogate knows how every trial would have ended.

Then the schedulers that use forecasts run the same searches. For each trial that they ended, the
page says whether it would have been the best.
"""

from __future__ import annotations

import os

# Before NumPy and torch come in: the cores are for whole processes.
os.environ["OMP_NUM_THREADS"] = "1"

import json
import math
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

from benchmarks import yahpo
from benchmarks.problem import Problem
from benchmarks.race.runs import this_machine
from benchmarks.race.table import markdown_table, prose
from raytuner import BoTorchSearch, FreezeThawScheduler, PredictiveTerminationScheduler
from raytuner.bayes import Forecaster
from raytuner.halving import bracket_levels
from raytuner.history import TrialState
from raytuner.simulate import Cluster, simulate

RUNGS = bracket_levels(1, yahpo.LCBENCH.max_t, 2)[0]
STOP_AT_A_RUNG = 0.3  # whatever the forecast
LEAST_CHANCE = 0.05  # PredictiveTerminationScheduler's default
HOPELESS = 0.001  # with a lower chance FreezeThawScheduler ends a trial
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


@dataclass(frozen=True)
class Ended:
    """What a scheduler made of a search.

    Attributes:
        scheduler: Its name.
        instance: The data set.
        seed: Of the search.
        trials: How many trials there were.
        completed: How many were trained in full.
        epochs: Epochs of all trials, in full trainings.
        stopped: How many were stopped at a rung.
        stopped_won: How many of these would have ended better than all that were trained in full.
        left: How many were paused when the search ended, with too low a chance to go on.
        left_won: How many of these would have.
    """

    scheduler: str
    instance: str
    seed: int
    trials: int
    completed: int
    epochs: float
    stopped: int
    stopped_won: int
    left: int
    left_won: int


SCHEDULERS = (PredictiveTerminationScheduler, FreezeThawScheduler)


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
        self._searcher.record(trial_id, result)
        history = self._searcher.history
        self._forecaster = self._forecaster or Forecaster(history.space)
        found = self._forecaster.outlook(history.snapshot(), [trial_id], is_last=True)
        if found is not None and found.incumbent != trial_id:
            self.forecasts.append((trial_id, t, found.chance[trial_id], found.incumbent))
        if self._rng.random() < STOP_AT_A_RUNG:
            history.end(trial_id, TrialState.STOPPED_EARLY, "by chance")
            return self.STOP
        return self.CONTINUE


def ask(data: yahpo.Surrogate, instance: str, seed: int, trials: int) -> list[Said]:
    """One search, and what was said in it."""
    searcher = BoTorchSearch(background=False, seed=seed)
    scheduler = Asking(searcher, seed)
    search(data.problem(instance), seed, trials, searcher, scheduler)
    end = ends(data, instance, searcher)
    return [
        Said(instance, seed, t, round(chance, 5), end[trial_id] > end[rival])
        for trial_id, t, chance, rival in scheduler.forecasts
    ]


def end(
    data: yahpo.Surrogate,
    instance: str,
    seed: int,
    trials: int,
    kind: type[PredictiveTerminationScheduler | FreezeThawScheduler],
) -> Ended:
    """One search under a scheduler that goes by forecasts."""
    searcher = BoTorchSearch(background=False, seed=seed)
    search(data.problem(instance), seed, trials, searcher, kind(max_t=yahpo.LCBENCH.max_t))
    in_the_end = ends(data, instance, searcher)
    found = searcher.history.trials
    completed = [t for t in found if t.state is TrialState.COMPLETED]
    best = max((in_the_end[trial.trial_id] for trial in completed), default=-math.inf)
    early = [t for t in found if t.state is TrialState.STOPPED_EARLY]
    paused = [t for t in early if "while it was paused" in t.reason]
    at_a_rung = [t for t in early if t not in paused]
    return Ended(
        scheduler=kind.__name__,
        instance=instance,
        seed=seed,
        trials=len(found),
        completed=len(completed),
        epochs=round(sum(t.values[-1][0] for t in found if t.values) / yahpo.LCBENCH.max_t, 2),
        stopped=len(at_a_rung),
        stopped_won=sum(in_the_end[t.trial_id] > best for t in at_a_rung),
        left=len(paused),
        left_won=sum(in_the_end[t.trial_id] > best for t in paused),
    )


def search(
    problem: Problem, seed: int, trials: int, searcher: BoTorchSearch, scheduler: Any
) -> None:
    """Run a search, to its end."""
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


def ends(data: yahpo.Surrogate, instance: str, searcher: BoTorchSearch) -> dict[str, float]:
    """What each trial comes to, trained in full."""
    return {
        trial.trial_id: data.predict(instance, yahpo.LCBENCH.max_t, trial.config)[0].item()
        for trial in searcher.history.trials
    }


def page(said: Sequence[Said], ended: Sequence[Ended], trials: int) -> str:
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
    for name, here in [*((f"{rung:g}", t == rung) for rung in RUNGS), ("all", t > 0)]:
        cells = [name, str(here.sum())]
        for limit in (LEAST_CHANCE, HOPELESS):
            low = here & (chance < limit)
            lost = f"{won[low].mean():.3f}" if low.any() else ""
            cells += [str(low.sum()), str(won[low].sum()), lost]
        rungs.append(tuple(cells))
    instances = sorted({s.instance for s in said}, key=int)
    seeds = sorted({s.seed for s in said})
    packages = ", ".join(f"{name} {version(name)}" for name in ("raytuner", "torch", "botorch"))
    return "\n".join(
        [
            "# Are the forecasts true?",
            "",
            prose(
                "A forecast gives the chance that a trial ends better than the incumbent, from the"
                " learning curves so far. This page compares these chances with how the trials"
                " would have ended. `python -m benchmarks.forecasts` writes it. The first lines of"
                " `forecasts.py` describe the method."
            ),
            "",
            prose(
                f"LCBench, development instances {', '.join(instances)}; seeds"
                f" {', '.join(map(str, seeds))}; {trials} trials per search, 8 workers."
            ),
            "",
            "![Reliability](plots/forecasts.svg)",
            "",
            *markdown_table(("chance", "forecasts", "mean chance", "share that won"), bins),
            "",
            prose(
                f"Low forecasts, by the epochs that the trial had run. Below {LEAST_CHANCE:g},"
                " `PredictiveTerminationScheduler` stops a trial. Below"
                f" {HOPELESS:g}, `FreezeThawScheduler` stops a trial instead of pausing it:"
            ),
            "",
            *markdown_table(
                (
                    "epochs",
                    "forecasts",
                    *(
                        cell
                        for limit in (LEAST_CHANCE, HOPELESS)
                        for cell in (f"below {limit:g}", "of these would have won", "share")
                    ),
                ),
                rungs,
            ),
            "",
            prose(
                'The same searches with the schedulers themselves. Here, a trial "would have won"'
                " if it would have been better than all trials that the search trained in full. A"
                f' trial is "left" if it was paused, with a chance below {LEAST_CHANCE:g}, when no'
                ' new trial was to come. "Epochs" sums over all trials, in full trainings.'
            ),
            "",
            *markdown_table(
                (
                    "scheduler",
                    "searches",
                    "trials",
                    "epochs",
                    "in full",
                    "stopped",
                    "of these would have won",
                    "left",
                    "of these would have won",
                ),
                [_totals(kind.__name__, ended) for kind in SCHEDULERS],
            ),
            "",
            f"{this_machine()}; {packages}.",
            "",
        ]
    )


def _totals(scheduler: str, ended: Sequence[Ended]) -> tuple[str, ...]:
    mine = [one for one in ended if one.scheduler == scheduler]
    counts = (
        sum(getattr(one, name) for one in mine)
        for name in ("trials", "epochs", "completed", "stopped", "stopped_won", "left", "left_won")
    )
    return (f"`{scheduler}`", str(len(mine)), *(f"{count:.0f}" for count in counts))


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
    envvar=yahpo.DATA_VARIABLE,
    required=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help=f"Folder of YAHPO's data, which holds lcbench/. Environment: {yahpo.DATA_VARIABLE}.",
)
@click.option("--trials", default=100, show_default=True, type=click.IntRange(10))
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(1), help="From 0.")
@click.option(
    "--out",
    default=Path("benchmarks/FORECASTS.md"),
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page; beside it go forecasts.jsonl and stops.jsonl, what was said and how searches"
    " ended, and plots/forecasts.svg.",
)
def main(data: Path, trials: int, seeds: int, out: Path) -> None:
    """Ask for forecasts in searches on the development instances, and hold them to the truth."""
    surrogate = yahpo.load(data)
    said: list[Said] = []
    ended: list[Ended] = []
    for seed in range(seeds):
        for instance in yahpo.LCBENCH.development:
            said += ask(surrogate, instance, seed, trials)
            ended += [end(surrogate, instance, seed, trials, kind) for kind in SCHEDULERS]
            print(f"{instance}, seed {seed}: {len(said)} forecasts so far", file=sys.stderr)
    (out.parent / "plots").mkdir(parents=True, exist_ok=True)
    for name, rows in (("forecasts", said), ("stops", ended)):
        raw = "".join(f"{json.dumps(asdict(row))}\n" for row in rows)
        (out.parent / f"{name}.jsonl").write_text(raw, encoding="utf-8")
    draw(said, out.parent / "plots" / "forecasts.svg")
    out.write_text(page(said, ended, trials), encoding="utf-8")
    click.echo(f"{out}: {len(said)} forecasts")


if __name__ == "__main__":
    main()
