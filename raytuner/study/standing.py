"""How a study stands at one moment, in lines, figures and a picture."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raytuner.folders import Folder
from raytuner.history import History, Trial, TrialState, who_writes
from raytuner.report.text import clock, count, one_line, printable, states
from raytuner.search.restore import record_at

_FEW_TRIALS = 3  # fewer say nothing about how long the others take
_SILENT_S = 300.0  # without news, after which a lock behind a URI no longer counts


@dataclass(frozen=True)
class Standing:
    """How a study stands at one moment.

    Attributes:
        counts: Number of trials in each state.
        num_samples: Trials asked for; -1 for no limit.
        elapsed_s: Seconds since the study began.
        time_budget_s: Seconds it may take; None for no limit.
        metric: Name of the objective.
        best: The best trial so far.
        front: How many trials are on the Pareto front; None with one objective.
        broken: The outcome constraints that the best breaks, in words.
        max_t: A trial's full resource.
        done_before: Trials that had ended before this run began (of a study that is continued).
        since_improved_s: Seconds since the best got better, as this run saw it; None before.
        busy: Trials that run in a slot; None if that is not known.
        starting: Trials whose process is starting in a free slot.
        slots: How many trials the cluster has room for; None if that is not known.
        failures: Why the last trials failed, the latest first.
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
        """How much of the study is over, in [0, 1]; None if it has no end."""
        shares = []
        if self.num_samples > 0:
            shares.append(self.done / self.num_samples)
        if self.time_budget_s is not None:
            shares.append(self.elapsed_s / self.time_budget_s)
        return min(max(shares), 1.0) if shares else None

    @property
    def left_s(self) -> float | None:
        """About how many seconds are left, at the pace so far; None if that cannot be said."""
        left = []
        if self.num_samples > 0:
            ended = self.done - self.done_before
            if ended < _FEW_TRIALS:
                return None
            left.append(self.elapsed_s / ended * (self.num_samples - self.done))
        if self.time_budget_s is not None:
            left.append(self.time_budget_s - self.elapsed_s)
        return max(min(left), 0.0) if left else None


def as_lines(standing: Standing) -> dict[str, str]:
    """What there is to say, a title each."""
    budget = standing.time_budget_s
    of_budget = "" if budget is None else f" of {clock(budget)}"
    of_samples = f" of {standing.num_samples}" if standing.num_samples > 0 else ""
    left = standing.left_s
    of_left = "" if left is None or standing.share == 1 else f", about {clock(left)} left"
    lines = {
        "time": f"{clock(standing.elapsed_s)}{of_budget}{of_left}",
        "trials": f"{standing.done}{of_samples} done: {states(standing.counts)}",
    }
    if standing.busy is not None:
        of_slots = "" if standing.slots is None else f" of {standing.slots}"
        starting = f", {standing.starting} starting" if standing.starting else ""
        lines["slots"] = f"{standing.busy}{of_slots} busy{starting}"
    lines["best"] = "no value yet"
    best = standing.best
    if best is not None:
        of_max = "" if standing.max_t is None else f" of {standing.max_t:g}"
        where = f"trial {best.number} at {best.t:g}{of_max}"
        since = standing.since_improved_s
        ago = "" if since is None else f", {clock(since)} ago"
        broken = f", which breaks {' and '.join(standing.broken)}" if standing.broken else ""
        lines["best"] = (
            f"{standing.metric} {best.value:.5g} ({where}{ago}){broken}: {one_line(best.config)}"
        )
    if standing.front is not None:
        lines["front"] = f"{count(standing.front, 'trial')} that no other dominates"
    if standing.failures:
        lines["failed"] = "; ".join(standing.failures)
    return lines


def as_figures(standing: Standing) -> dict[str, Any]:
    """The same as numbers and text, for machines: one JSON object.

    Seconds are plain numbers; what is not known is null.
    """
    best = standing.best
    return {
        "at": time.time(),
        "elapsed_s": standing.elapsed_s,
        "left_s": standing.left_s,
        "time_budget_s": standing.time_budget_s,
        "num_samples": standing.num_samples,
        "done": standing.done,
        "states": {state.value: n for state, n in standing.counts.items() if n},
        "busy": standing.busy,
        "starting": standing.starting,
        "slots": standing.slots,
        "metric": standing.metric,
        "best": None
        if best is None
        else {
            "trial": best.number,
            "trial_id": best.trial_id,
            "value": best.value,
            "t": best.t,
            "config": best.config,
        },
        "front": standing.front,
        "broken": list(standing.broken),
        "since_improved_s": standing.since_improved_s,
        "failures": list(standing.failures),
    }


def as_text(standing: Standing) -> str:
    """One plain line, for a log.

    >>> as_text(Standing({TrialState.RUNNING: 2}, num_samples=9, elapsed_s=61))
    '1:01 | 0 of 9 done: 2 running | best: no value yet'
    """
    lines = as_lines(standing)
    named = [f"{title}: {line}" for title, line in lines.items() if title not in ("time", "trials")]
    return printable(" | ".join([lines["time"], lines["trials"], *named]))


def as_picture(standing: Standing) -> Group:
    """A progress bar and a few lines, for a terminal.

    The last line is empty: the cursor waits there, and a terminal's ^C spoils nothing.
    """
    lines = as_lines(standing)
    share = standing.share
    bar = ProgressBar(total=1.0, completed=share or 0.0, width=40, pulse=share is None)
    table = Table.grid(padding=(0, 1))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_row("", bar)
    for title, line in lines.items():
        table.add_row(title, Text(printable(line)))
    return Group(table, Text())


def broken(history: History, trial: Trial) -> tuple[str, ...]:
    """Return the outcome constraints that a trial breaks, in words."""
    metrics = history.metrics_of(trial)
    return tuple(str(c) for c in history.goal.constraints if not c.slack(metrics[c.metric]) >= 0)


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
