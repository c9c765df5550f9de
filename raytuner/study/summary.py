"""Summaries of a study and its trials for a terminal or a notebook."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, SupportsIndex, overload

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raytuner.history import Trial, TrialState, html
from raytuner.report import text
from raytuner.study.standing import broken, failures

if TYPE_CHECKING:
    from raytuner.study.study import Study

_METRICS = 8  # further metrics of the best trial that are shown
_ON_FRONT = 12  # trials of a front that are shown
_BEST = 10  # trials that a notebook shows of a study
_MANY = 60  # a notebook cuts more trials short, as pandas does

_RUNNING = "Running: this is the best so far."
_INTERRUPTED = "Interrupted: this is the best so far."


def summary(study: Study) -> Group:
    """Return the best configuration, how the trials ended, and where the results are."""
    several = len(study.goal.objectives) > 1
    best = study.history.best
    parts: list[RenderableType] = []
    if study.interrupted:
        command = text.printable(f"raytuner resume {shlex.quote(str(study.path))}")
        parts.append(Text(f"{_INTERRUPTED} `{command}` goes on.", style="bold yellow"))
    elif study.running:
        parts.append(Text(_RUNNING, style="bold"))
    if several and (front := study.pareto):
        names = ["trial", *study.goal.metrics]
        rows = [
            [str(trial.number), *(f"{v:.5g}" for v in study.history.metrics_of(trial).values())]
            for trial in front[:_ON_FRONT]
        ]
        parts += [Text(f"Pareto front: {text.count(len(front), 'trial')}", style="bold")]
        parts += [table(names, rows, right=names), Text()]
    if best is not None:
        title = f"Best configuration by {study.metric}" if several else "Best configuration"
        config = {f"  {key}": text.value(item) for key, item in text.flat(best.config)}
        parts += [Text(text.printable(title), style="bold"), _grid(config), Text()]
    below = _lines(study)
    parts.append(_grid({title: text.printable(line) for title, line in below.items()}))
    return Group(*parts)


def _lines(study: Study) -> dict[str, str]:
    """Return what a summary says below the best configuration, by title."""
    best = study.history.best
    if best is None:
        said = {"Best": text.no_value(study.history)}
    else:
        is_full = best.state is TrialState.COMPLETED
        end = ", after" if is_full else ", which was not trained to its end:"
        found = f"{study.metric} {best.value:.5g} in trial {best.number}"
        said = {"Best": f"{found}{end} {text.count(best.t, 'step')}"}
        if bounds := broken(study.history, best):
            said["Constraints"] = f"no trial keeps all; this one breaks {' and '.join(bounds)}"
        if further := [name for name in best.metrics if name != study.metric]:
            shown = {name: best.metrics[name] for name in further[:_METRICS]}
            said["Metrics"] = text.one_line(shown) + (" ..." if len(further) > _METRICS else "")
    if confirmed := study.confirmed:
        first = confirmed[0]
        error = "" if len(first.values) < 2 else f" ± {first.standard_error:.2g}"
        said["Confirmed"] = (
            f"of {text.count(len(confirmed), 'trial')} trained again, trial"
            f" {first.trial.number} is best: {study.metric} {first.mean:.5g}{error} over"
            f" {text.count(len(first.values), 'repeat')}"
        )
    said["Trials"] = f"{sum(study.counts.values())}: {text.states(study.counts)}"
    why = failures(study.failures)
    for number, line in enumerate(why[:5]):
        said["Failures" if number == 0 else " " * number] = line
    if why:
        said[" " * 9] = "what a training raised: error.txt in its trial's folder"
    if proposed := text.proposals(study.history):
        said["Proposals"] = proposed
    if study.max_t is not None and study.trials:
        asked = study.max_t * len(study.trials)
        spent = sum(trial.t for trial in study.trials)
        said["Early stopping"] = (
            f"{spent:g} of {text.count(asked, 'step')} were run ({spent / asked:.0%})"
        )
    said["Results"] = str(study.path)
    return said


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()
) -> Table:
    """Return a table for a terminal, with some columns aligned to the right."""
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        justify: Literal["left", "right"] = "right" if name in right else "left"
        made.add_column(Text(text.printable(name)), justify=justify, overflow="fold")
    for row in rows:
        made.add_row(*(Text(text.printable(cell)) for cell in row))
    return made


def _grid(rows: Mapping[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for title, row in rows.items():
        table.add_row(Text(text.printable(title)), Text(row))
    return table


@dataclass(frozen=True)
class Confirmed:
    """A trial, and the values from training its configuration again.

    Attributes:
        trial: The trial that the search ran.
        values: The metric of each repeat that ended with one.
    """

    trial: Trial
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The repeats' mean; NaN without any. It leaves out the search's own value."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def standard_error(self) -> float:
        """The standard error of the mean; NaN with fewer than two repeats."""
        if len(self.values) < 2:
            return math.nan
        return statistics.stdev(self.values) / math.sqrt(len(self.values))


class Trials(tuple[Trial, ...]):
    """A tuple of trials, which a notebook displays as a table."""

    __slots__ = ()

    @overload
    def __getitem__(self, which: SupportsIndex) -> Trial: ...

    @overload
    def __getitem__(self, which: slice) -> Trials: ...

    def __getitem__(self, which: SupportsIndex | slice) -> Trial | Trials:
        """Return a trial, or those of a slice."""
        found = super().__getitem__(which)
        return Trials(found) if isinstance(found, tuple) else found

    def _repr_html_(self) -> str:
        if not self:
            return "<p>no trials</p>"
        more = len(self) - _MANY
        note = f"<p>and {text.count(more, 'more trial')}</p>" if more > 0 else ""
        return _trials_as_html(self[:_MANY]) + note


def study_as_html(study: Study) -> str:
    """Return what a notebook shows of a study: its summary and its best trials."""
    note = _RUNNING if study.running else ""
    if study.interrupted:
        note = f"{_INTERRUPTED} <code>study.resume()</code> goes on."
    best = study.history.best
    parts = {} if best is None else {"Best configuration": dict(text.flat(best.config))}
    rows = html.table([*parts.items(), *_lines(study).items()])
    ranked = study.ranked[:_BEST]
    trials = _trials_as_html(ranked, study.metric) if ranked else ""
    return f"<p><b>{note}</b></p>{rows}{trials}"


def _trials_as_html(trials: Trials, metric: str = "value") -> str:
    """Return the trials, one in each row; a missing hyperparameter is left empty."""
    configs = [dict(text.flat(trial.config)) for trial in trials]
    names = list(dict.fromkeys(name for config in configs for name in config))
    others = list(dict.fromkeys(name for trial in trials for name in trial.others))
    reason = ["reason"] if any(trial.reason for trial in trials) else []
    rows = (
        [
            *(trial.number, text.WORDS[trial.state], trial.value, *map(trial.value_of, others)),
            f"{trial.t:g}",
            *(config.get(name, "") for name in names),
            *(text.first_line(trial.reason) if trial.reason else "" for _ in reason),
        ]
        for trial, config in zip(trials, configs, strict=True)
    )
    return html.table(rows, ["trial", "state", metric, *others, "t", *names, *reason])
