"""`raytuner simulate`: predict a study or a benchmark on other numbers of workers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import raytuner
from raytuner.cli.common import given_settings, setting_options
from raytuner.cli.loading import load_function
from raytuner.errors import TrainableError
from raytuner.folders import is_uri
from raytuner.history import Goal, History

if TYPE_CHECKING:
    from raytuner.simulate import Advice, FleetPrediction, SearchPrediction, Workload
    from raytuner.study.study import Study

_WORKERS = (8, 64, 256, 1000)


@click.command()
@click.argument("study")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    multiple=True,
    help="Number of trials that run at the same time. Repeat the option to compare.  [default: 8,"
    " 64, 256, 1000, at most the number of trials]",
)
@click.option(
    "--price-per-hour",
    type=click.FloatRange(min=0),
    help="Price of one worker for an hour.  [default: what the study spent per worker and hour, if"
    " it counted dollars]",
)
@setting_options(["num_samples", "time_budget_s", "max_concurrent_trials", "scheduler"])
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Number of searches, with different seeds, for each number of workers. Shows means.",
)
def simulate(
    study: str,
    workers: tuple[int, ...],
    price_per_hour: float | None,
    seeds: int,
    **options: Any,
) -> None:
    """Predict time, cost and result of STUDY on other numbers of workers, and recommend one.

    STUDY is a study's folder. The search runs again on a virtual clock, with the recorded curves
    and durations. Nothing is trained. Settings that are not given are those of the study, except
    that one trial is proposed ahead.

    STUDY can also be MODULE:FUNCTION or MODULE:FUNCTION:ARGUMENT, a function that returns a
    raytuner.simulate.Workload, such as a benchmark. Give the number of trials or a time budget
    then.

    The recommendation goes from one number of workers in the table to the next larger one if three
    conditions hold: time falls by a larger factor than worker-hours rise, worker-hours rise by at
    most a half, and the value is not worse. If the time budget ends the search, it is the smallest
    number whose value is not worse than any in the table. A value is worse if the difference is
    above the standard deviation over the seeds.
    """
    from rich.console import Console

    from raytuner.report.text import clock, printable
    from raytuner.simulate import FleetPrediction, Workload, advise, predict
    from raytuner.study.summary import table

    settings = given_settings(options)
    subject = _subject(study)
    if isinstance(subject, Workload):
        goal, gpus, trials = Goal.of(subject.metric, subject.mode), 0.0, -1
    else:
        history = subject.history
        goal, gpus, trials = history.goal, _gpus(history.get_meta("settings")), len(history)
        price_per_hour = _price(history) if price_per_hour is None else price_per_hour
    trials = settings.get("num_samples", trials)
    most = trials if trials > 0 else math.inf
    console, fleets, rows = Console(), [], []
    for count in sorted(set(workers or (int(min(count, most)) for count in _WORKERS))):
        found = []
        for seed in range(seeds):
            with console.status(f"{count} workers, seed {seed}"):
                found.append(predict(subject, workers=count, seed=seed, **settings))
        runs, values = [one.simulation for one in found], [_value(goal, one) for one in found]
        fleets.append(fleet := FleetPrediction.of(count, runs, values))
        if goal.n_objectives > 1:
            outcome = f"{statistics.fmean(len(one.pareto) for one in found):.3g}"
        else:
            outcome = _outcome(fleet, seeds)
        cost = [f"{fleet.hours * price_per_hour:,.2f}"] if price_per_hour else []
        hours = f"{fleet.hours * (gpus or 1):,.2f}"
        rows.append(
            [str(count), clock(fleet.seconds), hours, *cost, f"{fleet.utilisation:.0%}", outcome]
        )
    name, mode = _name(goal)
    unit = "GPU-hours" if gpus else "worker-hours"
    columns = ["workers", "time", unit, *(["cost"] if price_per_hour else []), "utilisation", name]
    console.print(table(columns, rows, right=columns))
    if advice := advise(fleets, mode):
        said = _sentences(advice, fleets[0], name, seeds)
        if advice.after is None and advice.chosen.workers < most:
            said += " Even more workers may be worthwhile."
        console.print(printable(said), highlight=False, markup=False)
    elif len(fleets) > 1:
        console.print(
            "There is no recommendation: with a time budget it depends on the best value, and not"
            " every search has one."
        )
    if max(workers or _WORKERS) > most:
        console.print(f"With {trials} trials, at most {trials} workers are ever busy.")
    console.print(_assumptions(found[-1], seeds), style="dim")


def _sentences(advice: Advice, first: FleetPrediction, name: str, seeds: int) -> str:
    """Return the recommendation, the reason, and why more workers are not worthwhile."""
    from raytuner.simulate.advice import DEAREST_STEP

    chosen, after = advice.chosen, advice.after
    said = f"Recommended: {chosen.workers} workers."
    if advice.in_budget:
        said += f" It is the smallest number whose {name} is not worse than any other in the table"
        said += ", apart from differences between seeds." if seeds > 1 else "."
    elif chosen is not first:
        said += " Up to this number, time falls by a larger factor than worker-hours rise."
    if after is None:
        return said
    said += f" More are not worthwhile: {after.workers} workers"
    hours = f"{_ratio(after.hours, chosen.hours):.2g} times the worker-hours"
    if advice.reason == "cost":
        hours += f" (the limit is {DEAREST_STEP:g} times)"
    if advice.reason != "value":
        return f"{said} take {_ratio(after.seconds, chosen.seconds):.0%} of the time and {hours}."
    said += f" find {_outcome(after, seeds)} instead of {_outcome(chosen, seeds)}"
    return said + (f" for {hours}." if advice.in_budget else ".")


def _assumptions(found: SearchPrediction, seeds: int) -> str:
    from raytuner.report.text import clock, count

    said = (
        f"Assumptions: a trial takes {found.startup_s:.1f} s to start; the scheduler is"
        f" {found.scheduler}."
    )
    if seeds > 1:
        said = f"Means over {seeds} seeds; ± is the standard deviation. {said}"
    if found.recorded_s is not None:
        said += (
            f" The recorded study took {clock(found.recorded_s)}. In the last search,"
            f" {found.borrowed} of {count(len(found.simulation.trials), 'trial')} had a new"
            " configuration and used the curve of the nearest recorded one."
        )
    return said


def _outcome(fleet: FleetPrediction, seeds: int) -> str:
    """Return the mean of the best values, with their standard deviation if known."""
    if fleet.value is None:
        return "-"
    return f"{fleet.value:.5g}" + (f" ± {fleet.spread:.2g}" if seeds > 1 else "")


def _ratio(one: float, other: float) -> float:
    return one / other if other else 1.0


def _name(goal: Goal) -> tuple[str, str]:
    """Return the name of the last column and the mode of its values."""
    if goal.weights is not None:
        return "best weighted sum", "max"
    first = goal.objectives[0]
    return "on the front" if goal.n_objectives > 1 else f"best {first.metric}", first.mode


def _value(goal: Goal, found: SearchPrediction) -> float | None:
    """Return the best value of a search; None if there is none, or several objectives."""
    if found.best is None or goal.n_objectives > 1:
        return None
    return goal.outcomes(found.best.metrics)[0] if goal.weights is not None else found.best.value


def _gpus(settings: Mapping[str, Any] | None) -> float:
    """Return the GPUs of each trial of a study; 0 if the record has no number."""
    from raytuner.placement.request import ResourceRequest

    resources = (settings or {}).get("resources")
    if not isinstance(resources, Mapping):
        return 0.0
    return sum(bundle.get("GPU", 0.0) for bundle in ResourceRequest.of(resources).all_bundles)


def _price(history: History) -> float | None:
    """Return the US dollars that a study spent per worker and hour; None if it counted none."""
    from raytuner.report.events import stays, use
    from raytuner.report.text import SPENT

    spent = history.get_meta(SPENT, {}).get("usd", 0.0)
    total_s = use(
        stays(history, history.last_event_at), [run["at"] for run in history.get_meta("runs", [])]
    ).total
    return spent / total_s * 3600 if spent and total_s else None


def _subject(study: str) -> Study | Workload:
    """Return the study or workload of a name; a folder takes precedence over a function."""
    from raytuner.simulate import Workload

    if is_uri(study) or Path(study).is_dir():
        return raytuner.load(study)
    if ":" not in study:
        raise click.UsageError(
            f"there is no folder {study!r}; STUDY must be a study's folder, or the MODULE:FUNCTION"
            " of a function that returns a raytuner.simulate.Workload"
        )
    module, function, *argument = study.split(":", 2)
    made = load_function(f"{module}:{function}")(*argument)
    if not isinstance(made, Workload):
        raise TrainableError(
            f"{study!r} returned {made!r} ({type(made).__name__}); it must return a"
            " raytuner.simulate.Workload"
        )
    return made
