"""Show the progress of a running study to people and to machines."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import ray
from ray.tune import Callback
from ray.util.metrics import Gauge
from rich.console import Console
from rich.live import Live

from raytuner.controller.capacity import slots_on_live_nodes
from raytuner.folders import Folder
from raytuner.history import History, TrialState
from raytuner.study.budget import Budget
from raytuner.study.summary import Standing, broken, failures

logger = logging.getLogger(__name__)

FIGURES_FILE = "raytuner-progress.jsonl"
"""Name of the progress file for machines, in the study's folder."""

# Seconds between two updates:
REFRESH_S = 0.25  # in a terminal
CELL_S = 1.0  # in a notebook
LINE_S = 10.0  # elsewhere, and for machines

_REST = 50  # least pause after an update, in multiples of its duration: it visits every trial

_FAILURES = 3  # number of causes to show


class Screen(Console):
    """A console that goes quiet when its output is closed; rich would end the process."""

    def on_broken_pipe(self) -> None:
        """Go quiet."""
        self.quiet = True


@dataclass(eq=False)
class Progress(Callback):
    """Shows the progress of a study: live in a terminal or notebook, elsewhere as a log line.

    Writes to standard error, so that results can be piped. Owns the terminal from the first step
    until `close`.

    Attributes:
        search: The searcher; its `history` is the record.
        num_samples: Number of trials; -1 for no limit.
        time_budget_s: Seconds the study may take; None for no limit.
        path: The study's folder. Ray's metrics (`RayMetrics`) show its name. In a local folder,
            `FIGURES_FILE` gets a line of JSON every ten seconds (`Standing.figures`). None: no
            figures for machines.
        budget: Counts what the study spends.
        quiet: Show nothing.
    """

    search: Any
    num_samples: int
    time_budget_s: float | None = None
    path: Folder | None = None
    budget: Budget | None = None
    quiet: bool = False
    _is_open = False

    def __getstate__(self) -> dict[str, Any]:
        # Only the fields: a terminal cannot be pickled.
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def setup(self, *args: Any, **info: Any) -> None:
        """Open the display before Ray starts."""
        if self._is_open:
            return
        self._is_open = True
        self._metrics: RayMetrics | None = None
        if self.path is not None and ray.is_initialized():
            self._metrics = RayMetrics(self.path.name)
        self._has_warned = False
        self._began = self._shown_at = self._written_at = time.monotonic()
        history: History = self.search.history
        self._done_before = len(history) - len(history.live())
        self._best: tuple[str, float] | None = None
        self._improved: float | None = None
        # A version of the record, and of that version: the causes of failures, the front's size.
        self._as_of: tuple[int, tuple[str, ...], int | None] = (-1, (), None)
        self._busy: int | None = None
        self._starting, self._rest_s = 0, 0.0
        self._slots: int | None = None
        self._display = None if self.quiet else _open_display(self._standing())

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Open the display if it is not open yet (in a resumed study)."""
        self.setup()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Update the display and the files if it is time."""
        if not self._is_open:
            return
        now = time.monotonic()
        since = now - self._shown_at
        is_shown = self._display is not None and since >= max(self._display.pause_s, self._rest_s)
        is_written = self.path is not None and now - self._written_at >= LINE_S
        if is_written or self._slots is None:  # a short study ends before its first line
            self._slots = room(trials)
        if not (is_shown or is_written):
            return
        status = Counter(trial.status for trial in trials)
        self._busy = status["RUNNING"]
        # In Ray, a trial is PENDING while it waits for a slot and while its process starts.
        self._starting = max(0, min(status["PENDING"], (self._slots or 0) - self._busy))
        self._update(is_shown, is_written)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Show the end."""
        self._busy, self._starting = None, 0
        self.close()

    def close(self) -> None:
        """Show the final state and release the terminal. May be called again."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            self._update(True, self.path is not None)
        finally:
            if self._display is not None:
                self._display.close()

    def _update(self, is_shown: bool, is_written: bool) -> None:
        began = time.monotonic()
        standing = self._standing()
        now = time.monotonic()
        # Set the times first, so that an error does not cause an early retry.
        if is_written:
            self._written_at = now
            self._write(standing)
        if is_shown and self._display is not None:
            self._shown_at = now
            self._display.show(standing)
        self._rest_s = _REST * (time.monotonic() - began)

    def _write(self, standing: Standing) -> None:
        """Write the figures for machines. A failure to write is logged once."""
        if self._metrics is not None:
            self._metrics.record(standing)
        if not isinstance(self.path, Path):
            return
        figures = {"at": time.time(), **standing.figures()}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with (self.path / FIGURES_FILE).open("a", encoding="utf-8") as file:
                file.write(json.dumps(figures, default=str) + "\n")
        except OSError as error:
            if not self._has_warned:
                logger.warning("Cannot write progress to %s: %s", self.path / FIGURES_FILE, error)
            self._has_warned = True

    def _standing(self) -> Standing:
        history: History = self.search.history
        best, now = history.best, time.monotonic()
        if best is not None and (key := (best.trial_id, best.value)) != self._best:
            # The best trial at the start is not an improvement of this run.
            self._improved = None if self._best is None and self._done_before else now
            self._best = key
        if history.version != self._as_of[0]:
            front = None if history.goal.n_objectives == 1 else len(history.pareto)
            self._as_of = (history.version, tuple(failures(history.heads())[:_FAILURES]), front)
        return Standing(
            counts=history.counts,
            num_samples=self.num_samples,
            elapsed_s=now - self._began,
            time_budget_s=self.time_budget_s,
            metric=history.metric,
            max_t=history.max_t,
            best=best,
            front=self._as_of[2],
            broken=() if best is None else broken(history, best),
            done_before=self._done_before,
            since_improved_s=None if self._improved is None else now - self._improved,
            busy=self._busy,
            starting=self._starting,
            slots=self._slots,
            failures=self._as_of[1],
            spent={} if self.budget is None else self.budget.spent,
            budget={} if self.budget is None else self.budget.limits,
            budget_left_s=None if self.budget is None else self.budget.left_s,
        )


class _Display(NamedTuple):
    show: Callable[[Standing], object]
    pause_s: float
    close: Callable[[], object] = lambda: None


def _open_display(standing: Standing) -> _Display:
    """Open the display that suits standard error."""
    console = Screen(stderr=True)
    if console.is_jupyter:
        from IPython.display import display  # every notebook has it

        return _Display(display(standing, display_id=True).update, CELL_S)
    if console.is_terminal:
        live = Live(standing.picture(), console=console, auto_refresh=False)
        live.start(refresh=True)
        return _Display(lambda s: live.update(s.picture(), refresh=True), REFRESH_S, live.stop)
    line = partial(console.print, soft_wrap=True, markup=False, highlight=False)
    return _Display(lambda s: line(repr(s)), LINE_S)


def room(trials: list[Any]) -> int | None:
    """Return how many trials with the latest request fit on the nodes; None if unknown."""
    request = trials[-1].placement_group_factory if trials else None
    if request is None or not ray.is_initialized():
        return None
    return slots_on_live_nodes(request)


class RayMetrics:
    """Gauges of a study for Ray's dashboard, Prometheus and Grafana.

    They have the names of `Standing.figures`; `best` is the best value. If `ray[default]` is
    installed, Ray exports them as `ray_raytuner_...` from the node of the study's driver. The tag
    `study` is the study's name, percent-encoded if it is not ASCII. `ray_raytuner_trials` counts
    the trials in each `state`.

    Args:
        study: Name of the study.
        gauge: Makes a gauge.
    """

    def __init__(self, study: str, gauge: Callable[..., Any] = Gauge) -> None:
        # Ray takes ASCII only. Percent-encoding, as in a URL, keeps other names distinct.
        self._study = study if study.isascii() else quote(study, safe=" ")
        self._gauge = cache(lambda name, *tags: gauge(name, tag_keys=("study", *tags)))

    def record(self, standing: Standing) -> None:
        """Record the progress, without unknown figures."""
        best = None if standing.best is None else standing.best.value
        known = {**standing.figures(), "best": best, "busy": standing.busy or 0}
        known |= {f"spent_{unit}": spent for unit, spent in standing.spent.items()}
        for name, figure in known.items():
            if isinstance(figure, int | float):
                self._gauge(f"raytuner_{name}").set(figure, tags={"study": self._study})
        for state in TrialState:  # also empty ones, which may have had trials before
            tags = {"study": self._study, "state": state.value}
            self._gauge("raytuner_trials", "state").set(standing.counts.get(state, 0), tags=tags)
