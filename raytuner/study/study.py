"""A study: its settings, its record, and its folder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from raytuner.errors import HistoryError, NoResultError, SettingError, TrainableError
from raytuner.folders import Folder, folder_of
from raytuner.history import History, Trial, TrialState, Writer
from raytuner.report import text
from raytuner.search.restore import record_at, record_in
from raytuner.space import Config
from raytuner.study.summary import Confirmed, Trials, is_running, study_as_html
from raytuner.study.trainable import Trainable, check_trainable, imported

if TYPE_CHECKING:
    import pandas as pd

    from raytuner.placement.request import Resources
    from raytuner.report.figures import Figures
    from raytuner.report.model import Prediction, Surrogate


CONFIRMED = "confirmed"
"""Key in the record for the values of repeats, by trial id."""


class Study:
    """A hyperparameter search with its results. `raytuner.tune` and `raytuner.load` return it.

    A study may be finished, running or interrupted.

    Attributes:
        path: The study's folder, with the record and Ray's own files. For a URI, a
            `raytuner.folders.RemoteFolder`.
        history: The record: all trials and what they reported.
    """

    def __init__(self, path: Folder, history: History, trainable: Trainable | None = None) -> None:
        self.path = path
        self.history = history
        # Kept, because a function of a script or notebook cannot be imported again.
        self._trainable = trainable

    def __repr__(self) -> str:
        states = ", ".join(f"{count} {state.value}" for state, count in self.counts.items())
        return f"Study({str(self.path)!r}: {states or 'no trials'})"

    def _repr_html_(self) -> str:
        return study_as_html(self)

    @property
    def metric(self) -> str:
        """Name of the objective; with several objectives, of the first."""
        return self.history.metric

    @property
    def mode(self) -> str:
        """Either "min" or "max": whether a small or a large metric is better."""
        return self.history.mode

    @property
    def running(self) -> bool:
        """True if a process is running the study now."""
        return is_running(self.path, self.history)

    @property
    def interrupted(self) -> bool:
        """True if Ctrl-C or a kill ended the run early. `resume` continues it."""
        is_done = not self.history.live() and self.history.get_meta("finished") is not False
        return not is_done and not self.running

    @property
    def trials(self) -> Trials:
        """All trials, in the order in which they were proposed."""
        return Trials(self.history.trials)

    @property
    def counts(self) -> Counter[TrialState]:
        """The number of trials in each state."""
        return self.history.counts

    @property
    def best(self) -> Trial:
        """The best trial so far (see `History.best`).

        Raises:
            NoResultError: No trial has a usable value. In that case `history.best` is None.
        """
        best = self.history.best
        if best is None:
            raise NoResultError(f"there is no best trial: {text.why_no_best(self.history)}")
        return best

    @property
    def ranked(self) -> Trials:
        """The trials that did not fail and have a full value, best first; see `History.ranked`."""
        return Trials(self.history.ranked)

    @property
    def pareto(self) -> Trials:
        """The Pareto front: the trials that no other trial dominates; see `History.pareto`."""
        return Trials(self.history.pareto)

    @property
    def failures(self) -> Trials:
        """The FAILED trials. The `reason` of each says why it failed."""
        return Trials(t for t in self.history.trials if t.state is TrialState.FAILED)

    @property
    def confirmed(self) -> tuple[Confirmed, ...]:
        """The trials that `confirm` trained again, by their mean, the best first."""
        sign = 1.0 if self.mode == "min" else -1.0
        known: Mapping[str, list[float]] = self.history.get_meta(CONFIRMED, {})
        found = [Confirmed(self.history[i], tuple(values)) for i, values in known.items()]
        return tuple(sorted(found, key=lambda c: (math.isnan(c.mean), sign * c.mean)))

    @property
    def results(self) -> pd.DataFrame:
        """A table with one row per trial; see `raytuner.study.export.results`."""
        from raytuner.study.export import results

        return results(self.history)

    @cached_property
    def figures(self) -> Figures:
        """The plots of the report as Plotly figures, such as `study.figures.curves()`.

        For a running study, they show its state when it was loaded.
        """
        from raytuner.report.figures import Figures

        return Figures(self.history)

    def best_by_model(self) -> Trial | None:
        """Return the trial with the best prediction of the model.

        With noisy values, this is a better choice than `best`. `confirm` shows how good the trial
        is.

        Returns:
            The trial; None if there are too few values for a model.
        """
        from raytuner.bayes import best_by_model

        trial_id = best_by_model(self.history.space, self.history.snapshot())
        return None if trial_id is None else self.history[trial_id]

    def hypervolume(self, reference: Mapping[str, float] | None = None) -> pd.DataFrame:
        """Return the hypervolume over time: the volume that the Pareto front dominates.

        Args:
            reference: The reference point: a value for each objective, by name. None: beyond the
                worst values of the last front by a tenth of its range.

        Returns:
            A row for each completed trial that satisfies the outcome constraints, in the order in
            which they ended. Columns: `trial_id`, `ended_at` (Unix seconds) and `hypervolume` (in
            the product of the metrics' units).

        Raises:
            SettingError: `reference` does not have a finite number for each objective.
        """
        from raytuner.report.front import hypervolumes

        return hypervolumes(self.history, reference)

    def predict(self, config: Config) -> Prediction:
        """Predict the metric of a configuration at full resource.

        Args:
            config: The configuration. Constants may be left out.

        Returns:
            The mean and its standard deviation, in units of the metric.

        Raises:
            ConfigError: The configuration does not fit the search space.
            HistoryError: There are too few values for a model.
        """
        return self._surrogate().predict_config(config)

    def importance(self) -> pd.DataFrame:
        """Return the importance of each hyperparameter (Sobol indices), the largest first.

        See `raytuner.report.model.importance` for the columns.

        Raises:
            HistoryError: There are too few values for a model.
        """
        self._surrogate()
        return cast("pd.DataFrame", self.figures.importances)  # not None: there is a model

    def _surrogate(self) -> Surrogate:
        if (model := self.figures.surrogate) is not None:
            return model
        raise HistoryError(
            f"{self.path} has too few values for a model, which needs at least two configurations"
            " with a value"
        )

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report: one HTML page that needs no network.

        Args:
            path: The file to write. Default: `report.html` in the study's folder. For a study at a
                URI, `NAME-report.html` in the current folder.

        Returns:
            The file.

        Raises:
            SettingError: The file cannot be written.
        """
        from raytuner.report.page import render

        if path is not None:
            file = Path(path).expanduser()
        elif isinstance(self.path, Path):
            file = self.path / "report.html"
        else:
            file = Path(f"{self.path.name}-report.html").resolve()
        try:
            file.write_text(render(self.figures, self.path), encoding="utf-8")
        except OSError as error:
            raise SettingError(f"cannot write the report to {file}: {error.strerror}") from error
        return file

    def confirm(
        self,
        k: int = 3,
        repeats: int = 3,
        trainable: Trainable | None = None,
        *,
        seed_key: str | None = None,
        seed: int | None = None,
        resources: Resources | None = None,
        max_concurrent_trials: int | None = None,
    ) -> tuple[Confirmed, ...]:
        """Train the best trials again, to find out which of them were only lucky.

        With noisy values, the best of many trials owes part of its value to luck. The repeats are
        added to those of earlier calls (`confirmed`). The search does not learn from them.

        Args:
            k: How many trials to train again: the best completed ones that satisfy the outcome
                constraints.
            repeats: Number of full trainings of each configuration.
            trainable: As for `resume`.
            seed_key: Key in the configuration from which the training function takes its seed. Each
                repeat uses a different seed, and all configurations use the same seeds. None: the
                configuration is not changed.
            seed: Seed for drawing these seeds; None draws one.
            resources: As for `resume`.
            max_concurrent_trials: Largest number of trainings at the same time; None: as many as
                fit.

        Returns:
            The trials with their repeats, by their mean, the best first.

        Raises:
            SettingError, TrainableError: Bad input.
            HistoryError: No trial has completed.
            InUseError: Another process runs the study.
        """
        from raytuner.study.confirm import confirm

        trainable = self._training(trainable)
        with Writer(record_at(self.path)):
            confirm(
                self.path,
                self.history,
                trainable,
                k=k,
                repeats=repeats,
                seed_key=seed_key,
                seed=seed,
                resources=resources,
                max_concurrent_trials=max_concurrent_trials,
            )
        return self.confirmed

    def resume(
        self, trainable: Trainable | None = None, *, resources: Resources | None = None
    ) -> Study:
        """Continue an interrupted study. Unfinished trials continue from their last checkpoints.

        Args:
            trainable: The training function, class or trainer of the study. None: the one that this
                process used before, or the one that the record names, which is then imported. A
                trainer, or a function from a script or notebook, cannot be imported.
            resources: The resources of one trial. Needed again if they were a function of the
                configuration. None: as before.

        Returns:
            The study after the run.

        Raises:
            TrainableError: The training function cannot be imported; pass it.
            SettingError: `resources` have to be given again.
            HistoryError: Ray saved no state to continue from.
            InUseError: Another process runs the study.
        """
        from raytuner.study.run import resume

        trainable = self._training(trainable)
        with Writer(record_at(self.path)):
            history = resume(self.path, self.history, trainable, resources)
        return Study(self.path, history, trainable)

    def extend(
        self, num_samples: int = -1, trainable: Trainable | None = None, **settings: Any
    ) -> Study:
        """Add trials to a study that has ended. The search learns from all earlier trials.

        The study continues in the same folder and record, as a new Ray Tune experiment, with its
        former settings. Unfinished trials of an interrupted run are ended; call `resume` first to
        finish them.

        A larger `max_t` turns the trials that reached the old one into trials that were stopped
        there. The best of them are tried again from the start: at most half of the new trials.

        A new `param_space` must have the same hyperparameters. Ranges may be wider or narrower,
        choices may have more or fewer values, and a hyperparameter may become a constant or the
        reverse. Trials outside the new space stay in the record, but the search does not learn from
        them. The constraints of the study remain unless `parameter_constraints` is given. A space
        with objects or functions has to be passed again.

        Args:
            num_samples: Number of new trials; -1 for as many as a budget allows.
            trainable: As for `resume`.
            **settings: Settings of this run, as for `raytuner.tune`: `max_t`, `param_space`,
                `parameter_constraints`, `resources`, `scheduler`, `max_concurrent_trials` and
                others. The budgets `time_budget_s` and `budget` have to be given for each run.

        Returns:
            The study after the run.

        Raises:
            TrainableError: The training function cannot be imported; pass it.
            HistoryError: The record has no settings.
            InUseError: Another process runs the study.
            SettingError: Bad input, or a setting that the record cannot hold was not given again.
            SpaceError: `param_space` cannot be combined with the study's space.
        """
        from raytuner.study.extend import extend

        trainable = self._training(trainable)
        with Writer(record_at(self.path)):
            history = extend(self.path, self.history, trainable, num_samples, **settings)
        return Study(self.path, history, trainable)

    def _training(self, given: Trainable | None) -> Trainable:
        """Return the training function: the given one, the kept one, or the imported one."""
        if (known := self._trainable if given is None else given) is not None:
            check_trainable(known)
            return known
        hint = "pass it as the argument trainable (on the command line, --trainable)"
        path = self.history.get_meta("trainable")
        if path is None:
            raise TrainableError(
                "the training function of this study cannot be imported, because it was defined in"
                f" a script, a notebook or another function; {hint}"
            )
        try:
            return imported(path)
        except TrainableError as error:
            runs = self.history.get_meta("runs", [])
            place = f"; change to {runs[-1]['folder']}, where the study was run" if runs else ""
            raise TrainableError(f"{error}{place}, or {hint}") from error


def load(path: str | Folder) -> Study:
    """Load a study from its folder. The study may be finished, running or interrupted.

    Args:
        path: The study's folder or its URI. The folder of a Ray Tune experiment that used
            `raytuner.BoTorchSearch` works too.

    Returns:
        The study as it is now. It does not follow a running study.

    Raises:
        HistoryError: The folder has no record that can be read.
    """
    folder = folder_of(path)
    return Study(folder, record_in(folder))
