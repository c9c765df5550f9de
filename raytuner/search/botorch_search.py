"""Bayesian optimisation as a Ray Tune searcher."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ray.tune.result import DEFAULT_METRIC
from ray.tune.search import Repeater, Searcher

from raytuner.bayes import Proposer
from raytuner.controller.handle import asked_through
from raytuner.controller.tuner import param_space_of_tuner
from raytuner.errors import MetricError, SettingError, SpaceError
from raytuner.folders import Folder
from raytuner.search.active import ActiveSearch, new_record
from raytuner.search.background import StartProcess
from raytuner.search.grids import grids, warn_of_too_few
from raytuner.search.initial import Evaluated, record_evaluated
from raytuner.search.recording_searcher import RecordingSearcher
from raytuner.search.settings import DEFAULT_STRATEGY, SearchSettings, record_place
from raytuner.search.tune_space import check_functions, has_domains, without_conditional
from raytuner.space import Config, Rule, Space
from raytuner.space.choices import is_number
from raytuner.space.lookalikes import nothing_varies, warn_of_lookalikes

_FINISHED: str = Searcher.FINISHED


class BoTorchSearch(RecordingSearcher):
    """A Ray Tune searcher for Bayesian optimisation, with models from BoTorch.

    Like every Ray searcher, it takes metric, mode and search space from the Tuner. It accepts all
    of Ray Tune's domains.

    After a quasi-random start, each proposal maximises the log expected improvement of a Gaussian
    process, taking running trials into account. The model treats the value of a stopped trial as a
    value at the trial's resource, not as a final value. A separate process fits the model and
    computes proposals, so Ray's loop does not wait for it (`raytuner.search.background`).

    With several objectives, each proposal weighs them at random, and the result is a Pareto front
    (`history.pareto`). With fidelities (`raytuner.fidelity`), most trials are cheap, and the best
    trial is the best at full fidelity. Configurations are not repeated as long as the space has
    others. The search ends when a finite space is used up.

    Args:
        space: The search space: a `param_space` of Ray Tune domains or a `Space`. None: the
            Tuner's.
        metric: Name of the objective in the reports, or a list of several names. None: the Tuner's
            metric, which is a single one. If that is also None, the single number that the training
            function returns.
        mode: "min" or "max", or a list with one mode for each metric. None: the Tuner's.
        outcome_constraints: Bounds on metrics, such as `"latency_ms <= 20"`. Reports without these
            metrics are skipped.
        weights: A number above 0 for each of several metrics. The objective is their weighted sum,
            in which metrics with mode "min" are negated.
        cost: Key in the report for a trial's cost so far, such as Ray's "time_total_s". Proposals
            then maximise the expected improvement per unit of cost. A model learns the cost from
            the trials. None: all trials cost the same; with fidelities, "time_total_s".
        standard_error: Key in the report for the metric's standard error, for example of a mean
            over folds. Reports may lack it. None: all values are equally certain.
        points_to_evaluate: Configurations to try first. The search proposes values for missing
            hyperparameters.
        evaluated_rewards: The metric's value for each of `points_to_evaluate`, if they were
            evaluated before. For several metrics, a dict by name. These points do not run again.
        parameter_constraints: Constraints on every configuration, in addition to those of the
            space: strings such as `"layers * units <= 1024"`, or functions of the configuration
            that return a bool (`raytuner.space.constraints`).
        time_attr: Key in the report for the resource that a trial has spent.
        max_t: A trial's full resource in units of `time_attr`. None: taken from a raytuner
            scheduler or from the experiment's stop criterion, if there is one.
        background: True computes proposals in a separate process on the driver's node, which takes
            no CPU slot from the trials. False computes them inside `suggest`, which blocks Ray's
            loop. The same seed and results then give the same proposals. Without a Ray connection,
            proposals are always computed inside `suggest`.
        seed: Seed of all random numbers. None draws one.
        n_initial: Number of quasi-random configurations before the first model. None: `d + 1`, at
            least 5 and at most 20.
        record: File for the record of the search (`raytuner.history.sqlite`), or its URI. None:
            next to Ray's own state of the experiment.
        strategy: Name of the search strategy (`raytuner.bayes.strategies.STRATEGIES`). With a
            model: "bayes", "hedge", "pi", "ucb", "kg", "thompson", "gradient". Without one:
            "evolution", "sobol", "random", "grid".
        proposer: A function that makes your own proposer from a space and a seed.
        earlier: Earlier studies to learn from: a folder, or a list of studies, folders and pandas
            tables. A folder that is not a study means all usable studies in it, up to three levels
            deep. A table has a column for each metric and for each hyperparameter. Names of nested
            hyperparameters are joined by "/"; the prefix `config/` is optional. Their space may
            differ from this one (`raytuner.search.transfer.within`). A few of their best
            configurations are tried first. Their models serve as prior mean as long as they rank
            the values of this search well.
        priors: Where you expect the optimum, by hyperparameter (names of nested ones are joined by
            "/"): `raytuner.near(value)`, a dict of weights by value of a choice, or a frozen SciPy
            distribution. The first configuration is the most likely one, and half of the rest of
            the initial design is drawn from the priors. Their weight fades as values arrive.
        curves: Names of further metrics to keep at every report, in `trial.others[name]`. Of all
            other numbers, `trial.metrics` has the last value.

    Raises:
        SpaceError, ConfigError, MetricError, SettingError: A value is invalid, or two values
            contradict each other. Raised here or when the Tuner starts, before any trial.

    Examples:
        >>> from ray import tune
        >>> search = BoTorchSearch({"lr": tune.loguniform(1e-4, 1e-1)}, "loss", "min", seed=0)
        >>> config = search.suggest("trial_1")
        >>> search.on_trial_complete("trial_1", {"loss": 0.3, "training_iteration": 1})
        >>> search.history.best.value
        0.3
    """

    def __init__(
        self,
        space: Mapping[str, Any] | Space | None = None,
        metric: str | Sequence[str] | None = None,
        mode: str | Sequence[str] | None = None,
        *,
        outcome_constraints: Sequence[str] = (),
        weights: Sequence[float] | None = None,
        cost: str | None = None,
        standard_error: str | None = None,
        points_to_evaluate: Sequence[Config] | None = None,
        evaluated_rewards: Sequence[float | Mapping[str, float]] | None = None,
        parameter_constraints: Sequence[Rule] = (),
        time_attr: str = "training_iteration",
        max_t: float | None = None,
        background: bool = True,
        seed: int | None = None,
        n_initial: int | None = None,
        record: str | Folder | None = None,
        strategy: str = DEFAULT_STRATEGY,
        proposer: Callable[[Space, int | None], Proposer] | None = None,
        earlier: Sequence[Any] | str | Folder = (),
        priors: Mapping[str, Any] | None = None,
        curves: Sequence[str] = (),
    ) -> None:
        settings = SearchSettings(
            metric=metric,
            mode=mode,
            outcome_constraints=outcome_constraints,
            weights=weights,
            cost=cost,
            standard_error=standard_error,
            points_to_evaluate=points_to_evaluate,
            evaluated_rewards=evaluated_rewards,
            parameter_constraints=parameter_constraints,
            time_attr=time_attr,
            max_t=max_t,
            background=background,
            seed=seed,
            n_initial=n_initial,
            record=record,
            strategy=strategy,
            proposer=proposer,
            earlier=earlier,
            priors=priors,
            curves=curves,
        )
        if space is not None:
            settings = settings.with_space(space)
        super().__init__(settings)
        self._evaluated: list[Evaluated] = []  # until the search begins
        self._grids: list[str] = []  # hyperparameters of which every value has to be tried
        self._has_warned = False  # of constants that should perhaps vary
        if space is not None:
            self._inspect(space)
        if settings.space is not None and settings.goal is not None:
            self._search()

    # -- before the first trial -----------------------------------------------------------------

    def set_search_properties(
        self,
        metric: str | Sequence[str] | None,
        mode: str | Sequence[str] | None,
        config: dict[str, Any] | Space,
        **spec: Any,
    ) -> bool:
        """Take metric, mode and search space from the Tuner or a study.

        Returns:
            False if the searcher already has a search space and `config` has domains too; Ray then
            raises an error. Otherwise True.

        Raises:
            RaytunerError: As for the constructor.
        """
        if self._settings.space is not None and (isinstance(config, Space) or has_domains(config)):
            return False
        settings = self._settings.with_tuner(metric, mode)
        if settings.space is None:
            settings = settings.with_space(config)
            self._inspect(config)
            if not isinstance(config, Space):
                # Ray merges each proposal into this dict: what remains in it reaches every trial.
                always = without_conditional(config)
                config.clear()
                config.update(always)
        if settings.max_t is None:
            stop = spec.get("stop")
            level: Any = stop.get(settings.time_attr) if isinstance(stop, Mapping) else None
            settings = replace(settings, max_t=float(level) if is_number(level) else None)
        self._change(settings)
        self._search().history.max_t = settings.max_t
        warn_of_too_few(self.history, self._grids, spec.get("num_samples"))
        return True

    def keep_record_in(self, path: str | Folder) -> None:
        """Keep the record in the file `path` from the first suggestion on, like `record=`."""
        self._place.asked = record_place(path)

    def compute_in(self, start: StartProcess | None) -> None:
        """Compute proposals in a process that `start` starts; None: inside `suggest`."""
        background = start is not None
        self._change(replace(self._settings, background=background, start_process=start))

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Limit the number of trials that run at the same time (from a ConcurrencyLimiter).

        Paused trials do not count: they use no resources, and the search would wait for them for
        ever. A limiter's `batch=True` has no effect: proposals take pending trials into account, so
        waiting for a whole batch has no benefit.
        """
        self._change(replace(self._settings, max_concurrent=max_concurrent))
        return True

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: float | Mapping[str, float],
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Learn from a configuration that was evaluated elsewhere.

        If the search has no space or goal yet, errors are raised once it has.

        Args:
            parameters: The configuration. Constants may be left out.
            value: The metric. With several metrics, a dict by name.
            error: Whether the evaluation failed. The value is then not used.
            pruned: Whether the evaluation was stopped early. The value is then not final.
            intermediate_values: The metric after 1, 2, ... units of resource. Only for a single
                metric.

        Raises:
            ConfigError: The configuration does not fit the space.
            MetricError: A value is not a number.
            SettingError: `pruned` was given without `intermediate_values`.
        """
        point = Evaluated(parameters, value, error, pruned, intermediate_values or ())
        if self._active is None:
            self._evaluated.append(point)  # recorded once the space is known
        else:
            record_evaluated(self._active.history, point)

    # -- Ray's hooks ----------------------------------------------------------------------------

    def suggest(self, trial_id: str) -> Config | str | None:  # type: ignore[override]  # FINISHED
        """Return a configuration for a new trial.

        Returns:
            The full configuration. None while no more trials may run, or to wait for a better
            proposal. `Searcher.FINISHED` when a finite space is used up.

        Raises:
            SpaceError, MetricError: There is no search space or metric, or the first few trials all
                ended without the metric.
            SettingError: Ray's `Repeater` wraps this searcher.
        """
        search = self._search()
        history = search.history
        few = self.stop_unreported_after
        if 0 < few <= len(self._unreported) and not history.has_values:
            raise MetricError(f"the first {few} trials failed: {self._unreported[-1]}")
        if not self._controller.is_known and asked_through(Repeater):
            raise SettingError(
                "Ray's Repeater does not pass on the reports of its trials, so it cannot be used."
                " Repeat the training inside the training function and report the means, or repeat"
                " the best trials afterwards with study.confirm()"
            )
        self._place.check()
        if history.path is None:
            self._place.settle(history)
        self._controller.find(self._end)
        self._correct()
        config = search.next(trial_id)
        return _FINISHED if config is None and search.is_used_up else config

    @property
    def strategy(self) -> str:
        """The name of the search strategy."""
        return self._settings.strategy

    @property
    def background(self) -> bool:
        """True if a separate process computes proposals."""
        return self._settings.background

    # -- inside ---------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Check the Tuner's param_space: Ray pickles the searcher when it makes a Tuner."""
        given = param_space_of_tuner()
        if given:
            check_functions(given)
            if self._settings.space is None and not has_domains(given):
                raise SpaceError(nothing_varies(given))
            self._inspect(given)
        return self.__dict__.copy()

    def _search(self) -> ActiveSearch:
        """Return the active search. The first call starts it.

        Raises:
            SpaceError, MetricError: The search space, the metric or the mode is unknown.
        """
        if self._active is not None:
            return self._active
        if self._settings.space is None:
            raise SpaceError(
                "BoTorchSearch has no search space: the Tuner's param_space is empty, and no space"
                " was given; add at least one hyperparameter"
            )
        if self._settings.metric is None and isinstance(self._settings.mode, str):
            # Ray's name for the single number that a function returns
            self._settings = replace(self._settings, metric=DEFAULT_METRIC)
        self._metric, self._mode = self._settings.metric, self._settings.mode
        if self._settings.goal is None:
            raise MetricError(
                f"metric is {self._metric!r} and mode is {self._mode!r}; give the name of the"
                " reported metric, and mode 'min' or 'max', to TuneConfig, or to BoTorchSearch if"
                " the Tuner has no param_space. A function that returns a single number needs only"
                " the mode"
            )
        active = self.continue_from(new_record(self._settings, self._grids, self._evaluated))
        self._evaluated.clear()
        return active

    def _change(self, settings: SearchSettings) -> None:
        self._settings = settings
        if self._active is not None:
            self._active.settings = settings

    def _inspect(self, space: Mapping[str, Any] | Space) -> None:
        """Note the grids of a space, and warn once about constants that perhaps should vary."""
        space = space.template if isinstance(space, Space) else space
        if self.strategy != "grid":  # which tries every combination
            self._grids = grids(space)
        if not self._has_warned:
            self._has_warned = warn_of_lookalikes(space)
