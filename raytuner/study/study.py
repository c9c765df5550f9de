"""A study: what was asked, what happened, and where it is kept."""

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
"""Key of the record for the values of repeats, by trial id."""


class Study:
    """A search that ran, runs or was interrupted; `raytuner.tune` and `raytuner.load` return it.

    Attributes:
        path: The folder of the results: the record, and Ray's own files. For a URI, a
            `raytuner.folders.RemoteFolder`.
        history: The record.
    """

    def __init__(self, path: Folder, history: History, trainable: Trainable | None = None) -> None:
        self.path = path
        self.history = history
        # Kept, since a function of a script or notebook cannot be imported.
        self._trainable = trainable

    def __repr__(self) -> str:
        states = ", ".join(f"{count} {state.value}" for state, count in self.counts.items())
        return f"Study({str(self.path)!r}: {states or 'no trials'})"

    def _repr_html_(self) -> str:
        return study_as_html(self)

    @property
    def metric(self) -> str:
        """Name of the objective; of several, the first."""
        return self.history.metric

    @property
    def mode(self) -> str:
        """Whether the metric is to be small or large: "min" or "max"."""
        return self.history.mode

    @property
    def running(self) -> bool:
        """Whether a process runs the study now."""
        return is_running(self.path, self.history)

    @property
    def interrupted(self) -> bool:
        """Whether the run ended before it was done (Ctrl-C, a kill); `resume` continues it."""
        is_done = not self.history.live() and self.history.get_meta("finished") is not False
        return not is_done and not self.running

    @property
    def trials(self) -> Trials:
        """Every trial, in the order of proposal."""
        return Trials(self.history.trials)

    @property
    def counts(self) -> Counter[TrialState]:
        """The number of trials in each state."""
        return self.history.counts

    @property
    def best(self) -> Trial:
        """The incumbent (see `History.best`).

        Raises:
            NoResultError: No trial has a usable value; `history.best` returns None then.
        """
        best = self.history.best
        if best is None:
            raise NoResultError(f"there is no best trial: {text.why_no_best(self.history)}")
        return best

    @property
    def ranked(self) -> Trials:
        """The trials with a full value that did not fail, the best first; see `History.ranked`."""
        return Trials(self.history.ranked)

    @property
    def pareto(self) -> Trials:
        """The Pareto front: trials that no other dominates; see `History.pareto`."""
        return Trials(self.history.pareto)

    @property
    def failures(self) -> Trials:
        """The FAILED trials; each says why in `reason`."""
        return Trials(t for t in self.history.trials if t.state is TrialState.FAILED)

    @property
    def confirmed(self) -> tuple[Confirmed, ...]:
        """The trials that `confirm` trained again, the best mean first."""
        sign = 1.0 if self.mode == "min" else -1.0
        known: Mapping[str, list[float]] = self.history.get_meta(CONFIRMED, {})
        found = [Confirmed(self.history[i], tuple(values)) for i, values in known.items()]
        return tuple(sorted(found, key=lambda c: (math.isnan(c.mean), sign * c.mean)))

    @property
    def results(self) -> pd.DataFrame:
        """A table with one row for each trial; see `raytuner.study.export.results`."""
        from raytuner.study.export import results

        return results(self.history)

    @cached_property
    def figures(self) -> Figures:
        """The plots of the report as Plotly figures, such as `study.figures.curves()`.

        They show a running study as it was when it was loaded.
        """
        from raytuner.report.figures import Figures

        return Figures(self.history)

    def best_by_model(self) -> Trial | None:
        """Return the trial of which a model expects most, to recommend where values are noisy.

        None while too little is known for a model. `confirm` shows how good the trial is.
        """
        from raytuner.bayes import best_by_model

        trial_id = best_by_model(self.history.space, self.history.snapshot())
        return None if trial_id is None else self.history[trial_id]

    def hypervolume(self, reference: Mapping[str, float] | None = None) -> pd.DataFrame:
        """Return how the volume that the Pareto front dominates grew; see `raytuner.report.front`.

        Args:
            reference: A value of each objective, by name, up to which the volume reaches. None: a
                tenth of the last front's range beyond its worst values.

        Returns:
            A row for each trial that completed, by the time it ended: `trial_id`, `ended_at` (Unix
            seconds) and `hypervolume`, in the product of the metrics' units.

        Raises:
            SettingError: `reference` lacks an objective or has another.
        """
        from raytuner.report.front import hypervolumes

        return hypervolumes(self.history, reference)

    def predict(self, config: Config) -> Prediction:
        """Return the mean and standard deviation that a model expects of `config` in full.

        Both are in units of the metric. Constants of the configuration may be left out.

        Raises:
            ConfigError: It does not fit the search space.
            HistoryError: Fewer than two configurations have a value.
        """
        return self._surrogate().predict_config(config)

    def importance(self) -> pd.DataFrame:
        """Return how much each hyperparameter matters, the most important first.

        See `raytuner.report.model.importance`.

        Raises:
            HistoryError: Fewer than two configurations have a value.
        """
        self._surrogate()
        return cast("pd.DataFrame", self.figures.importances)  # there is a model

    def _surrogate(self) -> Surrogate:
        if (model := self.figures.surrogate) is not None:
            return model
        raise HistoryError(
            f"{self.path} says too little for a model: it takes values of two configurations"
            " or more"
        )

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report, one HTML page that opens without a network.

        Args:
            path: The file; default `report.html` in the study's folder, or, for a study behind a
                URI, `NAME-report.html` in the current folder.

        Returns:
            The file.

        Raises:
            SettingError: It cannot be written.
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
        """Train the best few again, so that the winner is not just the luckiest.

        The best of many noisy values is partly the best by its noise. The record adds the repeats
        to those of earlier calls (`confirmed`). The search does not learn from them.

        Args:
            k: Number of the best completed trials that satisfy the outcome constraints.
            repeats: How often each is trained, in full.
            trainable: As for `resume`.
            seed_key: Key of a configuration from which the training function takes its seed. Each
                repeat gets another seed, the same for all configurations. None: the training draws
                its own.
            seed: Seed of these seeds; None draws one.
            resources: As for `resume`.
            max_concurrent_trials: The most trainings at a time; None: as many as fit.

        Returns:
            The trials with their repeats, the best mean first.

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
        """Continue an interrupted run: live trials continue from their last checkpoints.

        Args:
            trainable: The same training function or class. None takes the one that this process ran
                the study with, or imports it, which works for none of a script or notebook.
            resources: What one trial needs, if that was a function of the configuration. None: as
                before.

        Returns:
            The study, after it has run.

        Raises:
            TrainableError: The training function cannot be imported; pass it.
            SettingError: `resources` have to be given again.
            HistoryError: Ray was killed before it saved anything to continue from.
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
        """Continue a study that has ended: more trials, learned from all there are.

        It continues in the same folder and record, as a new experiment of Ray's, with its former
        settings. Trials that an interrupted run left live are ended; `resume` continues them.

        Args:
            num_samples: Number of new trials; -1 for as many as a budget allows.
            trainable: As for `resume`.
            **settings: Settings of this run, as for `raytuner.tune`: budgets (`time_budget_s`,
                `gpu_hours`; none carries over), `max_t`, `param_space`, `parameter_constraints`,
                `resources`, `scheduler`, `max_concurrent_trials` and others.

        With a larger `max_t`, trials that had reached the old one count as stopped there. The best
        of them, at most half of the new trials, are tried again from their start.

        Another `param_space` has the same hyperparameters: ranges may be wider or narrower, choices
        have more or fewer values, a hyperparameter become a constant or the reverse. Trials outside
        stay in the record, but are not learned from. Constraints still hold, unless
        `parameter_constraints` are given. A space with objects or functions has to be passed again.

        Returns:
            The study, after it has run.

        Raises:
            TrainableError: The training function cannot be imported; pass it.
            HistoryError: The record does not keep the settings.
            InUseError: Another process runs the study.
            SettingError: Bad input, or a setting that the record cannot hold is not given again.
            SpaceError: No space holds the study's and `param_space`.
        """
        from raytuner.study.extend import extend

        trainable = self._training(trainable)
        with Writer(record_at(self.path)):
            history = extend(self.path, self.history, trainable, num_samples, **settings)
        return Study(self.path, history, trainable)

    def _training(self, given: Trainable | None) -> Trainable:
        """Return the training function that is given, kept or importable."""
        if (known := self._trainable if given is None else given) is not None:
            check_trainable(known)
            return known
        hint = "pass it as the argument trainable (on the command line, --trainable)"
        path = self.history.get_meta("trainable")
        if path is None:
            raise TrainableError(
                "the training function of this study was defined in a script, a notebook or another"
                f" function, so that it cannot be imported; {hint}"
            )
        try:
            return imported(path)
        except TrainableError as error:
            runs = self.history.get_meta("runs", [])
            place = f"; the study was run from {runs[-1]['folder']}: go there" if runs else ""
            raise TrainableError(f"{error}{place}, or {hint}") from error


def load(path: str | Folder) -> Study:
    """Read a study as it is now from its folder, also a running one or one that was killed.

    Args:
        path: The folder, or its URI; also that of any Ray Tune experiment that used
            `raytuner.BoTorchSearch`.

    Raises:
        HistoryError: There is no record in it.
    """
    folder = folder_of(path)
    return Study(folder, record_in(folder))
