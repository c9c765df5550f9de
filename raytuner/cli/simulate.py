"""`raytuner simulate`: a recorded study, or a benchmark, on other numbers of workers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import raytuner
from raytuner.cli.common import given_settings, setting_options
from raytuner.cli.loading import load_function
from raytuner.errors import TrainableError
from raytuner.folders import is_uri

if TYPE_CHECKING:
    from raytuner.simulate import Workload
    from raytuner.study.study import Study


@click.command()
@click.argument("study")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    multiple=True,
    required=True,
    help="Trials that run at the same time; give it again to compare.",
)
@click.option(
    "--price-per-hour", type=click.FloatRange(min=0), help="Price of one worker for an hour."
)
@setting_options(["num_samples", "time_budget_s", "max_concurrent_trials", "scheduler"])
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the search.")
def simulate(
    study: str,
    workers: tuple[int, ...],
    price_per_hour: float | None,
    seed: int,
    **options: Any,
) -> None:
    """Predict the time, cost and utilisation of STUDY on other workers.

    STUDY is a study's folder: the search runs again on a virtual clock, with the curves and
    durations that were recorded; nothing is trained. Or it is MODULE:FUNCTION, or
    MODULE:FUNCTION:ARGUMENT, of a function that gives a raytuner.simulate.Workload, such as a
    benchmark: then say how many trials, or for how long. Settings that are not given are those of
    the study, but for one trial proposed ahead.
    """
    from rich.console import Console

    from raytuner.report.text import clock
    from raytuner.simulate import Workload, predict
    from raytuner.study.summary import table

    settings = given_settings(options)
    subject = _subject(study)
    if isinstance(subject, Workload):
        metric, several = subject.metric, False
    else:
        metric, several = subject.history.metric, subject.history.goal.n_objectives > 1
    rows = []
    for count in workers:
        found = predict(subject, workers=count, seed=seed, **settings)
        if several:
            outcome = str(len(found.pareto))
        else:  # of a weighted sum, the best trial's first metric
            outcome = "-" if found.best is None else f"{found.best.value:.5g}"
        run = found.simulation
        hours = run.worker_hours()
        cost = [f"{hours * price_per_hour:,.2f}"] if price_per_hour else []
        used = f"{run.utilisation():.0%}"
        rows.append([str(count), clock(run.end_s), f"{hours:,.2f}", *cost, used, outcome])
    columns = ["workers", "time", "worker-hours", *(["cost"] if price_per_hour else [])]
    columns += ["utilisation", "on the front" if several else f"best {metric}"]
    console = Console()
    console.print(table(columns, rows, right=columns))
    note = (
        f"a trial's start was taken to need {found.startup_s:.1f} s, and trials were judged by"
        f" {found.scheduler}."
    )
    if found.recorded_s is None:
        note = note[0].upper() + note[1:]
    else:
        note = (
            f"The recorded study took {clock(found.recorded_s)}; {note} In the last row"
            f" {found.borrowed} of {len(run.trials)} trials had a new configuration, and"
            " the curve of the nearest recorded one."
        )
    console.print(note, style="dim")


def _subject(study: str) -> Study | Workload:
    """Return the study or workload of a name; a folder goes before a function."""
    from raytuner.simulate import Workload

    if is_uri(study) or Path(study).is_dir():
        return raytuner.load(study)
    if ":" not in study:
        raise click.UsageError(
            f"there is no folder {study!r}; STUDY is a study's folder, or MODULE:FUNCTION of a"
            " function that gives a raytuner.simulate.Workload"
        )
    module, function, *argument = study.split(":", 2)
    made = load_function(f"{module}:{function}")(*argument)
    if not isinstance(made, Workload):
        raise TrainableError(
            f"{study!r} gave {made!r} ({type(made).__name__}); it must give a"
            " raytuner.simulate.Workload"
        )
    return made
