"""A study: what was asked, what happened, and where it is kept."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytuner.errors import HistoryError, NoResultError, SettingError, TrainableError
from raytuner.folders import Folder, folder_of
from raytuner.history import Goal, History, Trial, TrialState, Writer
from raytuner.report import text
from raytuner.search.restore import record_at, record_in
from raytuner.space import Config
from raytuner.study.confirmed import Confirmed, confirmed
from raytuner.study.notebook import Trials, study_as_html
from raytuner.study.standing import is_running

if TYPE_CHECKING:
    import pandas as pd

    from raytuner.report.figures import Figures
    from raytuner.report.model import Prediction, Surrogate


class Study:
    """A search that ran, runs or was interrupted; read from its record.

    Made by :func:`raytuner.tune` and :func:`raytuner.load`.

    Attributes:
        path: The folder of the results: the record and, beside it, Ray's own files. Behind a URI, a
            :class:`raytuner.folders.RemoteFolder`.
        history: The record.
        running: Whether a process runs it now.
        interrupted: Whether the run ended before it was done (Ctrl-C, a kill); :meth:`resume` goes
            on with it.
    """

    def __init__(self, path: Folder, history: History, trainable: Any = None) -> None:
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
    def goal(self) -> Goal:
        """What the search is after: its objectives and outcome constraints."""
        return self.history.goal

    @property
    def max_t(self) -> float | None:
        """A trial's full resource in units of ``history.time_attr``, if known."""
        return self.history.max_t

    @property
    def running(self) -> bool:
        """Whether a process runs the study now, this one or another."""
        return is_running(self.path, self.history)

    @property
    def interrupted(self) -> bool:
        """Whether there is more to do, and no process that does it (Ctrl-C, a kill)."""
        is_done = not self.history.live() and self.history.get_meta("finished") is not False
        return not is_done and not self.running

    @property
    def trials(self) -> Trials:
        """Every trial, in the order of proposal."""
        return Trials(self.history.trials)

    @property
    def best(self) -> Trial:
        """The incumbent (see :meth:`History.best`).

        Raises:
            NoResultError: No trial has a usable value; ``history.best()`` returns None then.
        """
        best = self.history.best()
        if best is None:
            raise NoResultError(f"there is no best trial: {text.why_no_best(self.history)}")
        return best

    @property
    def best_by_model(self) -> Trial | None:
        """The trial to recommend where values are noisy: a model expects most of it in full.

        See :func:`raytuner.bayes.best_by_model`; None while too little is known for a model.
        :meth:`confirm` says how good it is.
        """
        from raytuner.bayes import best_by_model

        trial_id = best_by_model(self.history.space, self.history.snapshot())
        return None if trial_id is None else self.history[trial_id]

    @property
    def pareto(self) -> Trials:
        """The Pareto front: trials that no other dominates (see :meth:`History.pareto`)."""
        return Trials(self.history.pareto())

    def hypervolume(self, reference: Mapping[str, float] | None = None) -> pd.DataFrame:
        """How the volume that the Pareto front dominates grew; see :mod:`raytuner.report.front`.

        Args:
            reference: A value of each objective, by name, up to which the volume reaches. None: a
                tenth of the last front's range beyond its worst values.

        Returns:
            One row for each trial that completed, in the order of their ends: ``trial_id``,
            ``ended_at`` (Unix seconds) and ``hypervolume``, in the product of the metrics' units.

        Raises:
            SettingError: ``reference`` lacks an objective or has another.
        """
        from raytuner.report.front import hypervolumes

        return hypervolumes(self.history, reference)

    @property
    def ranked(self) -> Trials:
        """Trials that have a value in full and did not fail, the best first.

        See :meth:`History.ranked`.
        """
        return Trials(self.history.ranked())

    @property
    def can_resume(self) -> bool:
        """Whether Ray has saved what :meth:`resume` goes on from."""
        from raytuner.study.continued import can_resume

        return can_resume(self.path)

    @property
    def counts(self) -> Counter[TrialState]:
        """How many trials are in each state."""
        return self.history.counts()

    @property
    def failures(self) -> Trials:
        """The FAILED trials; each says why in ``reason``."""
        return Trials(t for t in self.history.trials if t.state is TrialState.FAILED)

    @property
    def resource_spent(self) -> float:
        """What all trials spent together, in units of ``history.time_attr``."""
        return sum(trial.t for trial in self.trials)

    @property
    def results(self) -> pd.DataFrame:
        """A table with one row for each trial; see :func:`raytuner.study.table.results`."""
        from raytuner.study.table import results

        return results(self.history)

    @cached_property
    def figures(self) -> Figures:
        """The plots of the report as Plotly figures: ``study.figures.curves()``, say.

        Of a study that runs they show it as it was when it was loaded.
        """
        from raytuner.report.figures import Figures

        return Figures(self.history)

    def predict(self, config: Config) -> Prediction:
        """What the model of this record expects of a configuration trained in full.

        Args:
            config: The configuration; constants may be left out.

        Returns:
            ``(mean, sd)`` in units of the metric.

        Raises:
            ConfigError: It does not fit the search space.
            HistoryError: Fewer than two configurations have a value.
        """
        return self._surrogate().predict_config(config)

    def importance(self) -> pd.DataFrame:
        """How much each hyperparameter matters, the most important first.

        Returns:
            See :func:`raytuner.report.model.importance`.

        Raises:
            HistoryError: Fewer than two configurations have a value.
        """
        self._surrogate()
        found = self.figures.importances
        assert found is not None  # there is a model
        return found

    def _surrogate(self) -> Surrogate:
        model = self.figures.surrogate
        if model is None:
            raise HistoryError(
                f"{self.path} says too little for a model: it takes values of two configurations"
                " or more"
            )
        return model

    def confirm(
        self,
        k: int = 3,
        repeats: int = 3,
        trainable: Any = None,
        *,
        seed_key: str | None = None,
        seed: int | None = None,
        resources: Any = None,
        max_concurrent: int | None = None,
    ) -> tuple[Confirmed, ...]:
        """Train the best few again, so that the winner is not the luckiest.

        The best of many noisy values is too good to be true: it is the best partly by its noise.
        Repeats say how good each configuration is by itself. They run as an experiment of Ray's
        own in the study's folder and are kept in the record (:attr:`confirmed`), beside those of
        earlier calls; the search does not learn from them.

        Args:
            k: So many of the best trials that completed (and keep the outcome constraints).
            repeats: How often each is trained, in full.
            trainable: As for :meth:`resume`.
            seed_key: Key of a configuration from which the training function takes its seed, which
                is then another for each repeat, and the same for all configurations. None: what is
                random in a training is so by itself.
            seed: Seed of these seeds; None draws one.
            resources: As for :meth:`resume`.
            max_concurrent: At most so many trainings at a time; None: as many as fit.

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
            return confirm(
                self.path,
                self.history,
                trainable,
                k=k,
                repeats=repeats,
                seed_key=seed_key,
                seed=seed,
                resources=resources,
                max_concurrent=max_concurrent,
            )

    @property
    def confirmed(self) -> tuple[Confirmed, ...]:
        """Trials that were trained again (:meth:`confirm`), the best mean first."""
        return confirmed(self.history)

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report, one HTML page that opens without a network.

        Args:
            path: The file; default ``report.html`` in the study's folder, or ``NAME-report.html``
                in the current one, where the study is behind a URI.

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

    def resume(self, trainable: Any = None, *, resources: Any = None) -> Study:
        """Go on where the run was interrupted: live trials go on from their last checkpoints.

        Args:
            trainable: The same training function or class. None takes the one that this process ran
                the study with. A loaded study imports it from where it was defined, which works
                for everything but functions of a script or notebook.
            resources: What one trial needs, if that was a function of the configuration, which the
                record cannot hold. None: what the study was run with.

        Returns:
            The study, after it has run.

        Raises:
            TrainableError: The training function cannot be imported; pass it.
            SettingError: ``resources`` have to be given again.
            HistoryError: Ray was killed before it saved anything to go on from.
            InUseError: Another process runs the study.
        """
        from raytuner.study.continued import resume

        trainable = self._training(trainable)
        with Writer(record_at(self.path)):
            history = resume(self.path, self.history, trainable, resources)
        return Study(self.path, history, trainable)

    def extend(self, num_samples: int = -1, trainable: Any = None, **settings: Any) -> Study:
        """Go on with a study that has ended: more trials, learned from all there are.

        It goes on in the same folder and record, as a new experiment of Ray's, under the settings
        it was run with. Trials that an interrupted run left behind are given up; :meth:`resume`
        goes on with them.

        Args:
            num_samples: So many more trials; -1 for as many as a budget allows.
            trainable: As for :meth:`resume`.
            **settings: ``time_budget_s`` and ``gpu_hours`` for these trials (none carries over);
                ``max_t``, ``param_space``, ``parameter_constraints``, ``resources``, ``scheduler``,
                ``stop_after_failures`` and ``max_concurrent`` in place of those it was run with;
                ``callbacks`` and ``progress`` as for :func:`raytuner.tune`.

        A larger ``max_t``: trials that had reached the old one count as stopped there, and the best
        of them, at most half of the new trials, are tried again from their start.

        Another ``param_space``, with the same hyperparameters: new trials come from it. The record
        grows to hold both, and trials that lie outside stay in it, but the model that proposes does
        not learn from them. A range may be wider or narrower, a choice have more or fewer values, a
        hyperparameter become a constant or a constant one. Constraints go on to hold, unless
        ``parameter_constraints`` says otherwise. A space with objects or constraint functions, that
        no file can hold, has to be passed again, as it was.

        Returns:
            The study, after it has run.

        Raises:
            TrainableError: The training function cannot be imported; pass it.
            HistoryError: The record does not say how to go on.
            InUseError: Another process runs the study.
            SettingError: Bad input, or a setting that the record cannot hold is not given again.
            SpaceError: No space holds the study's and ``param_space``.
        """
        from raytuner.study.continued import extend

        trainable = self._training(trainable)
        with Writer(record_at(self.path)):
            history = extend(
                self.path, self.history, trainable, num_samples=num_samples, **settings
            )
        return Study(self.path, history, trainable)

    def _training(self, given: Any) -> Any:
        """Return the training function or class that is given, kept or importable."""
        for known in (given, self._trainable):
            if known is not None:
                return known
        return _imported(self.history.get_meta("trainable"))


def load(path: str | Folder) -> Study:
    """Read a study back from its folder (also one that a killed process left behind).

    Args:
        path: The folder, as printed at the end of a run, or that of any Ray Tune experiment that
            used :class:`raytuner.BoTorchSearch`; or its URI.

    Raises:
        HistoryError: There is no record in it.

    The record is read as it is now and kept in memory: loading a study that runs does not disturb
    it.
    """
    folder = folder_of(path)
    return Study(folder, record_in(folder))


def _imported(where: str | None) -> Any:
    """The object at ``module:qualified.name``.

    Raises:
        TrainableError: It cannot be imported.
    """
    if where is None:
        raise TrainableError(
            "the training function of this study was defined in a script, a notebook or another"
            " function, so that it cannot be imported; pass it as the argument trainable"
        )
    try:
        module, _, name = where.partition(":")
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise TrainableError(
            f"the training function of this study, {where!r}, cannot be imported ({error}); pass"
            " it as the argument trainable"
        ) from None
    return found
