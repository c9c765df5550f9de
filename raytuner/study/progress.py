"""What a person sees while a study runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ray.tune import Callback
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raytuner.history import History, Trial, TrialState
from raytuner.text import clock, one_line, states

REFRESH_S = 0.25
"""Seconds between two pictures in a terminal."""

LINE_S = 10.0
"""Seconds between two lines elsewhere."""


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
        max_t: A trial's full resource.
    """

    counts: Mapping[TrialState, int]
    num_samples: int
    elapsed_s: float
    time_budget_s: float | None = None
    metric: str = ""
    best: Trial | None = None
    max_t: float | None = None

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


def as_lines(standing: Standing) -> dict[str, str]:
    """What there is to say, a title each."""
    budget = standing.time_budget_s
    of_budget = "" if budget is None else f" of {clock(budget)}"
    of_samples = f" of {standing.num_samples}" if standing.num_samples > 0 else ""
    lines = {
        "time": f"{clock(standing.elapsed_s)}{of_budget}",
        "trials": f"{standing.done}{of_samples} done: {states(standing.counts)}",
        "best": "no value yet",
    }
    best = standing.best
    if best is not None:
        of_max = "" if standing.max_t is None else f" of {standing.max_t:g}"
        where = f"trial {best.number + 1} at {best.t:g}{of_max}"
        lines["best"] = f"{standing.metric} {best.value:.5g} ({where}): {one_line(best.config)}"
    return lines


def as_text(standing: Standing) -> str:
    """One plain line, for a log.

    >>> as_text(Standing({TrialState.RUNNING: 2}, num_samples=9, elapsed_s=61))
    '1:01 | 0 of 9 done: 2 running | best: no value yet'
    """
    lines = as_lines(standing)
    return f"{lines['time']} | {lines['trials']} | best: {lines['best']}"


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
        table.add_row(title, Text(line))
    return Group(table, Text())


class Progress(Callback):
    """Shows how a study stands: a live picture in a terminal, a line now and then elsewhere.

    Writes to standard error, so that results can be piped. Owns the terminal from the first step
    until :meth:`close`.

    Args:
        history: Gives the record, or None while there is none.
        num_samples: Trials asked for; -1 for no limit.
        max_t: A trial's full resource.
        time_budget_s: Seconds the study may take; None for no limit.
    """

    def __init__(
        self,
        history: Callable[[], History | None],
        num_samples: int,
        max_t: float | None = None,
        time_budget_s: float | None = None,
    ) -> None:
        self._history = history
        self._num_samples = num_samples
        self._max_t = max_t
        self._time_budget_s = time_budget_s
        self._reset()

    def _reset(self) -> None:
        self._console: Console | None = None
        self._live: Live | None = None
        self._began = 0.0
        self._shown = 0.0

    def __getstate__(self) -> dict[str, Any]:
        # Ray pickles callbacks; a terminal cannot be.
        return {
            "_history": self._history,
            "_num_samples": self._num_samples,
            "_max_t": self._max_t,
            "_time_budget_s": self._time_budget_s,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def setup(self, *args: Any, **info: Any) -> None:
        """Ray is about to start: show that something happens."""
        self._open()

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """A turn of Ray's loop begins."""
        self._open()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """A turn of Ray's loop ended: show what changed, if it is time."""
        interval = LINE_S if self._live is None else REFRESH_S
        if self._console is not None and time.monotonic() - self._shown >= interval:
            self._show()

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Nothing runs any more."""
        self.close()

    def close(self) -> None:
        """Show how it stands at last and let go of the terminal. Harmless when done already."""
        if self._console is None:
            return
        self._show()
        if self._live is not None:
            self._live.stop()
        self._reset()

    def _open(self) -> None:
        if self._console is not None:
            return
        self._console = Console(stderr=True)
        self._began = time.monotonic()
        if self._console.is_terminal:
            self._live = Live(
                as_picture(self._standing()), console=self._console, auto_refresh=False
            )
            self._live.start(refresh=True)
        self._shown = self._began

    def _show(self) -> None:
        standing = self._standing()
        if self._live is not None:
            self._live.update(as_picture(standing), refresh=True)
        elif self._console is not None:
            self._console.print(as_text(standing), soft_wrap=True, markup=False, highlight=False)
        self._shown = time.monotonic()

    def _standing(self) -> Standing:
        history = self._history()
        return Standing(
            counts={} if history is None else history.counts(),
            num_samples=self._num_samples,
            elapsed_s=time.monotonic() - self._began,
            time_budget_s=self._time_budget_s,
            metric="" if history is None else history.metric,
            best=None if history is None else history.best(),
            max_t=self._max_t,
        )
