"""A study as text and tables: its progress, its summary and its trials."""

from __future__ import annotations

import math
import shlex
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, overload

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raytuner.folders import Folder
from raytuner.history import History, Trial, TrialState, causes, html, who_writes
from raytuner.report import text
from raytuner.search.restore import record_at

if TYPE_CHECKING:
    from raytuner.study.study import Study

_FEW_TRIALS = 3  # least number of ended trials for an estimate of the time left
_SILENT_S = 300.0  # without an event, after which a lock at a URI no longer counts
_METRICS = 8  # further metrics of the best trial to show
_ON_FRONT = 12  # trials of a front to show
_BEST = 10  # trials of a study that a notebook shows
_MANY = 60  # largest number of trials in a notebook's table, as in pandas

_RUNNING = "The study is running. Best so far:"
_INTERRUPTED = "The study was interrupted. Continue with {}. Best so far:"


@dataclass(frozen=True, repr=False)
class Standing:
    """The progress of a study at one moment.

    Attributes:
        counts: Number of trials in each state.
        num_samples: Number of trials of the study; -1 for no limit.
        elapsed_s: Seconds since the run began.
        time_budget_s: Seconds it may take; None for no limit.
        metric: Name of the objective.
        best: The best trial so far.
        front: Number of trials on the Pareto front; None with one objective.
        broken: The outcome constraints that the best trial violates, as text.
        max_t: A trial's full resource.
        done_before: Number of trials that had ended before this run began.
        since_improved_s: Seconds since the best improved in this run; None if it did not.
        busy: Number of running trials; None if unknown.
        starting: Number of trials whose process is starting in a free slot.
        slots: Number of trials that fit on the cluster; None if unknown.
        failures: Why trials failed, the most frequent cause first.
        spent: US dollars and GPU-hours spent, by unit.
        budget: The budget by unit.
        budget_left_s: Estimated seconds until the budget is used up; None if unknown.

    Examples:
        >>> Standing({TrialState.RUNNING: 2}, num_samples=9, elapsed_s=61)
        1:01 | 0 of 9 done: 2 running | best: no value yet
    """

    counts: Mapping[TrialState, int]
    num_samples: int
    elapsed_s: float
    time_budget_s: float | None = None
    metric: str = ""
    best: Trial | None = None
    front: int | None = None
    broken: tuple[str, ...] = ()
    max_t: float | None = None
    done_before: int = 0
    since_improved_s: float | None = None
    busy: int | None = None
    starting: int = 0
    slots: int | None = None
    failures: tuple[str, ...] = ()
    spent: Mapping[str, float] = field(default_factory=dict)
    budget: Mapping[str, float] = field(default_factory=dict)
    budget_left_s: float | None = None

    @property
    def done(self) -> int:
        """Number of trials that have ended."""
        return sum(n for state, n in self.counts.items() if not state.is_live)

    @property
    def share(self) -> float | None:
        """The share of the study that is done, in [0, 1]; None without a limit."""
        shares = []
        if self.num_samples > 0:
            shares.append(self.done / self.num_samples)
        if self.time_budget_s is not None:
            shares.append(self.elapsed_s / self.time_budget_s)
        shares += [self.spent.get(unit, 0.0) / limit for unit, limit in self.budget.items()]
        return min(max(shares), 1.0) if shares else None

    @property
    def left_s(self) -> float | None:
        """Estimated seconds left, at the pace so far; None if unknown."""
        left = [] if self.budget_left_s is None else [self.budget_left_s]
        if self.num_samples > 0:
            ended = self.done - self.done_before
            if ended < _FEW_TRIALS:
                return None
            left.append(self.elapsed_s / ended * (self.num_samples - self.done))
        if self.time_budget_s is not None:
            left.append(self.time_budget_s - self.elapsed_s)
        return max(min(left), 0.0) if left else None

    def lines(self) -> dict[str, str]:
        """Return the lines for a person, by title."""
        budget = self.time_budget_s
        of_budget = "" if budget is None else f" of {text.clock(budget)}"
        of_samples = f" of {self.num_samples}" if self.num_samples > 0 else ""
        left = self.left_s
        of_left = "" if left is None or self.share == 1 else f", about {text.clock(left)} left"
        lines = {
            "time": f"{text.clock(self.elapsed_s)}{of_budget}{of_left}",
            "trials": f"{self.done}{of_samples} done: {text.states(self.counts)}",
        }
        if self.busy is not None:
            of_slots = "" if self.slots is None else f" of {self.slots}"
            starting = f", {self.starting} starting" if self.starting else ""
            lines["slots"] = f"{self.busy}{of_slots} busy{starting}"
        if cost := text.expenses(self.spent, self.budget):
            lines["cost"] = cost
        lines["best"] = "no value yet"
        if (best := self.best) is not None:
            of_max = "" if self.max_t is None else f" of {self.max_t:g}"
            since = self.since_improved_s
            ago = "" if since is None else f", {text.clock(since)} ago"
            broken = f", violates {' and '.join(self.broken)}" if self.broken else ""
            lines["best"] = (
                f"{self.metric} {best.value:.5g} (trial {best.number} at"
                f" {best.t:g}{of_max}{ago}){broken}: {text.one_line(best.config)}"
            )
        if self.front is not None:
            lines["front"] = f"{text.count(self.front, 'trial')} on the Pareto front"
        if self.failures:
            lines["failed"] = "; ".join(self.failures)
        return lines

    def figures(self) -> dict[str, Any]:
        """Return the progress for machines, as a JSON object; unknown figures are None."""
        names = "elapsed_s left_s time_budget_s num_samples done busy starting slots metric front"
        names += " broken since_improved_s failures spent budget"
        figures = {name: getattr(self, name) for name in names.split()}
        figures["states"] = {state.value: n for state, n in self.counts.items() if n}
        figures["best"] = None
        if (best := self.best) is not None:
            known = ("trial_id", "value", "t", "config")
            figures["best"] = {"trial": best.number, **{n: getattr(best, n) for n in known}}
        return figures

    def __repr__(self) -> str:
        """Return one plain line for a log."""
        plain = ("time", "trials")
        lines = (s if title in plain else f"{title}: {s}" for title, s in self.lines().items())
        return text.printable(" | ".join(lines))

    def picture(self) -> Group:
        """Return a progress bar and a few lines, for a terminal.

        The last line is empty. The cursor waits there, so a ^C of the terminal overwrites nothing.
        """
        share = self.share
        bar = ProgressBar(total=1.0, completed=share or 0.0, width=40, pulse=share is None)
        return Group(_grid({"": bar, **self.lines()}), Text())

    def _repr_html_(self) -> str:
        # A browser animates a bar without a value.
        value = "" if self.share is None else f' value="{self.share:.4f}"'
        bar = f'<progress style="width: 20em"{value}></progress>'
        return bar + html.table(self.lines().items())


def broken(history: History, trial: Trial) -> tuple[str, ...]:
    """Return the outcome constraints that a trial violates, as text."""
    constraints, value_of = history.goal.constraints, trial.value_of
    return tuple(str(c) for c in constraints if not c.slack(value_of(c.metric)) >= 0)


def failures(trials: Iterable[Trial]) -> list[str]:
    """Return why trials failed, one line per cause, the most frequent first."""
    return [f"{times} x {text.first_line(reason)}" for times, reason in causes(trials)]


def is_running(folder: Folder, history: History) -> bool:
    """Return whether a process runs the study now, that is, holds the record's lock.

    At a URI, the lock outlives a killed process. There it counts only while the record grows.
    """
    if who_writes(record_at(folder)) is None:
        return False
    return isinstance(folder, Path) or time.time() - history.last_event_at < _SILENT_S


def summary(study: Study) -> Group:
    """Return the summary: the best configuration, how the trials ended, and the folder."""
    several = study.history.goal.n_objectives > 1
    best = study.history.best
    parts: list[RenderableType] = []
    if study.interrupted:
        command = text.printable(f"raytuner resume {shlex.quote(str(study.path))}")
        parts.append(Text(_INTERRUPTED.format(f"`{command}`"), style="bold yellow"))
    elif study.running:
        parts.append(Text(_RUNNING, style="bold"))
    if several and (front := study.pareto):
        names = ["trial", *study.history.goal.metrics]
        rows = [
            [str(trial.number), *(f"{trial.value_of(name):.5g}" for name in names[1:])]
            for trial in front[:_ON_FRONT]
        ]
        parts += [Text(f"Pareto front: {text.count(len(front), 'trial')}", style="bold")]
        parts += [table(names, rows, right=names), Text()]
    if best is not None:
        title = f"Best configuration by {study.metric}" if several else "Best configuration"
        config = {f"  {key}": text.value(item) for key, item in text.flat(best.config)}
        parts += [Text(text.printable(title), style="bold"), _grid(config), Text()]
    return Group(*parts, _grid(_lines(study)))


def _lines(study: Study) -> dict[str, str]:
    """Return the lines of a summary below the best configuration, by title."""
    best = study.history.best
    if best is None:
        said = {"Best": text.no_value(study.history)}
    else:
        is_full = best.state is TrialState.COMPLETED
        end = "" if is_full else " (not trained to the end)"
        found = f"{study.metric} {best.value:.5g} in trial {best.number}"
        said = {"Best": f"{found}, after {text.count(best.t, 'step')}{end}"}
        if bounds := broken(study.history, best):
            missed = " and ".join(bounds)
            said["Constraints"] = f"no trial satisfies all; the best violates {missed}"
        if further := [name for name in best.metrics if name != study.metric]:
            shown = {name: best.metrics[name] for name in further[:_METRICS]}
            said["Metrics"] = text.one_line(shown) + (" ..." if len(further) > _METRICS else "")
    if confirmed := study.confirmed:
        first = confirmed[0]
        error = "" if len(first.values) < 2 else f" ± {first.standard_error:.2g}"
        said["Confirmed"] = (
            f"{text.count(len(confirmed), 'trial')} trained again; the best is trial"
            f" {first.trial.number}: {study.metric} {first.mean:.5g}{error} (mean of"
            f" {text.count(len(first.values), 'repeat')})"
        )
    said["Trials"] = f"{sum(study.counts.values())}: {text.states(study.counts)}"
    why = failures(study.failures)
    for number, line in enumerate(why[:5]):
        said["Failures" if number == 0 else " " * number] = line
    if why:
        said[" " * 9] = "full tracebacks: error.txt in each trial's folder"
    if proposed := text.proposals(study.history):
        said["Proposals"] = proposed
    if study.history.max_t is not None and study.trials:
        asked = study.history.max_t * len(study.trials)
        spent = sum(trial.t for trial in study.trials)
        scheduler = (study.history.get_meta("settings") or {}).get("scheduler")
        by = "" if scheduler is None else f"by {scheduler}: "
        said["Early stopping"] = (
            f"{by}ran {spent:g} of {text.count(asked, 'step')} ({spent / asked:.0%})"
        )
    if cost := text.cost(study.history):
        said["Cost"] = cost
    said["Results"] = str(study.path)
    return said


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()
) -> Table:
    """Return a table for a terminal; the columns in `right` are aligned to the right."""
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        justify: Literal["left", "right"] = "right" if name in right else "left"
        made.add_column(Text(text.printable(name)), justify=justify, overflow="fold")
    for row in rows:
        made.add_row(*(Text(text.printable(cell)) for cell in row))
    return made


def _grid(rows: Mapping[str, RenderableType]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for title, row in rows.items():
        shown = Text(text.printable(row)) if isinstance(row, str) else row
        table.add_row(Text(text.printable(title)), shown)
    return table


@dataclass(frozen=True)
class Confirmed:
    """A trial and the values from training its configuration again.

    Attributes:
        trial: The trial of the search.
        values: The metric of each repeat that reported a finite value.
    """

    trial: Trial
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean of the repeats, without the trial's own value; NaN without repeats."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def standard_error(self) -> float:
        """The standard error of the mean; NaN with fewer than two repeats."""
        if len(self.values) < 2:
            return math.nan
        return statistics.stdev(self.values) / math.sqrt(len(self.values))


class Trials(tuple[Trial, ...]):
    """A tuple of trials. A notebook displays it as a table."""

    __slots__ = ()

    @overload
    def __getitem__(self, which: SupportsIndex) -> Trial: ...

    @overload
    def __getitem__(self, which: slice) -> Trials: ...

    def __getitem__(self, which: SupportsIndex | slice) -> Trial | Trials:
        """Return a trial, or the trials of a slice."""
        found = super().__getitem__(which)
        return Trials(found) if isinstance(found, tuple) else found

    def _repr_html_(self) -> str:
        if not self:
            return "<p>no trials</p>"
        more = len(self) - _MANY
        note = f"<p>and {text.count(more, 'more trial')}</p>" if more > 0 else ""
        return _trials_as_html(self[:_MANY]) + note


def study_as_html(study: Study) -> str:
    """Return the HTML of a study for a notebook: its summary and its best trials."""
    note = _RUNNING if study.running else ""
    if study.interrupted:
        note = _INTERRUPTED.format("<code>study.resume()</code>")
    best = study.history.best
    parts = {} if best is None else {"Best configuration": dict(text.flat(best.config))}
    rows = html.table([*parts.items(), *_lines(study).items()])
    ranked = study.ranked[:_BEST]
    trials = _trials_as_html(ranked, study.metric) if ranked else ""
    return f"<p><b>{note}</b></p>{rows}{trials}"


def _trials_as_html(trials: Trials, metric: str = "value") -> str:
    """Return the trials as a table, one row each; missing hyperparameters stay empty."""
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
