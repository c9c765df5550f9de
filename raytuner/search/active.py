"""A search under way: its record, its queue of configurations, and its source of proposals."""

from __future__ import annotations

import json
import logging
import math
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import ray

from raytuner.bayes import BayesProposer, Proposer, SobolProposer
from raytuner.bayes.belief import Beliefs
from raytuner.bayes.proposer import ExclusionList, Proposal
from raytuner.bayes.strategies import strategy as find_strategy
from raytuner.bayes.transfer import Transfer
from raytuner.controller.handle import ControllerHandle, ahead
from raytuner.errors import ConfigError
from raytuner.folders import folder_of
from raytuner.history import History, Origin, TrialState
from raytuner.search.background import Background
from raytuner.search.grids import GRIDS, with_untried
from raytuner.search.initial import Evaluated, check_points, filled, record_evaluated, untried
from raytuner.search.priors import PRIORS, beliefs_of, read_priors
from raytuner.search.process import ActorProcess, Setup
from raytuner.search.restore import counted
from raytuner.search.settings import DEFAULT_STRATEGY, SearchSettings
from raytuner.search.transfer import EARLIER, read_earlier, tasks_of
from raytuner.space import Config, Space

logger = logging.getLogger(__name__)


class Proposals:
    """A source of proposals. It reads the searcher's record in each call.

    In its methods, `slots` is the number of slots, and `free` the number of these for which Ray
    will ask for trials at once.
    """

    def turn(self, history: History, *, free: int, slots: int) -> None:
        """Do quick work after an event, or after time has passed."""

    def take(
        self, history: History, used: ExclusionList, *, free: int, slots: int, alone: bool
    ) -> Proposal | None:
        """Return a proposal to hand out now; None to wait for a better one.

        Args:
            history: The record.
            used: Configurations that are used. The space has others.
            free: Number of free slots. 0: the trial is for the next slot that becomes free.
            slots: Number of slots.
            alone: Whether nobody asks again after None. In that case the method waits itself.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any] | None:
        """Return the state of the source besides the record; None if it has none."""
        return None

    def close(self) -> None:
        """Release processes and other resources. The next call starts them again."""


class InsideSuggest(Proposals):
    """Computes each proposal when it is asked for."""

    def __init__(self, proposer: Proposer) -> None:
        self._proposer = proposer

    def take(
        self, history: History, used: ExclusionList, *, free: int, slots: int, alone: bool
    ) -> Proposal:
        """Return the best configuration for the current record."""
        self._proposer.tell(history.snapshot())
        (proposal,) = self._proposer.ask(1)
        return proposal

    def state_dict(self) -> dict[str, Any]:
        """Return the proposer's state."""
        return self._proposer.state_dict()


def new_record(
    settings: SearchSettings, grids: Sequence[str], evaluated: Sequence[Evaluated]
) -> History:
    """Return the record that a search begins with.

    Args:
        settings: The user's settings, with a space and a goal.
        grids: Names of hyperparameters of which every value has to be tried.
        evaluated: Points that were evaluated elsewhere.

    Raises:
        RaytunerError: The settings do not fit the space or the goal.
    """
    space, goal = settings.space, settings.goal
    assert space is not None
    assert goal is not None
    settings.check(space, goal)
    history = History(space, goal=goal, time_attr=settings.time_attr, max_t=settings.max_t)
    history.curves = [name for name in settings.curves if name not in goal.metrics]
    history.set_meta("search_id", uuid.uuid4().hex)
    if grids:
        history.set_meta(GRIDS, list(grids))
    points, rewards = settings.points_to_evaluate or (), settings.evaluated_rewards
    check_points(points, space, evaluated=rewards is not None)
    if settings.earlier:
        own = None if settings.record is None else folder_of(settings.record)
        history.set_meta(EARLIER, read_earlier(settings.earlier, space, goal, own))
    if settings.priors:
        beliefs = read_priors(settings.priors, space)
        history.set_meta(PRIORS, {space.columns[b.column].name: b.mass for b in beliefs})
    # Made here to check that it can be made. Its seed becomes the seed of the search.
    proposer = setup_of(settings, history, space).proposer(None)
    history.set_meta("proposer", proposer.state_dict())
    known = () if rewards is None else map(Evaluated, points, rewards)
    for point in (*known, *evaluated):
        record_evaluated(history, point)
    return history


def setup_of(settings: SearchSettings, history: History, space: Space) -> Setup:
    """Return the setup of a proposer; `space` is the record's space or one within it."""
    goal = history.goal
    if settings.proposer is not None:
        return Setup(space, goal, settings.proposer, settings.seed)
    if settings.strategy != DEFAULT_STRATEGY:
        # Bound to the strategy itself: another process may not know its name.
        make = partial(find_strategy(settings.strategy).make, n_initial=settings.n_initial)
        return Setup(space, goal, make, settings.seed)
    tasks, beliefs = tasks_of(history, space), beliefs_of(history, space)
    bayes = partial(BayesProposer, n_initial=settings.n_initial, tasks=tasks, beliefs=beliefs)
    design = partial(
        SobolProposer,
        first=Transfer(tasks, space.columns).first if tasks else None,
        beliefs=Beliefs(space, beliefs) if beliefs else None,
    )
    return Setup(space, goal, bayes, settings.seed, design)


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

    Attributes:
        settings: May be replaced before the first proposal.
        history: The record.
        is_used_up: Whether the search has ended: every configuration was tried, or all requested
            trials have ended.
    """

    def __init__(
        self,
        settings: SearchSettings,
        history: History,
        controller: ControllerHandle,
        proposals: Proposals | Background | None,
    ) -> None:
        self.settings = settings
        self.history = history
        self.is_used_up = False
        self._controller = controller
        self._lost: int | None = None  # trials that count and that Ray lost, once they are counted
        self._queue: list[tuple[Config, Origin]] | None = None  # to hand out before proposals
        self._grids: list[str] = history.get_meta(GRIDS) or []
        self._narrowed: tuple[History, int] | None = None  # its copy and the version that it has
        self._proposals = proposals
        self._seen: ExclusionList | None = None
        self._seen_until = 0  # trials that it holds

    # -- configurations ---------------------------------------------------------------------------

    def next(self, trial_id: str) -> Config | None:
        """Return the configuration of a new trial; None if there is none now.

        With `is_used_up`, there will never be one again.
        """
        history = self.history
        live, free, slots = self._room()
        bound = math.inf if self.settings.max_concurrent is None else self.settings.max_concurrent
        if slots is not None:
            most = slots + ahead(slots)
            self._controller.raise_cap(most)
            bound = min(bound, most)
        if live >= bound and live:
            self._turn(live, free, slots)
            return None
        if self._lost is None:
            self._lost = self._controller.lost(counted(history), history)
        left = self._controller.left()
        left = None if left is None else max(left - self._lost, 0)
        if self._lost and left == 0:
            self.is_used_up = True
            return None
        found = self._queued()
        if found is None:
            history.left = left
            found = self._proposed(live, free, slots)
        if found is None:
            if not self.is_used_up:
                self.turn()
            return None
        history.add(trial_id, *found)
        self.turn(more=1)
        return found[0]

    def _queued(self) -> tuple[Config, Origin] | None:
        """Return the next initial point, or the next configuration to try again."""
        settings, history = self.settings, self.history
        if self._queue is None:
            points = settings.points_to_evaluate if settings.evaluated_rewards is None else None
            again, before = settings.again
            tried = (Origin.INITIAL, Origin.EVALUATED)
            self._queue = [(p, Origin.INITIAL) for p in untried(points or (), history, tried)]
            left = untried(again, history, [Origin.AGAIN], since=before)
            self._queue += [(config, Origin.AGAIN) for config in left]
        if not self._queue:
            return None
        point, origin = self._queue.pop(0)

        def completion() -> Config | None:
            proposal = self._take(free=1, slots=1, alone=True)
            return None if proposal is None else proposal.config

        rng = np.random.default_rng(len(history))
        return filled(history.space, point, rng, completion), origin

    def _proposed(self, live: int, free: int, slots: int | None) -> tuple[Config, Origin] | None:
        # Without a live trial Ray would sleep, and other callers may not expect None.
        alone = live == 0 or not self._controller.is_known
        proposal = self._take(free=max(free, int(live == 0)), slots=slots or live + 1, alone=alone)
        if proposal is None:
            assert self._seen is not None
            if self._seen.exhausted:
                logger.info("All %g configurations were tried.", self._searched().space.cardinality)
                self.history.set_meta("finished", True)
                self.is_used_up = True
                self.close()
            return None
        config = None
        if self._grids:
            config = with_untried(self._searched(), self._grids, proposal.config)
            self._grids = [] if config is None else self._grids  # each value was tried
        return config or proposal.config, proposal.origin

    def _take(self, *, free: int, slots: int, alone: bool) -> Proposal | None:
        """Return a proposal; None if every configuration is used, or as in `Proposals.take`."""
        searched = self._searched()
        if self._seen is None:
            self._seen = ExclusionList(searched.space, searched.points())
        elif self._seen_until < len(searched):
            self._seen.add(searched.points(self._seen_until))
        self._seen_until = len(searched)
        if self._seen.exhausted:
            return None
        return self.source().take(searched, self._seen, free=free, slots=slots, alone=alone)

    # -- proposals --------------------------------------------------------------------------------

    def turn(self, *, more: int = 0) -> None:
        """Notify the source of proposals of an event, or close it if the search is over.

        Args:
            more: Trials that Ray will soon count as live, minus those that it soon will not.
        """
        if self._controller.is_over:
            self.close()
            return
        self._turn(*self._room(more))

    def _turn(self, live: int, free: int, slots: int | None) -> None:
        self.source().turn(self._searched(), free=free, slots=slots or live + 1)

    def source(self) -> Proposals | Background:
        """Return the source of proposals."""
        if self._proposals is None:
            setup = setup_of(self.settings, self.history, self._searched().space)
            state, start = self.history.get_meta("proposer"), self.settings.start_process
            if start is None and ray.is_initialized():
                start = ActorProcess
            if self.settings.background and start is not None:
                self._proposals = Background(setup, state, start)
            else:
                self._proposals = InsideSuggest(setup.proposer(state))
        return self._proposals

    def close(self) -> None:
        """End the process that computes proposals, if there is one."""
        if self._proposals is not None:
            self._proposals.close()

    def _searched(self) -> History:
        """Return the trials in the current search space, as a record to read."""
        history = self.history
        if self._narrowed is None:
            strategy = find_strategy(self.settings.strategy)
            space = strategy.within(self.settings.within or history.space)
            if space is history.space:
                return history
            self._narrowed = History(space, goal=history.goal), 0
        copy, version = self._narrowed
        for table, row in history.changes(version):
            if table == "trial":
                config = history.space.load(json.loads(row[2]))
                try:
                    copy.space.validate(config)  # its constants too
                except ConfigError:
                    continue
                row = (*row[:2], json.dumps(copy.space.dump(config)), *row[3:])
            if table == "trial" or row[0] in copy:
                copy.apply([(table, row)])
        self._narrowed = copy, history.version
        if (copy.time_attr, copy.max_t) != (history.time_attr, history.max_t):
            copy.time_attr, copy.max_t = history.time_attr, history.max_t
        copy.left = history.left
        return copy

    def _room(self, more: int = 0) -> tuple[int, int, int | None]:
        """Return the number of pending or running trials, of free slots, and of all slots.

        Ray asks for trials for all free slots at once; this is one if their number is unknown. The
        numbers come from the controller if there is one, since it ends some trials silently.

        Args:
            more: See `turn`.
        """
        live, slots = self._controller.live(), self._controller.slots()
        if live is None:
            counts = self.history.counts  # paused trials hold no slot
            live = counts[TrialState.PENDING] + counts[TrialState.RUNNING]
        else:
            live += more
        free = 1 - max(more, 0) if slots is None else slots - live
        if self.settings.max_concurrent is not None:
            free = min(free, self.settings.max_concurrent - live)
        return live, max(free, 0), slots
