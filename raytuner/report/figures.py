"""The plots of a study, for the report and for a notebook."""

from __future__ import annotations

import itertools
import time
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import plotly.graph_objects as go

from raytuner.errors import SettingError
from raytuner.history import History
from raytuner.report import front, landscape, progress
from raytuner.report.events import Stay, idle_shares, stays
from raytuner.report.importance import importance
from raytuner.report.model import Surrogate, fitted
from raytuner.report.progress import Over
from raytuner.space import Column

if TYPE_CHECKING:
    import pandas as pd

_PAIRED = 4  # so many of the most important hyperparameters are looked at in pairs


class Figures:
    """Plots of a record, each a ``plotly.graph_objects.Figure``.

    The model is fitted when the first of them asks for it, and then kept.

    Args:
        history: The record; read once, not followed.
        now: Time of looking, for what still runs, in Unix seconds; None: the present, for a record
            with live trials.
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
        """See :func:`raytuner.report.importance.importance`; None without a model."""
        return None if self.surrogate is None else importance(self.surrogate)

    @cached_property
    def stays(self) -> tuple[Stay, ...]:
        """Which trial was in which slot when."""
        return stays(self.history, self.now)

    @cached_property
    def begins(self) -> list[float]:
        """When runs of the study began, in Unix seconds."""
        return [run["at"] for run in self.history.get_meta("runs", [])]

    def incumbent(self, over: Over = "time") -> go.Figure:
        """The best value so far over "time", "resource" or "trials", and the model's opinion."""
        return progress.incumbent(self.history, self.surrogate, over)

    def pareto(self) -> go.Figure:
        """The trials by their first two objectives, and the Pareto front.

        Raises:
            SettingError: There is one objective.
        """
        self._require_several()
        return front.pareto(self.history)

    def hypervolume(self) -> go.Figure:
        """How the Pareto front's hypervolume grew; raises as :meth:`pareto`."""
        self._require_several()
        return front.growth(self.history)

    def curves(self) -> go.Figure:
        """Every learning curve, the rungs, and where trials were stopped."""
        return progress.curves(self.history)

    def parallel(self) -> go.Figure:
        """Parallel coordinates of the trials."""
        return landscape.parallel(self.history)

    def slice(self, name: str) -> go.Figure:
        """The metric against the hyperparameter ``name``, others as in the best trial."""
        return landscape.slice_of(
            self.history, self.surrogate, self._column(name), self.history.best()
        )

    def interaction(
        self, first: str, second: str, what: Literal["mean", "sd"] = "mean"
    ) -> go.Figure:
        """The model's mean or standard deviation over two hyperparameters."""
        pair = (self._column(first), self._column(second))
        return landscape.interaction(self.history, self.surrogate, pair, self.history.best(), what)

    def pairs(self) -> list[tuple[str, str]]:
        """The pairs among the most important hyperparameters, which are worth a look."""
        found = self.importances
        names = [c.name for c in self.history.space.columns] if found is None else list(found.index)
        return list(itertools.combinations(names[:_PAIRED], 2))

    def importance(self) -> go.Figure:
        """How much each hyperparameter matters."""
        return landscape.importance(self.importances)

    def timeline(self) -> go.Figure:
        """Which trial was in which slot when."""
        return progress.timeline(
            self.stays, progress.began_at(self.history), idle_shares(self.stays, self.begins)
        )

    def _require_several(self) -> None:
        objectives = self.history.goal.objectives
        if len(objectives) == 1:
            raise SettingError(
                f"a Pareto front needs two objectives or more; there is {objectives[0].metric}"
            )

    def _column(self, name: str) -> Column:
        for column in self.history.space.columns:
            if column.name == name:
                return column
        known = ", ".join(column.name for column in self.history.space.columns)
        raise SettingError(f"{name!r} is no hyperparameter that varies; there are: {known}")
