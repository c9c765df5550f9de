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
    """Proposes configurations by Bayesian optimisation with BoTorch.

    Takes metric, mode and search space from the Tuner, as every Ray searcher does, and accepts all
    of Ray Tune's domains. After a quasi-random start, each configuration maximises the log expected
    improvement of a Gaussian process, jointly with the trials that are still running. The model
    learns from the value of a stopped trial as a value at that trial's resource, not as a final
    one. A process next to the trials fits the model and computes proposals, so that Ray's loop
    never waits for it (`raytuner.search.background`).

    With several objectives (a list of metrics and one of modes), each proposal weighs them anew,
    and the result is a Pareto front (`history.pareto`). With fidelities (`raytuner.fidelity`),
    most trials are cheap ones, and the best is the best at full fidelity. Configurations are unique
    as long as the space has others. A finite space that is used up ends the search.

    Args:
        space: The search space: a `param_space` of Ray Tune domains or a `Space`. None takes the
            Tuner's.
        metric: Name of the objective in a report, or a list of several. None takes the Tuner's,
            which can hold one only. Without one there either, it is the one number that a training
            function returns.
        mode: "min" or "max", or a list with one for each metric. None takes the Tuner's.
        outcome_constraints: Bounds on metrics, such as `"latency_ms <= 20"`. A report without
            these metrics is skipped too.
        weights: One number above 0 for each of several metrics. The objective is the sum of the
            metrics, each times its weight, and negated where its mode is "min".
        cost: Key of a report for what the trial has cost so far, such as Ray's "time_total_s".
            Proposals then promise the largest improvement per unit of cost, which is learned from
            the trials. None: all trials cost the same; with fidelities, "time_total_s".
        standard_error: Key of a report for the metric's standard error (of a mean over folds, say).
            A report may lack it. None: all values are equally certain.
        points_to_evaluate: Configurations to try first. What a configuration leaves out is
            proposed.
        evaluated_rewards: The value of the metric for each of `points_to_evaluate`, if they were
            evaluated already (of several metrics, a dict by name). They are not tried again.
        parameter_constraints: What every configuration must keep, in addition to the space's own
            constraints: strings such as `"layers * units <= 1024"`, or functions of the
            configuration that return a bool (`raytuner.space.constraints`).
        time_attr: Key of a report for the resource that a trial has spent.
        max_t: A trial's full resource in units of `time_attr`. None takes it from a raytuner
            scheduler or from the experiment's stop criterion, if there is one.
        background: True computes proposals in a process of its own, on the driver's node, which
            takes no CPU slot from the trials. False computes them inside `suggest`, while Ray's
            loop stands still: the same seed and results then give the same proposals. That is also
            done where no Ray is connected.
        seed: Seed of everything random. None draws one.
        n_initial: Number of quasi-random configurations before the first model. None: `d + 1`, at
            least 5 and at most 20.
        record: File to keep the record of the search in (`raytuner.history.sqlite`), or its URI.
            None keeps it next to Ray's own state of the experiment.
        strategy: Name of the search strategy (`raytuner.bayes.strategies.STRATEGIES`): "bayes", or
            "hedge", "pi", "ucb", "kg", "thompson", "gradient" (with a model), "evolution",
            "sobol", "random", "grid" (without).
        proposer: Makes a proposer of your own from a space and a seed.
        earlier: Earlier studies to start from: folders of studies, studies, or tables (pandas) of
            hyperparameters by name, nested ones joined by "/", with or without the prefix
            `config/`, and a column for each metric. A folder with studies in it, up to three levels
            deep, stands for those that are of use to this search. One folder needs no list. Their
            space may differ from this one (`raytuner.search.transfer.within`). A few of their best
            configurations are tried first, and their models are this search's prior mean as long
            as they rank its values well.
        priors: Where the optimum is believed to be, by name of a hyperparameter (nested ones joined
            by "/"): `raytuner.near(value)`, weights by value of a choice (a dict), or a frozen
            SciPy distribution. The first configuration is the likeliest, and half of the others of
            the initial design are drawn from it. Its weight fades as values come.
        curves: Names of further metrics whose value at each report is kept, in
            `trial.others[name]`. Of every other number that a trial reports, the last value is
            kept, in `trial.metrics`.

    Raises:
        SpaceError, ConfigError, MetricError, SettingError: A value is invalid, or is given twice
            and differs. Raised here or when the Tuner starts, before any trial.

    Example:
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
        self._grids: list[str] = []  # hyperparameters whose every value is to be tried
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
        """Take metric, mode and search space from the Tuner, or from a study.

        Returns:
            False if there is a search space already and `config` has domains too (Ray then raises
            an error); True otherwise.

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
                # Ray lays each proposal over this dict: what is left in it reaches every trial.
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
        """Keep the record in the file `path` from the first suggestion on (as `record=`)."""
        self._place.asked = record_place(path)

    def compute_in(self, start: StartProcess | None) -> None:
        """Compute proposals in the process that `start` starts; None: inside `suggest`."""
        background = start is not None
        self._change(replace(self._settings, background=background, start_process=start))

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Bound the number of trials that run at the same time (from a ConcurrencyLimiter).

        Paused trials do not count: they hold no resources, and counting them would wait for them
        for ever. A limiter's `batch=True` has no effect: proposals take pending trials into
        account, so waiting for a whole batch gains nothing.
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

        Args:
            parameters: The configuration (constants may be left out).
            value: Its metric; with several metrics, all of them by name.
            error: It failed; the value is not used.
            pruned: It was stopped early: the value is not a final one.
            intermediate_values: The metric after 1, 2, ... units of resource; of one metric only.

        Raises:
            ConfigError: The configuration does not fit the space.
            MetricError: A value is not a number.
            SettingError: `pruned` without `intermediate_values`: the resource is unknown then.

        Where the search has no space or goal yet, the errors come once it has.
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
            The full configuration; None while no more trials may run, or a better proposal is
            worth waiting for; `Searcher.FINISHED` once a finite space is used up.

        Raises:
            SpaceError, MetricError: There is no search space or no metric; or the first few trials
                all ended without the metric.
            SettingError: Ray's `Repeater` wraps this searcher.
        """
        search = self._search()
        history = search.history
        few = self.stop_unreported_after
        if 0 < few <= len(self._unreported) and not history.has_values:
            raise MetricError(f"the first {few} trials failed: {self._unreported[-1]}")
        if not self._controller.is_known and asked_through(Repeater):
            raise SettingError(
                "Ray's Repeater does not pass on what its trials report; leave it out, repeat the"
                " training inside the training function, and report the means, or repeat the best"
                " trials afterwards with study.confirm()"
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
        """Whether proposals are computed in a process of their own."""
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
        """Return the search under way, and begin it first if all that it needs is known.

        Raises:
            SpaceError, MetricError: It is not.
        """
        if self._active is not None:
            return self._active
        if self._settings.space is None:
            raise SpaceError(
                "BoTorchSearch has no search space: param_space of the Tuner is empty, and"
                " no space was given; name at least one hyperparameter"
            )
        if self._settings.metric is None and isinstance(self._settings.mode, str):
            # Ray's name for the one number that a function returns
            self._settings = replace(self._settings, metric=DEFAULT_METRIC)
        self._metric, self._mode = self._settings.metric, self._settings.mode
        if self._settings.goal is None:
            raise MetricError(
                f"metric is {self._metric!r} and mode is {self._mode!r}; name both, in TuneConfig"
                " or, where the Tuner has no param_space, in BoTorchSearch: the metric that is"
                " reported, and mode 'min' or 'max' (a function that returns one number needs the"
                " mode only)"
            )
        active = self.continue_from(new_record(self._settings, self._grids, self._evaluated))
        self._evaluated.clear()
        return active

    def _change(self, settings: SearchSettings) -> None:
        self._settings = settings
        if self._active is not None:
            self._active.settings = settings

    def _inspect(self, space: Mapping[str, Any] | Space) -> None:
        """Note the grids of a space, and warn once of constants that should perhaps vary."""
        space = space.template if isinstance(space, Space) else space
        if self.strategy != "grid":  # which tries every combination
            self._grids = grids(space)
        if not self._has_warned:
            self._has_warned = warn_of_lookalikes(space)
