"""What a person reads at the end of a study."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raytuner.history import Trial, TrialState, causes
from raytuner.report import text
from raytuner.study.standing import broken

if TYPE_CHECKING:
    from raytuner.study.study import Study

_METRICS = 8  # further metrics of the best trial that are shown
_ON_FRONT = 12  # so many of its trials are shown

RUNNING = "Running: this is the best so far."


def summary(study: Study, *, unit: str = "step", more: Mapping[str, str] | None = None) -> Group:
    """The best configuration, how the trials ended, what early stopping saved, and where it is.

    Args:
        study: The study.
        unit: What a unit of the resource is called, in the singular.
        more: Further lines that belong to the best configuration, by title.
    """
    several = len(study.goal.objectives) > 1
    best = study.history.best()
    parts: list[RenderableType] = []
    if study.interrupted:
        command = text.printable(f"raytuner resume {shlex.quote(str(study.path))}")
        said = f"Interrupted: this is the best so far. `{command}` goes on."
        parts.append(Text(said, style="bold yellow"))
    elif study.running:
        parts.append(Text(RUNNING, style="bold"))
    if several and (front := study.pareto):
        parts += [Text(f"Pareto front: {text.count(len(front), 'trial')}", style="bold")]
        parts += [_front(study, front), Text()]
    if best is not None:
        title = f"Best configuration by {study.metric}" if several else "Best configuration"
        parts += [Text(text.printable(title), style="bold"), _grid(best.config), Text()]
    below = lines(study, unit=unit, more=more)
    parts.append(_table({title: Text(text.printable(line)) for title, line in below.items()}))
    return Group(*parts)


def lines(
    study: Study, *, unit: str = "step", more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return what :func:`summary` says below the best configuration, by title."""
    said = {"Best": _best(study, unit), **(more or {})}
    best = study.history.best()
    if best is not None and (bounds := broken(study.history, best)):
        said["Constraints"] = f"no trial keeps all; this one breaks {' and '.join(bounds)}"
    if best is not None and (further := [n for n in best.metrics if n != study.metric]):
        shown = {name: best.metrics[name] for name in further[:_METRICS]}
        said["Metrics"] = text.one_line(shown) + (" ..." if len(further) > _METRICS else "")
    if study.confirmed:
        said["Confirmed"] = _confirmed(study)
    said["Trials"] = f"{sum(study.counts.values())}: {text.states(study.counts)}"
    failures = causes(study.failures)
    for number, (times, reason) in enumerate(failures[:5]):
        first = text.first_line(reason)
        said["Failures" if number == 0 else " " * number] = f"{times} x {first}"
    if failures:
        said[" " * 9] = "what a training raised: error.txt in its trial's folder"
    if proposed := text.proposals(study.history):
        said["Proposals"] = proposed
    if saved := _saved(study, unit):
        said["Early stopping"] = saved
    said["Results"] = str(study.path)
    return said


def _front(study: Study, front: Sequence[Trial]) -> Table:
    """The front's trials by their metrics."""
    table = Table(box=None, header_style="bold", padding=(0, 2))
    for name in ("trial", *study.goal.metrics):
        table.add_column(Text(text.printable(name)), justify="right")
    for trial in front[:_ON_FRONT]:
        values = study.history.metrics_of(trial).values()
        table.add_row(str(trial.number), *(f"{value:.5g}" for value in values))
    if len(front) > _ON_FRONT:
        table.add_row("...", *("" for _ in study.goal.metrics))
    return table


def _best(study: Study, unit: str) -> str:
    best = study.history.best()
    if best is None:
        return text.no_value(study.history)
    end = f"{study.metric} {best.value:.5g} in trial {best.number}"
    if best.state is TrialState.COMPLETED:
        return f"{end}, after {text.count(best.t, unit)}"
    return f"{end}, which was not trained to its end: {text.count(best.t, unit)}"


def _confirmed(study: Study) -> str:
    """What the best of the repeated trials came to."""
    first = study.confirmed[0]
    error = "" if len(first.values) < 2 else f" ± {first.standard_error:.2g}"
    return (
        f"of {text.count(len(study.confirmed), 'trial')} trained again, trial"
        f" {first.trial.number} is best: {study.metric} {first.mean:.5g}{error} over"
        f" {text.count(len(first.values), 'repeat')}"
    )


def _saved(study: Study, unit: str) -> str | None:
    """What was spent of what the trials would have taken in full."""
    if study.max_t is None or not study.trials:
        return None
    asked = study.max_t * len(study.trials)
    share = study.resource_spent / asked
    return f"{study.resource_spent:g} of {text.count(asked, unit)} were run ({share:.0%})"


def _grid(config: Mapping[str, object]) -> Table:
    return _table({f"  {key}": Text(text.value(item)) for key, item in text.flat(config)})


def _table(rows: Mapping[str, Text]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for title, row in rows.items():
        table.add_row(Text(text.printable(title)), row)
    return table
