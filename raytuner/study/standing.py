"""The progress of a study at one moment, as lines, figures and a picture."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raytuner.folders import Folder
from raytuner.history import History, Trial, TrialState, causes, html, who_writes
from raytuner.report.text import clock, count, first_line, one_line, printable, states
from raytuner.search.restore import record_at

_FEW_TRIALS = 3  # fewer say nothing about how long the others take
_SILENT_S = 300.0  # without news, after which a lock behind a URI no longer counts


@dataclass(frozen=True, repr=False)
class Standing:
    """The progress of a study at one moment.

    Attributes:
        counts: Number of trials in each state.
        num_samples: Number of trials of the study; -1 for no limit.
        elapsed_s: Seconds since the study began.
        time_budget_s: Seconds it may take; None for no limit.
        metric: Name of the objective.
        best: The best trial so far.
        front: Number of trials on the Pareto front; None with one objective.
        broken: The outcome constraints that the best breaks, in words.
        max_t: A trial's full resource.
        done_before: Trials that had ended before this run began (of a study that is continued).
        since_improved_s: Seconds since the best improved in this run; None before.
        busy: Trials that run in a slot; None if that is not known.
        starting: Trials whose process is starting in a free slot.
        slots: Number of trials that the cluster has room for; None if that is not known.
        failures: Why trials failed, the most frequent cause first.

    Example:
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

    @property
    def done(self) -> int:
        """Number of trials that ended."""
        return sum(n for state, n in self.counts.items() if not state.is_live)

    @property
    def share(self) -> float | None:
        """The share of the study that is over, in [0, 1]; None if it has no end."""
        shares = []
        if self.num_samples > 0:
            shares.append(self.done / self.num_samples)
        if self.time_budget_s is not None:
            shares.append(self.elapsed_s / self.time_budget_s)
        return min(max(shares), 1.0) if shares else None

    @property
    def left_s(self) -> float | None:
        """About how many seconds are left, at the pace so far; None if unknown."""
        left = []
        if self.num_samples > 0:
            ended = self.done - self.done_before
            if ended < _FEW_TRIALS:
                return None
            left.append(self.elapsed_s / ended * (self.num_samples - self.done))
        if self.time_budget_s is not None:
            left.append(self.time_budget_s - self.elapsed_s)
        return max(min(left), 0.0) if left else None

    def lines(self) -> dict[str, str]:
        """Return what a person reads, by title."""
        budget = self.time_budget_s
        of_budget = "" if budget is None else f" of {clock(budget)}"
        of_samples = f" of {self.num_samples}" if self.num_samples > 0 else ""
        left = self.left_s
        of_left = "" if left is None or self.share == 1 else f", about {clock(left)} left"
        lines = {
            "time": f"{clock(self.elapsed_s)}{of_budget}{of_left}",
            "trials": f"{self.done}{of_samples} done: {states(self.counts)}",
        }
        if self.busy is not None:
            of_slots = "" if self.slots is None else f" of {self.slots}"
            starting = f", {self.starting} starting" if self.starting else ""
            lines["slots"] = f"{self.busy}{of_slots} busy{starting}"
        lines["best"] = "no value yet"
        if (best := self.best) is not None:
            of_max = "" if self.max_t is None else f" of {self.max_t:g}"
            since = self.since_improved_s
            ago = "" if since is None else f", {clock(since)} ago"
            broken = f", which breaks {' and '.join(self.broken)}" if self.broken else ""
            lines["best"] = (
                f"{self.metric} {best.value:.5g} (trial {best.number} at"
                f" {best.t:g}{of_max}{ago}){broken}: {one_line(best.config)}"
            )
        if self.front is not None:
            lines["front"] = f"{count(self.front, 'trial')} that no other dominates"
        if self.failures:
            lines["failed"] = "; ".join(self.failures)
        return lines

    def figures(self) -> dict[str, Any]:
        """Return the same for machines, as a JSON object; what is not known is None."""
        names = "elapsed_s left_s time_budget_s num_samples done busy starting slots metric front"
        names += " broken since_improved_s failures"
        best = self.best
        return {
            **{name: getattr(self, name) for name in names.split()},
            "states": {state.value: n for state, n in self.counts.items() if n},
            "best": None
            if best is None
            else {
                "trial": best.number,
                **{name: getattr(best, name) for name in ("trial_id", "value", "t", "config")},
            },
        }

    def __repr__(self) -> str:
        """Return one plain line, for a log."""
        lines = self.lines()
        first = [lines.pop("time"), lines.pop("trials")]
        return printable(" | ".join([*first, *(f"{title}: {s}" for title, s in lines.items())]))

    def picture(self) -> Group:
        """Return a progress bar and a few lines, for a terminal.

        The last line is empty: the cursor waits there, so that a terminal's ^C spoils nothing.
        """
        share = self.share
        bar = ProgressBar(total=1.0, completed=share or 0.0, width=40, pulse=share is None)
        table = Table.grid(padding=(0, 1))
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        table.add_row("", bar)
        for title, line in self.lines().items():
            table.add_row(title, Text(printable(line)))
        return Group(table, Text())

    def _repr_html_(self) -> str:
        # Without a value, a browser shows an animated bar.
        value = "" if self.share is None else f' value="{self.share:.4f}"'
        bar = f'<progress style="width: 20em"{value}></progress>'
        return bar + html.table(self.lines().items())


def broken(history: History, trial: Trial) -> tuple[str, ...]:
    """Return the outcome constraints that a trial breaks, in words."""
    metrics = history.metrics_of(trial)
    return tuple(str(c) for c in history.goal.constraints if not c.slack(metrics[c.metric]) >= 0)


def failures(trials: Iterable[Trial]) -> list[str]:
    """Return why trials failed, a line for each cause, the most frequent first."""
    return [f"{times} x {first_line(reason)}" for times, reason in causes(trials)]


def last_news(history: History) -> float:
    """Return when the record last grew, in Unix seconds; 0 if it is empty."""
    happened = [at for times in history.report_times().values() for at in times.values()]
    happened += [trial.ended_at or trial.proposed_at for trial in history.heads()]
    return max(happened, default=0.0)


def is_running(folder: Folder, history: History) -> bool:
    """Return whether a process runs the study now: it holds the record's lock.

    Behind a URI the lock outlives a killed process, so it counts only while the record grows.
    """
    if who_writes(record_at(folder)) is None:
        return False
    return isinstance(folder, Path) or time.time() - last_news(history) < _SILENT_S
