"""Shows how a study stands while it runs, to people and to machines."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import ray
from ray.tune import Callback
from rich.console import Console
from rich.live import Live

from raytuner.controller.capacity import slots_on_live_nodes
from raytuner.history import History, Trial, TrialState, cause
from raytuner.report.text import count, first_line
from raytuner.study.metrics import RayMetrics
from raytuner.study.notebook import Cell
from raytuner.study.standing import Standing, as_figures, as_picture, as_text, broken

logger = logging.getLogger(__name__)

REFRESH_S = 0.25
"""Seconds between two pictures in a terminal."""

CELL_S = 1.0
"""Seconds between two updates in a notebook."""

LINE_S = 10.0
"""Seconds between two lines elsewhere."""

FIGURES_FILE = "raytuner-progress.jsonl"
"""Name of the file, in the study's folder, that has the same figures for machines."""

_FAILURES = 3  # so many of the last are shown


class Screen(Console):
    """A console that shows nothing once its output is closed; rich would end the process."""

    def on_broken_pipe(self) -> None:
        """Show nothing from now on."""
        self.quiet = True


class Progress(Callback):
    """Shows how a study stands: live in a terminal or notebook, a line now and then elsewhere.

    Writes to standard error, so that results can be piped. Owns the terminal from the first step
    until :meth:`close`.

    Args:
        history: Gives the record, or None while there is none.
        num_samples: Trials asked for; -1 for no limit.
        max_t: A trial's full resource.
        time_budget_s: Seconds the study may take; None for no limit.
        figures_file: File that gets a line of JSON every ten seconds (:func:`as_figures`); None
            for none.
        study: Name that the same figures have among Ray's metrics (:class:`RayMetrics`); None for
            none.
        quiet: Show nothing.
    """

    def __init__(
        self,
        history: Callable[[], History | None],
        num_samples: int,
        max_t: float | None = None,
        time_budget_s: float | None = None,
        figures_file: Path | None = None,
        study: str | None = None,
        quiet: bool = False,
    ) -> None:
        self._history = history
        self._num_samples = num_samples
        self._max_t = max_t
        self._time_budget_s = time_budget_s
        self._figures_file = figures_file
        self._study = study
        self._quiet = quiet
        self._reset()

    def _reset(self) -> None:
        self._is_open = False
        self._console: Console | None = None
        self._live: Live | None = None
        self._cell: Cell | None = None
        self._pause_s = LINE_S
        self._metrics: RayMetrics | None = None
        self._began = 0.0
        self._shown = 0.0
        self._written = 0.0
        self._done_before = 0
        self._best: tuple[str, float] | None = None
        self._improved: float | None = None
        self._failed = 0
        self._failures: tuple[str, ...] = ()
        self._front: tuple[int, int | None] = (-1, None)  # as of which version of the record
        self._busy: int | None = None
        self._starting = 0
        self._has_looked = False  # at how many slots there are
        self._has_warned = False
        self._slots: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Ray pickles callbacks; a terminal cannot be.
        return {
            "_history": self._history,
            "_num_samples": self._num_samples,
            "_max_t": self._max_t,
            "_time_budget_s": self._time_budget_s,
            "_figures_file": self._figures_file,
            "_study": self._study,
            "_quiet": self._quiet,
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
        if not self._is_open:
            return
        if trials and not self._has_looked:
            self._has_looked = True
            self._slots = room(trials)
        now = time.monotonic()
        is_shown = self._console is not None and now - self._shown >= self._pause_s
        is_written = self._is_for_machines and now - self._written >= LINE_S
        if not (is_shown or is_written):
            return
        if is_written:
            self._slots = room(trials)
        status = Counter(trial.status for trial in trials)
        self._busy = status["RUNNING"]
        # A trial is PENDING for Ray while it waits for a slot and while its process starts in it.
        self._starting = max(0, min(status["PENDING"], (self._slots or 0) - self._busy))
        self._tell(is_shown, is_written)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Nothing runs any more."""
        self._busy, self._starting = None, 0
        self.close()

    def close(self) -> None:
        """Show how it stands at last and let go of the terminal. Harmless when done already."""
        if not self._is_open:
            return
        try:
            self._tell(self._console is not None, self._is_for_machines)
        finally:
            live = self._live
            self._reset()
            if live is not None:
                live.stop()

    def _open(self) -> None:
        if self._is_open:
            return
        self._is_open = True
        self._began = self._shown = self._written = time.monotonic()
        history = self._history()
        if history is not None:
            self._done_before = sum(not state.is_live for state in history.counts().elements())
        if self._study is not None and ray.is_initialized():
            self._metrics = RayMetrics(self._study)
        if self._quiet:
            return
        self._console = Screen(stderr=True)
        if self._console.is_jupyter:
            self._pause_s = CELL_S
            self._cell = Cell(self._standing())
        elif self._console.is_terminal:
            self._pause_s = REFRESH_S
            self._live = Live(
                as_picture(self._standing()), console=self._console, auto_refresh=False
            )
            self._live.start(refresh=True)

    @property
    def _is_for_machines(self) -> bool:
        return self._figures_file is not None or self._metrics is not None

    def _tell(self, is_shown: bool, is_written: bool) -> None:
        standing = self._standing()
        now = time.monotonic()
        # Note the times first: after an error, the next try comes no sooner than usual.
        if is_written:
            self._written = now
            self._write(standing)
        if is_shown:
            self._shown = now
            if self._cell is not None:
                self._cell.update(standing)
            elif self._live is not None:
                self._live.update(as_picture(standing), refresh=True)
            elif self._console is not None:
                line = as_text(standing)
                self._console.print(line, soft_wrap=True, markup=False, highlight=False)

    def _write(self, standing: Standing) -> None:
        """Write the figures for machines. A full disk is logged once: no result needs them."""
        if self._metrics is not None:
            self._metrics.tell(standing)
        if self._figures_file is None:
            return
        try:
            self._figures_file.parent.mkdir(parents=True, exist_ok=True)
            with self._figures_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(as_figures(standing), default=str) + "\n")
        except OSError as error:
            if not self._has_warned:
                logger.warning("The figures cannot be written to %s: %s", self._figures_file, error)
            self._has_warned = True

    def _standing(self) -> Standing:
        history = self._history()
        now = time.monotonic()
        counts = {} if history is None else history.counts()
        best = None if history is None else history.best()
        if best is not None and (key := (best.trial_id, best.value)) != self._best:
            # What was there at the start has not got better in this run.
            self._improved = None if self._best is None and self._done_before else now
            self._best = key
        if history is not None and counts[TrialState.FAILED] != self._failed:
            self._failed = counts[TrialState.FAILED]
            self._failures = last_failures(history)
        if history is not None and history.version != self._front[0]:
            self._front = (history.version, _front_of(history))
        return Standing(
            counts=counts,
            num_samples=self._num_samples,
            elapsed_s=now - self._began,
            time_budget_s=self._time_budget_s,
            metric="" if history is None else history.metric,
            best=best,
            front=self._front[1],
            broken=() if history is None or best is None else broken(history, best),
            max_t=self._max_t,
            done_before=self._done_before,
            since_improved_s=None if self._improved is None else now - self._improved,
            busy=self._busy,
            starting=self._starting,
            slots=self._slots,
            failures=self._failures,
        )


def _front_of(history: History) -> int | None:
    return None if history.goal.n_objectives == 1 else len(history.pareto())


def last_failures(history: History) -> tuple[str, ...]:
    """Return why trials failed, a line for each cause, the latest first."""
    failed = [trial for trial in history.heads() if trial.state is TrialState.FAILED]
    failed.sort(key=lambda trial: trial.ended_at or 0.0, reverse=True)
    latest: dict[str, Trial] = {}
    counts: Counter[str] = Counter()
    for trial in failed:
        counts[key := cause(trial.reason)] += 1
        latest.setdefault(key, trial)
    return tuple(
        f"trial {trial.number}{_others(counts[key] - 1)}: {first_line(trial.reason)}"
        for key, trial in islice(latest.items(), _FAILURES)
    )


def _others(n: int) -> str:
    return "" if n == 0 else f" and {count(n, 'other')}"


def room(trials: Sequence[Any]) -> int | None:
    """How many trials like the latest the nodes have room for; None if nobody knows yet."""
    request = trials[-1].placement_group_factory if trials else None
    if request is None or not ray.is_initialized():
        return None
    return slots_on_live_nodes(request)
