"""The plots of a study, for the page and for a notebook."""

from __future__ import annotations

import itertools
import time
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

import plotly.graph_objects as go

from raytuner.errors import SettingError
from raytuner.history import History
from raytuner.report import front, progress_figures, space_figures
from raytuner.report.events import Stay, stays
from raytuner.report.model import Surrogate, fitted, importance
from raytuner.report.progress_figures import Over
from raytuner.space import Column

if TYPE_CHECKING:
    import pandas as pd

_PAIRED = 4  # of so many of the most important hyperparameters, the page shows the pairs


class Figures:
    """Plots of a record, each a `plotly.graph_objects.Figure`.

    The first of them that needs the model fits it.

    Args:
        history: The record; read once, not followed.
        now: The time, in Unix seconds, up to which live trials have run. None: the present.
    """

    def __init__(self, history: History, now: float | None = None) -> None:
        self.history = history
        self.now = time.time() if now is None else now

    @cached_property
    def surrogate(self) -> Surrogate | None:
        """The model of the record; None if the record says too little for one."""
        history = self.history
        return fitted(history.space, history.snapshot(), history.mode == "min")

    @cached_property
    def importances(self) -> pd.DataFrame | None:
        """See `raytuner.report.model.importance`; None without a model."""
        return None if self.surrogate is None else importance(self.surrogate)

    @cached_property
    def stays(self) -> tuple[Stay, ...]:
        """Which trial was in which slot when."""
        return stays(self.history, self.now)

    def incumbent(self, over: Over = "time") -> go.Figure:
        """Return the best value so far over "time", "resource" or "trials".

        With it come each trial's last value and what the model, knowing all trials, expects of
        each incumbent in full.
        """
        return progress_figures.incumbent(self.history, self.surrogate, over)

    def pareto(self) -> go.Figure:
        """Return the trials by their first two objectives, and the Pareto front.

        Raises:
            SettingError: There is one objective.
        """
        self._require_several()
        return front.pareto(self.history)

    def hypervolume(self) -> go.Figure:
        """Return how the Pareto front's hypervolume grew; raises as `pareto`."""
        self._require_several()
        return front.growth(self.history)

    def curves(self) -> go.Figure:
        """Return every learning curve, the rungs, and where trials were stopped."""
        return progress_figures.curves(self.history)

    def parallel(self) -> go.Figure:
        """Return parallel coordinates of the trials."""
        return space_figures.parallel(self.history)

    def slice(self, name: str) -> go.Figure:
        """Return the metric against the hyperparameter `name`, others as in the best trial."""
        return space_figures.slice_of(self.history, self.surrogate, self._column(name))

    def interaction(
        self, first: str, second: str, what: Literal["mean", "sd"] = "mean"
    ) -> go.Figure:
        """Return the model's mean or standard deviation over two hyperparameters."""
        pair = (self._column(first), self._column(second))
        return space_figures.interaction(self.history, self.surrogate, pair, what)

    def pairs(self) -> list[tuple[str, str]]:
        """Return the pairs of the most important hyperparameters."""
        found = self.importances
        names = [c.name for c in self.history.space.columns] if found is None else list(found.index)
        return list(itertools.combinations(names[:_PAIRED], 2))

    def importance(self) -> go.Figure:
        """Return how much each hyperparameter matters."""
        return space_figures.importance_bars(self.importances)

    def timeline(self) -> go.Figure:
        """Return which trial was in which slot when."""
        return progress_figures.timeline(self.history, self.stays)

    def on_page(self) -> dict[str, go.Figure]:
        """Return every figure of the page by its id there."""
        made = {
            "curves": self.curves(),
            "parallel": self.parallel(),
            "importance": self.importance(),
            "timeline": self.timeline(),
        }
        for over in get_args(Over):
            made[f"incumbent-{over}"] = self.incumbent(over)
        if len(self.history.goal.objectives) > 1:
            made |= {"pareto": self.pareto(), "hypervolume": self.hypervolume()}
        for i, column in enumerate(self.history.space.columns):
            made[f"slice-{i}"] = self.slice(column.name)
        for i, pair in enumerate(self.pairs()):
            made[f"pair-{i}-mean"] = self.interaction(*pair, "mean")
            made[f"pair-{i}-sd"] = self.interaction(*pair, "sd")
        return made

    def _require_several(self) -> None:
        objectives = self.history.goal.objectives
        if len(objectives) == 1:
            raise SettingError(
                f"a Pareto front needs two objectives or more; there is {objectives[0].metric}"
            )

    def _column(self, name: str) -> Column:
        columns = {column.name: column for column in self.history.space.columns}
        if name not in columns:
            raise SettingError(
                f"{name!r} is no hyperparameter that varies; there are: {', '.join(columns)}"
            )
        return columns[name]
