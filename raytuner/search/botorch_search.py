"""Bayesian optimisation as a Ray Tune searcher."""

from __future__ import annotations

import logging
import math
import uuid
import weakref
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import ray
from ray.tune.result import DEFAULT_METRIC
from ray.tune.search import Repeater, Searcher

from raytuner.bayes import Proposer, best_by_model
from raytuner.bayes.seen import Seen
from raytuner.bayes.strategies import STRATEGIES, check_goal
from raytuner.bayes.strategies import strategy as find_strategy
from raytuner.controller.handle import ControllerHandle, ahead, asked_through
from raytuner.controller.tuner import param_space_of_tuner
from raytuner.errors import HistoryError, InUseError, MetricError, SettingError, SpaceError
from raytuner.folders import Folder, RemoteFolder, folder_of, is_uri
from raytuner.history import (
    Goal,
    History,
    Origin,
    Repeats,
    Snapshot,
    Trial,
    TrialState,
    Writer,
    held,
    proposal_counts,
    record_exists,
)
from raytuner.history.goal import names_of
from raytuner.ray_report import FEW, Unreported, lacking, read_report, resource_of
from raytuner.search.background import Background, StartProcess
from raytuner.search.checkpoints import last_checkpoint, note_checkpoint
from raytuner.search.earlier import EARLIER, tasks_within, within
from raytuner.search.earlier import from_json as earlier_from_json
from raytuner.search.earlier import to_json as earlier_json
from raytuner.search.earlier_study import EarlierStudy, check_earlier, read_earlier
from raytuner.search.evaluated import Evaluated, tell
from raytuner.search.factory import BayesFactory, StrategyFactory
from raytuner.search.initial import InitialPoints
from raytuner.search.mirror import MakeProposer, Setup
from raytuner.search.narrowed import Narrowed
from raytuner.search.outcome import Outcome, correct, ending, keep, record
from raytuner.search.param_space import (
    GRIDS,
    grids,
    warn_of_constants,
    warn_of_too_few,
    with_untried,
)
from raytuner.search.priors import PRIORS, read_priors
from raytuner.search.priors import from_json as priors_from_json
from raytuner.search.priors import to_json as priors_json
from raytuner.search.process import ActorProcess
from raytuner.search.proposals import InsideSuggest, Proposals
from raytuner.search.restore import RECORD_FILE, UNKNOWN_TO_RAY, LateEnd, counted, reconciled
from raytuner.search.tune_space import (
    check_functions,
    has_domains,
    space_from_tune,
    without_conditional,
)
from raytuner.space import Config, Rule, Space
from raytuner.space.choices import is_number
from raytuner.space.space import nothing_varies

logger = logging.getLogger(__name__)

DEFAULT_STRATEGY = "bayes"

# What Ray says in every report that a trial has cost so far, in seconds.
_RAYS_COST = "time_total_s"

_FINISHED: str = Searcher.FINISHED

# Name of the folder in which Ray gathers an experiment's state before it uploads it.
_STAGING = "driver_artifacts"

# Seconds that Ray's loop may wait for the record's last piece before Ray saves the experiment.
_FLUSH_S = 5.0


class BoTorchSearch(Searcher):
    """Proposes configurations by Bayesian optimisation with BoTorch.

    Takes metric, mode and search space from the Tuner, as every Ray searcher does, and accepts all
    of Ray Tune's domains. After a quasi-random start, each configuration maximises the log expected
    improvement of a Gaussian process, jointly with the trials that are still running. Values of
    trials that a scheduler stopped are learned from as what they are, values at their resource.

    A process beside the trials fits the model and computes proposals, so that Ray's loop never
    waits for them. A free slot does where that costs it little, such as a tenth of a trial
    (:mod:`raytuner.search.background`). As many trials are proposed as the cluster has slots for,
    and one more (:mod:`raytuner.controller.handle`).

    Several objectives, as a list of metrics and one of modes: each proposal weighs them anew, and
    what comes of them all is a Pareto front (``history.pareto()``); or, with ``weights``, their
    weighted sum is the one objective.
    Outcome constraints hold for what a trial reports: proposals are where they will likely be kept,
    and the best is the best that keeps them.

    Hyperparameters that are fidelities (:func:`raytuner.fidelity`): most trials are cheap ones, by
    what is learned of the real thing per cost, and the best is the best at full fidelity.

    Configurations are unique as long as the space has others; a finite space that is used up ends
    the search.

    Args:
        space: The search space: a ``param_space`` of Ray Tune domains or a :class:`Space`. None
            takes the Tuner's.
        metric: Name of the objective in a report, or a list of several. None takes the Tuner's,
            which can hold one only; without one there either, it is the bare number that a training
            function returns.
        mode: "min" or "max", or a list with one for each metric. None takes the Tuner's.
        points_to_evaluate: Configurations to try first. What a configuration leaves out is
            proposed.
        evaluated_rewards: The value of the metric for each of ``points_to_evaluate``, if they were
            evaluated already (of several metrics, a dict by name). They are not tried again.
        parameter_constraints: What every configuration must keep, beside the space's own: strings
            such as ``"layers * units <= 1024"``, or functions of the configuration that return a
            truth value (:mod:`raytuner.space.constraints`).
        time_attr: Key of a report that says what a trial has spent.
        outcome_constraints: Bounds on metrics, such as ``"latency_ms <= 20"``; a report without
            these metrics is skipped too.
        cost: Key of a report that says what the trial has cost so far, such as Ray's
            "time_total_s": proposals then promise the largest improvement per unit of cost, which
            is learned from the trials. None: all count as equally dear; where there are fidelities,
            "time_total_s".
        standard_error: Key of a report that says the metric's standard error (of a mean over folds,
            say). A report may lack it. The surer a value, the more it counts. None: all count as
            equally sure.
        weights: One number above 0 for each of several metrics: the objective is the sum of these,
            each times its weight, and taken negative where its mode is "min".
        max_t: A trial's full resource in units of ``time_attr``. None takes it from a raytuner
            scheduler or from the experiment's stop criterion, if there is one.
        background: True keeps proposals ready in a process of its own, on the driver's node, that
            takes no CPU slot from the trials. False computes them inside ``suggest``, and Ray's
            loop stands still meanwhile: the same seed and the same results give the same proposals
            then. It is so, too, where no Ray is connected (a searcher driven by hand, say).
        background_gpus: Share of a GPU that this process reserves, for a ``proposer`` that computes
            on one; raytuner's own does not.
        seed: Seed of all that is random; None draws one.
        n_initial: Quasi-random configurations before the first model; None: ``d + 1``, at least 5
            and at most 20.
        record: File to keep the record of the search in (see :mod:`raytuner.history.sqlite`), or
            its URI. None keeps it beside Ray's own state of the experiment.
        strategy: How to search, by name (:data:`raytuner.bayes.strategies.STRATEGIES`): "bayes", or
            "hedge", "ei", "pi", "ucb", "kg", "thompson", "gradient" (with a model), "evolution",
            "sobol", "random", "grid" (without; computed inside ``suggest`` in no time).
        proposer: Makes a proposer of your own for a space and a seed.
        earlier: Earlier studies to start from: folders of studies, studies, or tables (pandas) of
            hyperparameters by name, nested ones joined by "/", with or without ``config/`` before
            it, and a column of each metric. Their space may be another one
            (:func:`raytuner.search.earlier.within`). The best of their configurations are tried
            first, and their models are this search's prior mean as long as they rank its values
            well (:class:`raytuner.bayes.earlier.Earlier`).
        priors: Where the optimum is believed to be, by name of a hyperparameter (nested ones joined
            by "/"): ``raytuner.near(value)``, weights by value of a choice (a dict), or a frozen
            distribution of SciPy's over its values. The first configuration is the likeliest, and
            half of the others of the initial design are drawn from it; its weight among proposals
            fades as values come (:class:`raytuner.bayes.belief.Beliefs`).
        curves: Names of further metrics whose value at each report is kept, in
            ``trial.others[name]``. Of every other number that a trial reports, the last value is
            kept, in ``trial.metrics``.

    Raises:
        SpaceError, ConfigError, MetricError, SettingError: What was received cannot be, or is
            given twice and differs. Raised here, or when the Tuner starts, before any trial.

    Example:
        >>> from ray import tune
        >>> search = BoTorchSearch({"lr": tune.loguniform(1e-4, 1e-1)}, "loss", "min", seed=0)
        >>> config = search.suggest("trial_1")
        >>> search.on_trial_complete("trial_1", {"loss": 0.3, "training_iteration": 1})
        >>> search.history.best().value
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
        background_gpus: float = 0.0,
        seed: int | None = None,
        n_initial: int | None = None,
        record: str | Folder | None = None,
        strategy: str = DEFAULT_STRATEGY,
        proposer: Callable[[Space, int | None], Proposer] | None = None,
        earlier: Sequence[Any] = (),
        priors: Mapping[str, Any] | None = None,
        curves: Sequence[str] = (),
    ) -> None:
        if not isinstance(background, bool):
            raise SettingError(f"background is {background!r}; it must be True or False")
        if not is_number(background_gpus) or background_gpus < 0:
            raise SettingError(
                f"background_gpus is {background_gpus!r}; it must be a share of a GPU, such as 0.25"
            )
        _check_key("time_attr", time_attr)
        if max_t is not None and not (is_number(max_t) and max_t > 0):
            raise SettingError(f"max_t is {max_t!r}; it must be above 0, in units of {time_attr!r}")
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
            raise SettingError(f"seed is {seed!r}; it must be a whole number >= 0, or None")
        check_earlier(earlier)
        self._curves = _checked_curves(curves)
        self._bounds = outcome_constraints
        self._weights, self._cost, self._standard_error = weights, cost, standard_error
        super().__init__(metric=_listed("metric", metric), mode=_listed("mode", mode))
        self._goal = self._known_goal()
        if proposer is not None and strategy != DEFAULT_STRATEGY:
            raise SettingError(f"a proposer and strategy={strategy!r} were given; give one of them")
        if len(earlier) or priors:
            name = "earlier" if len(earlier) else "priors"
            if proposer is not None:
                raise SettingError(
                    f"{name} was given beside a proposer; only raytuner's own learns from it"
                )
            if strategy != DEFAULT_STRATEGY:
                raise SettingError(
                    f"{name} was given beside strategy={strategy!r}; {DEFAULT_STRATEGY!r} learns"
                    " from it"
                )
        self._n_initial = n_initial
        self._strategy = strategy
        self._own_proposer: MakeProposer | None = proposer
        self._earlier_items = list(earlier)  # until the metric is known
        self._earlier: tuple[EarlierStudy, ...] = ()
        self._priors = priors or {}
        self._background = background and find_strategy(strategy).has_model
        self._background_gpus = float(background_gpus)
        self._start_process: StartProcess | None = None  # a Ray actor
        self._time_attr = time_attr
        self._max_t = max_t
        self._seed = seed
        self._record = None if record is None else _record_place(record)
        self._live: Path | None = None  # where the record is kept if no file was asked for
        self._initial = InitialPoints(points_to_evaluate, evaluated_rewards)
        self._settled: Folder | None = None  # where the record was put; it may have moved since
        self._evaluated: list[Evaluated] = []
        self._again: tuple[list[Config], int] = ([], 0)  # and how many trials there were before
        self._narrowed: Narrowed | None = None
        self._max_concurrent: int | None = None
        self._has_scheduler = False  # one of ours: it says which trials it stops
        self._stopped: dict[str, str] = {}
        self._invalid: dict[str, str] = {}
        self._heard_at: dict[str, float] = {}
        self._unreported = Unreported()
        self._repeats = Repeats()
        # The search ends once this many trials never reported the metric and none did; 0: never.
        self.stop_unreported_after = FEW
        self._ended_late: set[str] = set()  # Ray was killed before it saved so
        self._begun_late: set[str] = set()  # likewise
        self._failed_before: set[str] = set()  # Tuner.restore may run them again
        self._claims: list[Writer | None] = []  # rights to write; None in a copy
        self._refused: InUseError | None = None  # another process has that right
        self._lost: int | None = 0  # trials that count and that Ray lost; None: not counted yet
        self._constraints = parameter_constraints
        self._space = None if space is None else self._constrained(_as_space(space))
        self._grids: list[str] = []  # those with values that may not have been tried
        self._looked = False  # for mistakes in the space
        if space is not None:
            self._look_at(space.template if isinstance(space, Space) else space)
        self._history: History | None = None
        self._proposer_state: dict[str, Any] | None = None
        self._proposals: Proposals | None = None  # made when they are first needed
        self._lookahead = ControllerHandle()
        self._used: Seen | None = None
        self._used_until = 0  # trials that it holds
        if self._space is not None and self._goal is not None:
            self._begin()

    # -- before the first trial -----------------------------------------------------------------

    def set_search_properties(
        self,
        metric: str | Sequence[str] | None,
        mode: str | Sequence[str] | None,
        config: dict[str, Any],
        **spec: Any,
    ) -> bool:
        """Take metric, mode and search space from the Tuner.

        Returns:
            False if there is a search space already and ``config`` has domains too (Ray then says
            so); True otherwise.

        Raises:
            SpaceError, ConfigError, MetricError: As for the constructor.
        """
        if self._space is not None and has_domains(config):
            return False
        self._metric = _agreed("metric", self._metric, _listed("metric", metric))
        self._mode = _agreed("mode", self._mode, _listed("mode", mode))
        self._take_default_metric()
        self._goal = self._known_goal()
        if self._goal is None:
            raise MetricError(
                f"metric is {self._metric!r} and mode is {self._mode!r}; name both, in TuneConfig"
                " or in BoTorchSearch: the metric that is reported, and mode 'min' or 'max'"
                " (a function that returns one number needs the mode only)"
            )
        if self._space is None:
            self._space = self._constrained(space_from_tune(config))
            self._look_at(config)
            # Ray lays each proposal over this dict: what is left in it reaches every trial.
            always = without_conditional(config)
            config.clear()
            config.update(always)
        if self._max_t is None:
            self._max_t = _max_t_of(spec.get("stop"), self._time_attr)
        if self._history is None:
            self._begin()
        else:
            self._history.max_t = self._max_t
        warn_of_too_few(self.history, self._grids, spec.get("num_samples"))
        return True

    def use_space(self, space: Space) -> None:
        """Search in ``space`` (as ``space=``).

        Raises:
            SettingError: There is a search space already.
        """
        if self._space is not None:
            raise SettingError("BoTorchSearch has a search space already; give it once")
        self._space = self._constrained(space)
        self._look_at(space.template)

    def search_within(self, space: Space) -> None:
        """Propose configurations of ``space`` only, and learn from those trials that lie in it.

        Args:
            space: A space that lies within the record's.
        """
        self._narrowed = Narrowed(find_strategy(self._strategy).within(space))

    def try_again(self, configs: Sequence[Config]) -> None:
        """Hand out these configurations first, though the record has trials of them."""
        self._again = (list(configs), len(self._ready()))

    def keep_record_in(self, path: str | Folder) -> None:
        """Keep the record in the file ``path`` from the first suggestion on (as ``record=``)."""
        self._record = _record_place(path)

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Keep to a bound on the trials that run at the same time (from a ConcurrencyLimiter).

        Paused trials do not count: they hold no resources, and counting them would wait for them
        for ever. A limiter's ``batch=True`` has no effect: proposals take pending trials into
        account, so waiting for a whole batch gains nothing.
        """
        self._max_concurrent = max_concurrent
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
            value: Its metric; where there are several, all of them by name.
            error: It failed; the value is not used.
            pruned: It was stopped early: the value is not a final one.
            intermediate_values: The metric after 1, 2, ... units of resource, where there is one.

        Raises:
            ConfigError: The configuration does not fit the space.
            MetricError: A value is not a number.
            SettingError: ``pruned`` without ``intermediate_values``: at what resource?
        """
        if pruned and not intermediate_values:
            raise SettingError(
                "add_evaluated_point got pruned=True without intermediate_values; a stopped value"
                " counts at its resource only: pass the metric after 1, 2, ... units"
            )
        if intermediate_values and self._goal is not None and len(self._goal.metrics) > 1:
            raise SettingError(
                "add_evaluated_point got intermediate_values, which are of one metric; this search"
                f" has {', '.join(self._goal.metrics)}"
            )
        values = list(value.values()) if isinstance(value, Mapping) else [value]
        for number in [*([] if error else values), *(intermediate_values or ())]:
            if not is_number(number):
                raise MetricError(
                    f"add_evaluated_point got {number!r} ({type(number).__name__}); the metric"
                    " must be a number"
                )
        point = Evaluated(parameters, value, error, pruned, tuple(intermediate_values or ()))
        if self._history is None:
            self._evaluated.append(point)  # told once the space is known
        else:
            tell(self._history, point)

    # -- Ray's hooks ----------------------------------------------------------------------------

    def suggest(self, trial_id: str) -> Config | str | None:  # type: ignore[override]  # FINISHED
        """A configuration for a new trial.

        Returns:
            The full configuration; None while as many trials are live as
            :meth:`set_max_concurrency` allows, or while others run and a better proposal is worth
            waiting for; ``Searcher.FINISHED`` once a finite space is used up.

        Raises:
            SpaceError, MetricError: There is nothing to search or to optimise; or the first few
                trials all ended without the metric.
            SettingError: Ray's ``Repeater`` is around this searcher, and there is more to its goal
                than one metric.
        """
        history = self._ready()
        if not history.has_values:
            self._unreported.check(self.stop_unreported_after)
        if not history.goal.is_plain and asked_through(Repeater):
            raise SettingError(
                f"Ray's Repeater passes on the mean of one metric, and this search needs"
                f" {', '.join(history.goal.metrics)}; leave it out, repeat the training inside the"
                " training function, and report the means"
            )
        self._writes()
        if history.path is None:
            self._settle_record()
        self._lookahead.find(self._end)
        live, slots = self._room(history)
        bound = math.inf if self._max_concurrent is None else self._max_concurrent
        if slots is not None:
            most = slots + ahead(slots)
            self._lookahead.raise_cap(most)
            bound = min(bound, most)
        if live >= bound and live:
            self._turn()
            return None
        left = self._left(history)
        if self._lost and left == 0:
            return _FINISHED
        initial = self._initial.next(history, self._propose)
        if initial is not None:
            return self._hand_out(trial_id, initial, Origin.INITIAL)
        again = self._next_again(history)
        if again is not None:
            return self._hand_out(trial_id, again, Origin.AGAIN)
        correct(history)
        history.left = left
        searched = self._searched()
        if self._seen(searched).exhausted:
            logger.info("All %g configurations are used.", searched.space.cardinality)
            history.set_meta("finished", True)
            self.close()
            return _FINISHED
        proposal = self._source().take(
            searched,
            self._seen(searched),
            free=max(self._free(live, slots), int(live == 0)),
            slots=slots,
            # Without a live trial Ray would sleep, and other callers may not expect None.
            alone=live == 0 or not self._lookahead.is_known,
        )
        if proposal is None:
            self._turn()
            return None
        config = with_untried(searched, self._grids, proposal.config) if self._grids else None
        if config is None:
            self._grids = []  # each value was tried
        return self._hand_out(trial_id, config or proposal.config, proposal.origin)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record what a running trial reported.

        A report without the metric is skipped: a function may validate every few epochs only. So is
        a report of a trial that has ended. Once any trial has reported the metric, a report without
        ``time_attr`` is skipped too, and one in which the metric is not a number fails its own
        trial only.

        Raises:
            MetricError: The report has a metric that is no number, or no ``time_attr``, and no
                trial of this search has sent a valid report so far.
        """
        history = self._ready()
        self._reopen(history, trial_id)
        if not history.is_live(trial_id):
            return
        keep(history, trial_id, result)
        goal, time_attr = history.goal, history.time_attr
        try:
            report = read_report(result, time_attr, goal.required, goal.optional)
        except MetricError as error:
            if not history.has_values:
                self.close()  # this ends the search
                raise
            if not lacking(result, [time_attr]):
                self.on_trial_invalid(trial_id, str(error))
            return
        if report is None:
            self._unreported.note(trial_id, result)
            if (at := resource_of(result, time_attr)) is not None:
                self._heard_at[trial_id] = at
            return
        t, metrics = report
        pauses = history[trial_id].state is TrialState.PAUSED  # Ray says so before this report
        record(history, trial_id, t, metrics)
        note_checkpoint(history, trial_id, result)
        if pauses:
            history.pause(trial_id)
        self._heard_at[trial_id] = t
        self._turn()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record how a trial ended; see :func:`raytuner.search.outcome.ending`."""
        history = self._ready()
        self._reopen(history, trial_id)
        if not history.is_live(trial_id):
            return
        outcome = Outcome(
            error=error,
            result=result or None,
            stopped=self._stopped.pop(trial_id, None),
            invalid=self._invalid.pop(trial_id, None),
            has_scheduler=self._has_scheduler,
            heard_at=self._heard_at.pop(trial_id, None),
            keys=self._unreported.forget(trial_id),
        )
        state, reason, report = ending(history, trial_id, outcome)
        keep(history, trial_id, result or {})
        if report is not None:
            record(history, trial_id, *report)
            note_checkpoint(history, trial_id, result or {})
        history.end(trial_id, state, reason)
        told = error or outcome.invalid is not None or history.last(trial_id) is not None
        if state is TrialState.FAILED and not told:
            if (said := self._repeats.next(reason)) is not None:
                logger.warning("Trial %s has failed: %s.", trial_id, said)
            self._unreported.count(reason)
        correct(history)
        self._turn(more=-1)

    def on_pause(self, trial_id: str) -> None:
        """A trial will wait for its scheduler, after the report that comes next."""
        self.history.pause(trial_id)

    def on_unpause(self, trial_id: str) -> None:
        """A paused trial is about to go on."""
        if self.history.is_live(trial_id):
            self.history.reopen(trial_id)

    # -- a raytuner scheduler's hooks (raytuner.schedulers.partner) -------------------------------

    def join_schedule(self, *, time_attr: str, max_t: float) -> None:
        """A scheduler judges trials by ``time_attr`` and ends them at ``max_t``."""
        history = self._ready()
        self._has_scheduler = True
        self._time_attr = history.time_attr = time_attr
        if self._max_t is None or history.max_t is None:
            self._max_t = history.max_t = float(max_t)

    @property
    def goal(self) -> Goal:
        """What the search is after.

        Raises:
            SpaceError, MetricError: As for ``history``.
        """
        return self.history.goal

    def reports(self) -> list[tuple[str, float, dict[str, float]]]:
        """Every report so far at full fidelity, ``(trial_id, t, metrics)``, oldest first.

        A restored scheduler, of which Ray saves nothing, takes up its rungs from them.
        """
        history, times = self.history, self.history.report_times()
        found = sorted(
            (times[trial.trial_id][t], trial.trial_id, t)
            for trial in history.trials
            if trial.origin is not Origin.EVALUATED and history.is_full(trial)
            for t, _ in trial.values
        )
        return [(trial_id, t, history.metrics_at(trial_id, t)) for _, trial_id, t in found]

    def is_full(self, trial_id: str) -> bool:
        """Whether a trial is at full fidelity; each is where no hyperparameter is a fidelity."""
        history = self._ready()
        if not history.space.fidelities or trial_id not in history:
            return True
        return history.is_full(history[trial_id])

    def curves_with(
        self, trial_id: str, t: float, metrics: Mapping[str, float]
    ) -> tuple[Space, Snapshot]:
        """The search space and the record, with a report in it that Ray has yet to hand on.

        Args:
            trial_id: The trial.
            t: Where it reports, in units of ``time_attr``.
            metrics: What, by the metric's name.
        """
        record(self.history, trial_id, t, metrics)
        return self.curves()

    def curves(self) -> tuple[Space, Snapshot]:
        """The search space and the record."""
        return self.history.space, self.history.snapshot()

    def end_again(self, trial_id: str) -> LateEnd | None:
        """How a trial had ended that Ray, killed before it saved so, is about to run again.

        None if it has not ended, as far as the record goes. Asked once: the trial is over then.
        """
        if trial_id in self._begun_late:
            self._reopen(self.history, trial_id)
        if trial_id not in self._ended_late:
            return None
        self._ended_late.discard(trial_id)
        history = self.history
        report: dict[str, Any] = {}
        if (last := history.last(trial_id)) is not None:
            report = {history.time_attr: last[0], **history.metrics_at(trial_id, last[0])}
        return LateEnd(history[trial_id].state is TrialState.FAILED, report)

    def end_unknown(self, known: Container[str]) -> None:
        """Ray runs no trials but these: others that live in the record were lost to it."""
        for trial_id in self.history.live():
            if trial_id not in known:
                self.history.end(trial_id, TrialState.REMOVED, UNKNOWN_TO_RAY)

    def last_checkpoint(self, trial_id: str) -> Mapping[str, Any] | None:
        """See :func:`raytuner.search.checkpoints.last_checkpoint`."""
        return last_checkpoint(self.history, trial_id)

    def on_trial_stopped(self, trial_id: str, reason: str) -> None:
        """The scheduler is about to stop the trial before ``max_t``."""
        self._stopped[trial_id] = reason

    def on_trial_invalid(self, trial_id: str, reason: str) -> None:
        """The trial sent a report that cannot be used, or its training raised ``reason``."""
        self._invalid[trial_id] = reason

    def on_trial_retried(self, what: str, trial_id: str, count: int) -> None:
        """The trial goes on after an error that was not its own, for ``what`` so often by now.

        The record has it under ``what``, as ``{trial_id: count}``.
        """
        self.history.set_meta(what, {**self.history.get_meta(what, {}), trial_id: count})

    # -- what the search knows ------------------------------------------------------------------

    @property
    def history(self) -> History:
        """The record of the search.

        Raises:
            SpaceError, MetricError: The search has no space, metric or mode yet.
        """
        return self._ready()

    def best_by_model(self) -> Trial | None:
        """The trial to recommend where values are noisy; see :func:`raytuner.bayes.best_by_model`.

        None while too little is known for a model.
        """
        history = self._ready()
        trial_id = best_by_model(history.space, history.snapshot())
        return None if trial_id is None else history[trial_id]

    @property
    def proposal_counts(self) -> dict[str, int]:
        """The number of configurations that were proposed in each way.

        ``fresh``: from all trials that had ended when their slot asked. ``stale``: from fewer.
        ``fallback``: quasi-random, since no other proposal was ready.
        """
        return proposal_counts(self._ready().heads())

    @property
    def strategy(self) -> str:
        """How it searches, by name."""
        return self._strategy

    @property
    def background(self) -> bool:
        """Whether proposals are computed in a process of their own."""
        return self._background

    def think_in(self, start: StartProcess | None) -> None:
        """Compute proposals elsewhere than the constructor said; before the first suggestion.

        Args:
            start: Starts the process to compute them in; None: inside ``suggest``.
        """
        self._background = start is not None
        self._start_process = start

    def close(self) -> None:
        """End the process that proposals are computed in, if there is one.

        It ends by itself with the search. Asked for another configuration, the searcher starts one
        again.
        """
        if self._proposals is not None:
            self._proposals.close()

    # -- save and restore -----------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Check the Tuner's param_space: Ray pickles the searcher when it makes a Tuner."""
        given = param_space_of_tuner()
        if given:
            check_functions(given)
            if self._space is None and not has_domains(given):
                raise SpaceError(nothing_varies(given))
            self._look_at(given)
        return self.__dict__.copy()

    def save(self, checkpoint_path: str) -> None:
        """Write the record, and the proposer's state within it, to one SQLite file.

        Ray calls this with a file in its staging folder of the experiment. If no file was asked for
        to keep the record in as things happen, it is kept near that folder from then on.
        """
        history = self._ready()
        self._writes()
        path = Path(checkpoint_path)
        if self._record is None and path.parent.name == _STAGING:
            # Beside the folder, not in it: Ray uploads what is in it file by file, and a database
            # that is being written would arrive torn.
            self._live = path.parent.parent / RECORD_FILE
        if history.path is None or self._settled != (self._record or self._live):
            self._settle_record()
        history.set_meta("proposer", self._source().state_dict())
        live = history.path
        history.set_meta("live", str(live.resolve()) if isinstance(live, Path) else None)
        # What is saved knows no more than what is live: a machine may be lost in between.
        history.flush(_FLUSH_S)
        history.copy_to(path)
        if self._lookahead.is_last_save():
            self._end()

    def restore(self, checkpoint_path: str) -> None:
        """Continue from what :meth:`save` wrote, and from what was recorded after it.

        If the record that was being written at the time is still there (the process died, the
        machine did not), nothing is lost: see :func:`raytuner.search.restore.reconciled`.
        """
        path = Path(checkpoint_path)
        behind = self._record if isinstance(self._record, RemoteFolder) else None
        history, ended, begun = reconciled(path, self._space, behind)
        self._ended_late, self._begun_late = set(ended), set(begun)
        failed = (h.trial_id for h in history.heads() if h.state is TrialState.FAILED)
        self._failed_before = set(failed) - self._ended_late
        self._lost = None
        live = history.get_meta("live")
        self._refused = None
        try:
            if live is not None and Path(live).is_file():
                self._claim(Path(live))
        except InUseError as error:  # raised here, it would let Ray begin the experiment again
            self._refused = error
        except HistoryError as error:
            logger.debug("The record that was written last cannot be locked: %s", error)
        self._proposer_state = history.get_meta("proposer")
        self._space = history.space
        self._goal = history.goal
        self._grids = history.get_meta(GRIDS) or []
        objectives = history.goal.objectives
        self._metric = _listed("metric", [one.metric for one in objectives])
        self._mode = _listed("mode", [one.mode for one in objectives])
        self._time_attr, self._max_t = history.time_attr, history.max_t
        self._earlier = _earlier_of(history)
        self._history, self._used = history, None
        self.close()
        self._proposals = None

    # -- inside ---------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Everything is known: make the record, and check what is to come."""
        assert self._space is not None
        assert self._goal is not None
        check_goal(self._strategy, self._goal)
        if self._space.fidelities:
            self._check_fidelities(self._space, self._goal)
            self._goal = self._goal.with_cost(_RAYS_COST)
        self._initial.check(self._space)
        self._history = History(
            self._space,
            goal=self._goal,
            time_attr=self._time_attr,
            max_t=self._max_t,
        )
        self._history.curves = [c for c in self._curves if c not in self._goal.metrics]
        self._history.set_meta("search_id", uuid.uuid4().hex)
        if self._grids:
            self._history.set_meta(GRIDS, self._grids)
        self._use_earlier(self._space, self._history)
        if self._priors:
            beliefs = read_priors(self._priors, self._space)
            self._history.set_meta(PRIORS, priors_json(beliefs, self._space))
        # Made here to see whether it can be; its seed is the search's from now on.
        self._proposer_state = self._setup(self._history).proposer(None).state_dict()
        for point in [*self._initial.evaluated(), *self._evaluated]:
            tell(self._history, point)
        self._evaluated.clear()

    def _reopen(self, history: History, trial_id: str) -> None:
        """Reopen a trial that had ended in an earlier process, if Ray runs it again."""
        if trial_id not in history:
            self._take_up_restarted(history, trial_id)
        for again in (self._ended_late, self._begun_late, self._failed_before):
            if trial_id in again:
                again.discard(trial_id)
                history.reopen(trial_id)

    def _take_up_restarted(self, history: History, trial_id: str) -> None:
        """Enter a trial that Ray has not asked for, if its configuration failed before.

        ``Tuner.restore(restart_errored=True)`` runs failed trials again under new ids.
        """
        self._lookahead.find(self._end)
        config = self._lookahead.config_of(trial_id)
        if config is None:
            return
        key = history.space.encode([config])[0].tobytes()
        for trial, point in zip(history.trials, history.points(), strict=True):
            if trial.state is TrialState.FAILED and point.tobytes() == key:
                history.add(trial_id, trial.config, trial.origin)
                return

    def _look_at(self, space: Mapping[str, Any]) -> None:
        """Note the grids of a space, and warn once of constants that should perhaps vary."""
        if self._strategy != "grid":  # which tries every combination
            self._grids = grids(space)
        if not self._looked:
            self._looked = warn_of_constants(space)

    def _constrained(self, space: Space) -> Space:
        return space.constrained(self._constraints)

    def _check_fidelities(self, space: Space, goal: Goal) -> None:
        """Whether trials of any fidelity can be searched among.

        Raises:
            SettingError: Something was asked for that cannot be beside fidelities.
        """
        names = ", ".join(space.columns[j].name for j in space.fidelities)
        what = f"{names} {'is a fidelity' if len(space.fidelities) == 1 else 'are fidelities'}"
        if goal.n_objectives > 1:
            raise SettingError(
                f"{what}, and there are several objectives"
                f" ({', '.join(o.metric for o in goal.objectives)}); give one, or weights, which"
                " make one of them"
            )
        if self._own_proposer is None and not find_strategy(self._strategy).costs:
            able = ", ".join(name for name, known in STRATEGIES.items() if known.costs)
            raise SettingError(
                f"{what}, which strategy {self._strategy!r} cannot choose; use one of {able}, or"
                " leave raytuner.fidelity out"
            )
        if self._earlier_items:
            raise SettingError(
                f"{what}, and earlier studies were given, whose values are of one fidelity; leave"
                " one of them out"
            )
        if believed := [n for n in self._priors if n in names.split(", ")]:
            raise SettingError(
                f"priors names {', '.join(believed)}: {what}, and the best is looked for at the"
                " full one; a prior says where among the others the optimum lies"
            )

    def _use_earlier(self, space: Space, history: History) -> None:
        """Take from earlier studies what has a place in the space, and keep it in the record."""
        goal = history.goal
        read = read_earlier(self._earlier_items, [one.metric for one in goal.objectives])
        used = [within(study, space, goal) for study in read]
        if used:
            history.set_meta(EARLIER, earlier_json(used, space, goal))
        self._earlier = _earlier_of(history)
        self._earlier_items.clear()

    def _take_default_metric(self) -> None:
        """Without a metric, optimise the bare number that a training function returns, as Ray does.

        Call it only once no metric can come from the Tuner any more.
        """
        if self._metric is None and isinstance(self._mode, str):
            self._metric = DEFAULT_METRIC

    def _ready(self) -> History:
        if self._history is None and self._space is not None and self._mode is not None:
            self._take_default_metric()
            self._goal = self._known_goal()
            if self._goal is not None:
                self._begin()
        if self._history is None:
            if self._space is None:
                raise SpaceError(
                    "BoTorchSearch has no search space: param_space of the Tuner is empty, and"
                    " no space was given; name at least one hyperparameter"
                )
            raise MetricError(
                f"BoTorchSearch has metric {self._metric!r} and mode {self._mode!r}; it needs both:"
                " give them to BoTorchSearch too, since a Tuner without a param_space keeps them"
            )
        return self._history

    def _searched(self) -> History:
        """The record, as far as it lies in what is searched now."""
        history = self._ready()
        if self._narrowed is None:
            within = find_strategy(self._strategy).within(history.space)
            if within is history.space:
                return history
            self._narrowed = Narrowed(within)
        return self._narrowed.of(history)

    def _source(self) -> Proposals:
        """Where proposals come from, made when it is first needed: Ray pickles the searcher."""
        if self._proposals is None:
            setup = self._setup(self._searched())
            start = self._start_process
            if start is None and ray.is_initialized():
                start = partial(ActorProcess, num_gpus=self._background_gpus)
            if self._background and start is not None:
                self._proposals = Background(setup, self._proposer_state, start)
            else:
                self._proposals = InsideSuggest(setup, self._proposer_state)
        return self._proposals

    def _setup(self, history: History) -> Setup:
        """What a proposer for what is searched now is made of."""
        space, goal = history.space, history.goal
        if self._own_proposer is not None:
            return Setup(space, goal, self._own_proposer, self._seed)
        if self._strategy != DEFAULT_STRATEGY:
            return Setup(space, goal, StrategyFactory(self._strategy, self._n_initial), self._seed)
        record = self._ready()
        make = BayesFactory(
            self._n_initial,
            tasks_within(self._earlier, space, goal),
            priors_from_json(record.get_meta(PRIORS) or {}, record.space, space),
        )
        return Setup(space, goal, make, self._seed, make.design)

    def _turn(self, *, more: int = 0) -> None:
        """Tell the source of proposals what has happened, or that there is no more to do.

        Args:
            more: Trials that Ray will soon count as live, minus those that it no longer will.
        """
        if self._lookahead.is_over:
            self.close()
            return
        live, slots = self._room(self._ready())
        live += more if self._lookahead.is_known else 0
        self._source().turn(self._searched(), free=self._free(live, slots, more), slots=slots)

    def _free(self, live: int, slots: int | None, more: int = 0) -> int:
        """Return for how many slots Ray asks for trials at once; one if that is not known."""
        free = 1 - max(more, 0) if slots is None else slots - live
        if self._max_concurrent is not None:
            free = min(free, self._max_concurrent - live)
        return max(free, 0)

    def _room(self, history: History) -> tuple[int, int | None]:
        """How many trials are pending or running, and how many slots there are, if known.

        Ray is asked where it is there: it ends some trials without a word.
        """
        live, slots = self._lookahead.live(), self._lookahead.slots()
        return self._running(history) if live is None else live, slots

    def _left(self, history: History) -> int | None:
        """Return how many trials Ray has yet to ask for, less those lost; None if unknown."""
        if self._lost is None:
            self._lost = self._lookahead.lost(counted(history), history)
        left = self._lookahead.left()
        return None if left is None else max(left - self._lost, 0)

    def _hand_out(self, trial_id: str, config: Config, origin: Origin) -> Config:
        self._ready().add(trial_id, config, origin)
        self._turn(more=1)
        return config

    def _seen(self, history: History) -> Seen:
        """What is used up, kept up to date."""
        if self._used is None:
            self._used, self._used_until = Seen(history.space, history.points()), len(history)
        elif self._used_until < len(history):
            self._used.add(history.points(self._used_until))
            self._used_until = len(history)
        return self._used

    def _claim(self, record: Folder) -> None:
        """Take the right to write a record, unless this process has it already."""
        if held(record) is None:
            writer = Writer(record)
            self._claims.append(writer)
            weakref.finalize(self, writer.close)

    def _writes(self) -> None:
        """Raise InUseError if another process writes the record."""
        if self._refused is not None:
            raise self._refused
        if self._record is not None and (writer := held(self._record)) is not None:
            writer.check()

    def _end(self) -> None:
        """End the search, and let other processes go on with it."""
        self.close()
        while self._claims:
            if (writer := self._claims.pop()) is not None:
                writer.close()

    def _settle_record(self) -> None:
        """Write the record to the file that was asked for, or to where Ray keeps the experiment."""
        path = self._record or self._live
        if path is None:
            return
        self._claim(path)
        if self._record is not None and record_exists(path):
            other = History.read(path, opaque=True)
            if other.get_meta("search_id") != self.history.get_meta("search_id"):
                raise SettingError(
                    f"{path} holds the record of another search ({len(other)} trials); name"
                    " another file, or remove it"
                )
        self.history.move_to(path)
        self._settled = path

    def _running(self, history: History) -> int:
        """Trials that are pending or running now; paused ones hold no slot."""
        counts = history.counts()
        return counts[TrialState.PENDING] + counts[TrialState.RUNNING]

    def _known_goal(self) -> Goal | None:
        """What the search is after; None while metric or mode is to come."""
        if self._metric is None or self._mode is None:
            return None
        return Goal.of(
            self._metric,
            self._mode,
            outcome_constraints=self._bounds,
            weights=self._weights,
            cost=self._cost,
            standard_error=self._standard_error,
        )

    def _propose(self) -> Config | None:
        """Return a configuration that could be handed out now; None if no other is left."""
        searched = self._searched()
        seen = self._seen(searched)
        if seen.exhausted:
            return None
        proposal = self._source().take(searched, seen, free=1, slots=None, alone=True)
        return None if proposal is None else proposal.config

    def _next_again(self, history: History) -> Config | None:
        """The first that was to be tried again, and was not yet."""
        configs, before = self._again
        if not configs:
            return None
        tried = {point.tobytes() for point in history.points(before)}
        for config in configs:
            if history.space.encode([config])[0].tobytes() not in tried:
                return config
        return None


def _earlier_of(history: History) -> tuple[EarlierStudy, ...]:
    """What a record has of earlier studies."""
    try:
        return earlier_from_json(history.get_meta(EARLIER) or [], history.space, history.goal)
    except (KeyError, ValueError) as error:
        raise HistoryError(
            f"what the record keeps of earlier studies does not fit its space: {error}"
        ) from error


def _record_place(record: str | Folder) -> Folder:
    """Where a record is to be kept; a path is taken as it is, relative to where the search runs."""
    return folder_of(record) if isinstance(record, RemoteFolder) or is_uri(record) else Path(record)


def _as_space(space: Mapping[str, Any] | Space) -> Space:
    return space if isinstance(space, Space) else space_from_tune(space)


def _listed(what: Literal["metric", "mode"], given: object) -> Any:
    """One name as it is, several as a list; checked."""
    if given is None:
        return None
    names = names_of(what, given)
    return names[0] if len(names) == 1 else names


def _checked_curves(curves: object) -> tuple[str, ...]:
    if isinstance(curves, str):
        return (curves,)
    if not isinstance(curves, list | tuple) or not all(isinstance(c, str) and c for c in curves):
        raise MetricError(f"curves is {curves!r}; it must be a list of names of metrics")
    return tuple(curves)


def _check_key(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise MetricError(f"{name} is {value!r}; it must be the name of one key of a report")


def _agreed(what: str, own: Any, tuners: Any) -> Any:
    """The one value that the searcher and the Tuner give together."""
    if own is not None and tuners is not None and own != tuners:
        raise MetricError(
            f"BoTorchSearch was given {what}={own!r} and the Tuner {what}={tuners!r}; give it once"
        )
    return own if own is not None else tuners


def _max_t_of(stop: object, time_attr: str) -> float | None:
    """``max_t`` if the experiment stops each trial at a given ``time_attr``."""
    level: Any = stop.get(time_attr) if isinstance(stop, Mapping) else None
    return float(level) if is_number(level) else None
