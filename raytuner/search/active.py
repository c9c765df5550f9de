"""A search under way: its record, its queue of configurations, and its source of proposals."""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

import ray

from raytuner.bayes import BayesProposer, SobolProposer
from raytuner.bayes.belief import Beliefs
from raytuner.bayes.exclusion import ExclusionList
from raytuner.bayes.strategies import strategy as find_strategy
from raytuner.bayes.transfer import best_in_turn
from raytuner.controller.handle import ControllerHandle, ahead
from raytuner.errors import HistoryError
from raytuner.history import Goal, History, Origin
from raytuner.search.background import Background, running_trials
from raytuner.search.grids import GRIDS, with_untried
from raytuner.search.initial import Evaluated, InitialPoints, record_evaluated
from raytuner.search.mirror import Setup
from raytuner.search.priors import PRIORS, read_priors
from raytuner.search.priors import from_json as priors_from_json
from raytuner.search.priors import to_json as priors_json
from raytuner.search.process import ActorProcess
from raytuner.search.proposals import InsideSuggest, Proposals
from raytuner.search.restore import counted
from raytuner.search.settings import DEFAULT_STRATEGY, SearchSettings
from raytuner.search.subspace import SubspaceRecord
from raytuner.search.transfer import EARLIER, tasks_within, within
from raytuner.search.transfer import from_json as earlier_from_json
from raytuner.search.transfer import to_json as earlier_json
from raytuner.search.transfer_source import SourceStudy, read_sources
from raytuner.search.trial_end import correct
from raytuner.space import Config, Space

logger = logging.getLogger(__name__)

Proposed = tuple[Config, Origin]


class ActiveSearch:
    """A search whose space and goal are known.

    It hands out one configuration at a time, in this order: the user's initial points, those to be
    tried again, and proposals. Each is in the record before it is handed out.

    Args:
        settings: What the user asked for.
        history: The record.
        controller: Ray's controller, once it has asked for a trial.
        proposals: Where proposals come from. None: what the settings say, made when it is first
            needed, since Ray pickles searchers.
        proposer_state: What the proposer goes on from; None begins anew.
        lost: The number of trials that count and that Ray lost; None: to be counted.

    Attributes:
        settings: May be replaced before the first proposal.
        history: The record.
        is_used_up: Whether the search has ended: each configuration was tried, or the trials that
            were asked for have all ended.
    """

    def __init__(
        self,
        settings: SearchSettings,
        history: History,
        controller: ControllerHandle,
        *,
        proposals: Proposals | None = None,
        proposer_state: dict[str, Any] | None = None,
        lost: int | None = 0,
    ) -> None:
        self.settings = settings
        self.history = history
        self.is_used_up = False
        self._controller = controller
        self._proposer_state = proposer_state
        self._lost = lost
        self._initial = InitialPoints(settings.points_to_evaluate, settings.evaluated_rewards)
        self._grids: list[str] = history.get_meta(GRIDS) or []
        self._narrowed: SubspaceRecord | None = None
        self._proposals = proposals
        self._seen: ExclusionList | None = None
        self._seen_until = 0  # trials that it holds

    @classmethod
    def begin(
        cls,
        settings: SearchSettings,
        space: Space,
        goal: Goal,
        controller: ControllerHandle,
        *,
        proposals: Proposals | None,
        grids: Sequence[str],
        evaluated: Sequence[Evaluated],
    ) -> ActiveSearch:
        """Return a new search.

        Args:
            settings: What the user asked for.
            space: The search space.
            goal: What the search optimises.
            controller: Ray's controller, once it has asked for a trial.
            proposals: See the class.
            grids: Names of hyperparameters whose every value is to be tried.
            evaluated: Points that were evaluated elsewhere.

        Raises:
            RaytunerError: The settings do not fit the space or the goal.
        """
        settings.check(space, goal)
        history = History(space, goal=goal, time_attr=settings.time_attr, max_t=settings.max_t)
        history.curves = [name for name in settings.curves if name not in goal.metrics]
        history.set_meta("search_id", uuid.uuid4().hex)
        if grids:
            history.set_meta(GRIDS, list(grids))
        search = cls(settings, history, controller, proposals=proposals)
        search._initial.check(space)
        read = read_sources(settings.earlier, [one.metric for one in goal.objectives])
        if used := [within(study, space, goal) for study in read]:
            history.set_meta(EARLIER, earlier_json(used, space, goal))
        if settings.priors:
            beliefs = read_priors(settings.priors, space)
            history.set_meta(PRIORS, priors_json(beliefs, space))
        # Made here to see whether it can be. Its seed is the search's from now on.
        search._proposer_state = search._setup(history).proposer(None).state_dict()
        for point in [*search._initial.evaluated(), *evaluated]:
            record_evaluated(history, point)
        return search

    # -- configurations ---------------------------------------------------------------------------

    def next(self, trial_id: str) -> Config | None:
        """Return the configuration of a new trial.

        None: there is to be none now, or (`is_used_up`) never again.
        """
        history = self.history
        live, slots = self._room()
        bound = math.inf if self.settings.max_concurrent is None else self.settings.max_concurrent
        if slots is not None:
            most = slots + ahead(slots)
            self._controller.raise_cap(most)
            bound = min(bound, most)
        if live >= bound and live:
            self.turn()
            return None
        left = self._left()
        if self._lost and left == 0:
            self.is_used_up = True
            return None
        found = self._queued()
        if found is None:
            correct(history)
            history.left = left
            found = self._proposed(live, slots)
        if found is None:
            if not self.is_used_up:
                self.turn()
            return None
        history.add(trial_id, *found)
        self.turn(more=1)
        return found[0]

    def _queued(self) -> Proposed | None:
        """Return the next initial point, or the next configuration to be tried again."""
        initial = self._initial.next(self.history, self._completion)
        if initial is not None:
            return initial, Origin.INITIAL
        configs, before = self.settings.again
        if configs:
            tried = {point.tobytes() for point in self.history.points(before)}
            for config in configs:
                if self.history.space.encode([config])[0].tobytes() not in tried:
                    return config, Origin.AGAIN
        return None

    def _completion(self) -> Config | None:
        """Return values for what an initial point leaves out; None if none are left."""
        searched = self._searched()
        seen = self._seen_in(searched)
        if seen.exhausted:
            return None
        proposal = self.source().take(searched, seen, free=1, slots=None, alone=True)
        return None if proposal is None else proposal.config

    def _proposed(self, live: int, slots: int | None) -> Proposed | None:
        searched = self._searched()
        seen = self._seen_in(searched)
        if seen.exhausted:
            logger.info("All %g configurations are used.", searched.space.cardinality)
            self.history.set_meta("finished", True)
            self.is_used_up = True
            self.close()
            return None
        proposal = self.source().take(
            searched,
            seen,
            free=max(self._free(live, slots), int(live == 0)),
            slots=slots,
            # Without a live trial Ray would sleep, and other callers may not expect None.
            alone=live == 0 or not self._controller.is_known,
        )
        if proposal is None:
            return None
        config = with_untried(searched, self._grids, proposal.config) if self._grids else None
        if config is None:
            self._grids = []  # each value was tried
        return config or proposal.config, proposal.origin

    # -- proposals --------------------------------------------------------------------------------

    def turn(self, *, more: int = 0) -> None:
        """Tell the source of proposals that something happened, or close it if the search is over.

        Args:
            more: Trials that Ray will soon count as live, minus those that it no longer will.
        """
        if self._controller.is_over:
            self.close()
            return
        live, slots = self._room()
        live += more if self._controller.is_known else 0
        self.source().turn(self._searched(), free=self._free(live, slots, more), slots=slots)

    def source(self) -> Proposals:
        """Return where proposals come from."""
        if self._proposals is None:
            setup, start = self._setup(self._searched()), self.settings.start_process
            if start is None and ray.is_initialized():
                start = partial(ActorProcess, num_gpus=float(self.settings.background_gpus))
            if self.settings.background and start is not None:
                self._proposals = Background(setup, self._proposer_state, start)
            else:
                self._proposals = InsideSuggest(setup, self._proposer_state)
        return self._proposals

    def close(self) -> None:
        """End the process that computes proposals, if there is one."""
        if self._proposals is not None:
            self._proposals.close()

    def _setup(self, history: History) -> Setup:
        """Return what a proposer is made of."""
        settings, space, goal = self.settings, history.space, history.goal
        if settings.proposer is not None:
            return Setup(space, goal, settings.proposer, settings.seed)
        if settings.strategy != DEFAULT_STRATEGY:
            # Bound to the strategy itself: another process may not know its name.
            make = partial(find_strategy(settings.strategy).make, n_initial=settings.n_initial)
            return Setup(space, goal, make, settings.seed)
        tasks = tasks_within(_earlier_of(self.history), space, goal)
        priors = self.history.get_meta(PRIORS) or {}
        beliefs = priors_from_json(priors, self.history.space, space)
        bayes = partial(BayesProposer, n_initial=settings.n_initial, tasks=tasks, beliefs=beliefs)
        design = partial(
            SobolProposer,
            first=best_in_turn(tasks),
            beliefs=Beliefs(space, beliefs) if beliefs else None,
        )
        return Setup(space, goal, bayes, settings.seed, design)

    def _searched(self) -> History:
        """Return the record, as far as it lies in the space that is searched now."""
        if self._narrowed is None:
            strategy = find_strategy(self.settings.strategy)
            space = strategy.within(self.settings.within or self.history.space)
            if space is self.history.space:
                return self.history
            self._narrowed = SubspaceRecord(space)
        return self._narrowed.of(self.history)

    def _seen_in(self, history: History) -> ExclusionList:
        """Return which configurations were tried."""
        if self._seen is None:
            self._seen = ExclusionList(history.space, history.points())
            self._seen_until = len(history)
        elif self._seen_until < len(history):
            self._seen.add(history.points(self._seen_until))
            self._seen_until = len(history)
        return self._seen

    # -- room in the cluster ----------------------------------------------------------------------

    def _room(self) -> tuple[int, int | None]:
        """Return how many trials are pending or running, and the number of slots, if known.

        The controller is asked if there is one: it ends some trials without a word.
        """
        live = self._controller.live()
        if live is None:
            live = running_trials(self.history)
        return live, self._controller.slots()

    def _free(self, live: int, slots: int | None, more: int = 0) -> int:
        """Return for how many slots Ray asks for trials at once; one if that is unknown."""
        free = 1 - max(more, 0) if slots is None else slots - live
        if self.settings.max_concurrent is not None:
            free = min(free, self.settings.max_concurrent - live)
        return max(free, 0)

    def _left(self) -> int | None:
        """Return how many trials Ray has yet to ask for, less those lost; None if unknown."""
        if self._lost is None:
            self._lost = self._controller.lost(counted(self.history), self.history)
        left = self._controller.left()
        return None if left is None else max(left - self._lost, 0)


def _earlier_of(history: History) -> tuple[SourceStudy, ...]:
    """Return what a record has of earlier studies."""
    try:
        return earlier_from_json(history.get_meta(EARLIER) or [], history.space, history.goal)
    except (KeyError, ValueError) as error:
        raise HistoryError(
            f"what the record keeps of earlier studies does not fit its space: {error}"
        ) from error
