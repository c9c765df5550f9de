"""Keep proposals ready that a separate process computes.

1. A trial ends. The proposals in stock become *stale*: they do not take its result into account.
   The process gets a request at once, with all changes and the number of proposals to compute.
2. Until the reply arrives, a free slot may wait (see below). Otherwise it gets the next stale
   proposal, or a *fallback* if there is none: a quasi-random proposal. If Ray asks for a trial
   before a slot is free, the trial waits, unless slots become free faster than replies arrive.
3. The reply brings *fresh* proposals. They are used first. Older ones remain as a reserve.
4. If slots do not wait, the stock is filled up to the largest number of slots that became free
   during one request, because similar trials end together.

A slot waits at most a tenth of a trial's duration, or `_STALE_S` if that is longer. The limit is at
least `_NONE_S` if the slot would otherwise get a quasi-random proposal or one older than a round of
trials, and at least `_START_S` while the process starts. A slot waits once for each reply. It does
not wait if the reply will probably take longer, if there is no model yet, or if the ready proposal
misses only a few of the trials that run at the same time.

Only one request is active at a time. It includes the proposals that will probably be used before
its reply arrives, so that new proposals keep their distance, as from pending trials.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raytuner.bayes import SobolProposer
from raytuner.bayes.proposer import ExclusionList, Proposal
from raytuner.history import History, Origin
from raytuner.history.snapshot import FloatArray
from raytuner.search.process import Process, ProcessDied, ProposerFailed, Request, Setup

logger = logging.getLogger(__name__)

StartProcess = Callable[[Setup, dict[str, Any] | None], Process]

# Reports of running trials cause a request once the record has grown by this share since the last
# one and the process has rested for this multiple of a request's duration.
_GROWTH = 0.05
_REST = 3.0

_MOST = 64  # proposals per request: none of them knows trials that end meanwhile
_MOST_AWAITED = 4  # the same if slots wait: later proposals then know how these first trials ended

# Least limit of the wait for a fresh proposal, in seconds: if a stale one is ready, if none is
# ready, and while the process starts.
_STALE_S, _NONE_S, _START_S = 0.25, 2.5, 20.0
_SHARE = 0.1  # longest wait of a slot as a share of a trial's duration, unless below the least one
_FEW = 1 / 8  # share of the slots: a proposal that misses at most so many trials is fresh enough
_HOLD_S = 5.0  # longest wait inside `take`: Ray's loop is blocked and checks no time budget

_LONGEST_BREAK_S = 60.0  # before restarting a process that keeps dying
_SLOW_START_S = 60.0  # without a first reply, after which a warning is logged


@dataclass(frozen=True)
class _Ready:
    """A proposal in stock."""

    config: dict[str, Any]  # from `Space.dump`: loading 64 takes milliseconds of Ray's loop
    origin: Origin
    point: FloatArray  # `1 x d`-dim encoded configuration
    ended_version: int  # version of the record up to which it knows how trials ended
    handed_out: int  # number of proposals handed out before its request


@dataclass(frozen=True)
class _Sent:
    """An active request."""

    ended_version: int
    replaces: bool  # whether its reply replaces the stock
    wanted: int  # number of free slots when it was sent
    at: float
    handed_out: int  # number of proposals handed out before it was sent


class Background:
    """Keeps a stock of proposals that a `Process` computes.

    Args:
        setup: The setup of the proposer.
        state: The state from which the proposer continues. None: a new proposer.
        start: Starts a process: on first use, and again after a process has died.
    """

    def __init__(self, setup: Setup, state: dict[str, Any] | None, start: StartProcess) -> None:
        self._setup, self._state, self._start = setup, state, start
        self._begin()

    def _begin(self) -> None:
        """Start without a process and with an empty stock."""
        self._sobol: SobolProposer | None = None
        self._process: Process | None = None
        self._sent: _Sent | None = None
        self._waited_from: float | None = None  # since when a slot has waited for its reply
        self._stock: deque[_Ready] = deque()
        self._sent_version = 0  # the process knows the record up to it
        self._asked_version = 0  # and knew it up to here when proposals were last asked for
        self._asked_ended = -1
        self._pace = Pace()
        self._replied_at = -math.inf
        self._started_at = 0.0
        self._heard = False  # from this process
        self._deaths = 0  # in a row
        self._retry_at = -math.inf
        self._error: ProposerFailed | None = None
        self._due = 0  # proposals of the last reply for slots that were free when it was asked for
        self._n_initial: int | None = None
        self._warned = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Background, (self._setup, self._state, self._start)

    # -- what the searcher calls ----------------------------------------------------------------

    def turn(self, history: History, *, free: int, slots: int) -> None:
        """Receive a reply if there is one, and send the next request if one is due."""
        try:
            self._receive()
            if self._sent is None and self._error is None:
                self._send_next(history, free, slots)
        except ProcessDied as death:
            self._bury(death)

    def take(
        self, history: History, used: ExclusionList, *, free: int, slots: int, alone: bool
    ) -> Proposal | None:
        """Return the newest proposal in stock, or else a quasi-random one; see `Proposals`.

        An error of the proposer in its process is raised here.
        """
        until = None
        while True:
            self.turn(history, free=max(free, 1), slots=slots)
            if self._error is not None:
                error, self._error = self._error, None
                raise error.__cause__ or error
            ready = self._first(used)
            knows_all = ready is not None and ready.ended_version >= history.ended_version
            # A proposal computed inside `suggest` would not know trials that end meanwhile either.
            is_fresh = knows_all or (ready is not None and free > 0 and self._due > 0)
            seconds = 0.0 if is_fresh else self._worth_waiting(history, ready, free, slots)
            if self._process is not None and seconds > 0:
                now = self._process.now()
                if free and self._waited_from is None:
                    self._waited_from = now
                if not alone:
                    return None
                until = now + _HOLD_S if until is None else until
                if now < until:
                    try:
                        self._process.wait(min(seconds, until - now))
                    except ProcessDied as death:
                        self._bury(death)
                    continue
            return self._hand_out(history, used, ready, is_fresh)

    def state_dict(self) -> dict[str, Any] | None:
        """Return the proposer's state at its last reply."""
        return self._state

    def close(self) -> None:
        """End the process and drop the stock."""
        if self._process is not None:
            self._process.close()
        self._begin()

    # -- inside ---------------------------------------------------------------------------------

    def _first(self, used: ExclusionList) -> _Ready | None:
        """Return the first proposal in stock; drop proposals that have been used."""
        while self._stock and not used.new(self._stock[0].point)[0]:
            self._stock.popleft()
        return self._stock[0] if self._stock else None

    def _hand_out(
        self, history: History, used: ExclusionList, ready: _Ready | None, is_fresh: bool
    ) -> Proposal:
        self._pace.note(None if self._process is None else self._process.now())
        if ready is not None:
            self._stock.popleft()
            self._due -= 1
            is_stale = ready.origin is Origin.BAYES and not is_fresh
            config = self._setup.space.load(ready.config)
            return Proposal(config, Origin.STALE if is_stale else ready.origin)
        proposal = self._quasi_random(history, used)
        # Without a model there is nothing better.
        is_fallback = proposal.origin is Origin.SOBOL and self._has_model(history)
        return Proposal(proposal.config, Origin.FALLBACK) if is_fallback else proposal

    def _has_model(self, history: History) -> bool:
        """Return whether the proposer has a model, not only an initial design."""
        if self._n_initial is None:
            self._n_initial = getattr(self._setup.proposer(None), "n_initial", 0)
        return _knows(history) and len(history) >= self._n_initial

    def _worth_waiting(
        self, history: History, ready: _Ready | None, free: int, slots: int
    ) -> float:
        """Return how many seconds to wait for a reply; 0 or less: do not wait."""
        if self._process is None or self._sent is None or not self._has_model(history):
            return 0.0
        if not free and self._pace.during_last <= 1:  # the next free slot asks again
            return math.inf
        missed = math.inf if ready is None else self._pace.handed_out - ready.handed_out + 1
        if missed <= _FEW * slots:
            return 0.0
        least = _STALE_S if missed <= slots + 1 else _NONE_S if self._heard else _START_S
        now = self._process.now()
        longest = self._pace.longest_wait(slots, now, least)
        if self._pace.seconds > longest:
            return 0.0
        return longest - (0.0 if self._waited_from is None else now - self._waited_from)

    def _receive(self) -> None:
        if self._process is None or self._sent is None:
            return
        try:
            reply = self._process.receive()
        except ProposerFailed as error:
            self._error, self._sent = error, None
            return
        now = self._process.now()
        if reply is None:
            waited = now - self._started_at
            if not self._heard and not self._warned and waited >= _SLOW_START_S:
                self._warned = True
                logger.warning(
                    "The process that computes proposals has not answered for %.0f s. Until it"
                    " does, trials get quasi-random configurations. Check that Ray can start actors"
                    " on this node.",
                    waited,
                )
            return
        sent, self._sent = self._sent, None
        self._heard, self._deaths, self._replied_at = True, 0, now
        self._state = reply.state
        if not reply.proposals:
            return
        self._pace.reply(now - sent.at, sent.handed_out)
        self._due = sent.wanted
        new = [
            _Ready(config, origin, point[None], sent.ended_version, sent.handed_out)
            for (config, origin), point in zip(reply.proposals, reply.points, strict=True)
        ]
        fresh = [] if sent.replaces else [r for r in self._stock if self._is_current(r)]
        reserve = [r for r in self._stock if sent.replaces or not self._is_current(r)]
        self._stock = deque((fresh + new + reserve)[: max(self._pace.demand(), len(fresh + new))])

    def _is_current(self, ready: _Ready) -> bool:
        """Return whether it was based on all ends of trials that the process knows."""
        return ready.ended_version >= self._asked_ended

    def _send_next(self, history: History, free: int, slots: int) -> None:
        """Send the request that is due, if one is."""
        if self._process is None:
            if self._deaths and time.monotonic() < self._retry_at:
                return
            self._process = self._start(self._setup, self._state)
            self._started_at = self._process.now()
            self._heard, self._sent = False, None
            self._sent_version, self._asked_version, self._asked_ended = 0, 0, -1
        self._pace.resize(slots)
        if not _knows(history):
            if not self._heard:  # let it start, and load what it needs
                self._send(history, 0, (), replaces=False, wanted=0)
            return
        current = [ready for ready in self._stock if self._is_current(ready)]
        wanted = self._pace.demand()
        # If slots wait for fresh proposals, leftover proposals would never be used.
        longest = self._pace.longest_wait(slots, self._process.now(), _STALE_S)
        waits = wanted > _FEW * slots and self._pace.seconds <= longest
        wanted = free if waits else wanted
        # Half as many again as last time, as a reserve.
        most = _MOST_AWAITED if waits else _MOST
        pace = min(max(1, free, self._pace.during_last * 3 // 2), most)
        rested = self._process.now() - self._replied_at > _REST * self._pace.seconds
        has_grown = rested and history.version - self._asked_version > _GROWTH * history.version
        if history.ended_version > self._asked_ended or has_grown:
            promised = [] if waits else list(self._stock)[: max(free, self._pace.during_last)]
            self._asked_version, self._asked_ended = history.version, history.ended_version
            n = min(pace, max(wanted, free, 1))
            self._send(history, n, promised, replaces=True, wanted=free)
        elif len(current) < wanted:
            n = min(pace, wanted - len(current))
            self._send(history, n, current, replaces=False, wanted=free)

    def _send(
        self, history: History, n: int, promised: Sequence[_Ready], replaces: bool, wanted: int
    ) -> None:
        assert self._process is not None
        request = Request(
            changes=history.changes(self._sent_version),
            max_t=history.max_t,
            promised=np.vstack([history.points(0, 0), *(ready.point for ready in promised)]),
            n=n,
            left=history.left,
        )
        self._process.send(request)
        self._sent_version = history.version
        self._waited_from, now = None, self._process.now()
        self._sent = _Sent(history.ended_version, replaces, wanted, now, self._pace.handed_out)

    def _bury(self, death: ProcessDied) -> None:
        """Forget a dead process. The next one gets the whole record."""
        if self._process is not None:
            self._process.close()
        self._process, self._sent = None, None
        self._deaths += 1
        wait = 0.0 if self._deaths == 1 else min(2.0**self._deaths, _LONGEST_BREAK_S)
        self._retry_at = time.monotonic() + wait
        reason = (str(death).strip().splitlines() or ["no reason given"])[-1]
        logger.warning(
            "The process that computes proposals has died (%s). A new one starts%s. Until it"
            " has caught up, trials get older proposals or quasi-random ones.",
            reason.split(". ")[0],
            f" in {wait:g} s" if wait else " now",
        )

    def _quasi_random(self, history: History, used: ExclusionList) -> Proposal:
        # Reading the record takes time.
        if self._sobol is not None:
            (proposal,) = self._sobol.ask(1)
            if used.new(history.space.encode([proposal.config]))[0]:
                return proposal
        self._sobol = self._setup.make_design(history.space, self._setup.seed)
        self._sobol.tell(history.snapshot())
        (proposal,) = self._sobol.ask(1)
        return proposal


def _knows(history: History) -> bool:
    """Return whether the record has values to learn from."""
    return history.has_values or history.ended_version > 0


class Pace:
    """Measures how fast proposals are used, and how long a request for new ones takes.

    Attributes:
        handed_out: Number of proposals handed out so far.
        seconds: Duration of a request; 0 before the first reply.
        during_last: Number of proposals handed out during the last request.
    """

    def __init__(self) -> None:
        self.handed_out = 0
        self.seconds = 0.0
        self.during_last = 0
        self._times: deque[float] = deque(maxlen=64)

    def note(self, now: float | None) -> None:
        """Note that a proposal was handed out; without a clock, `now` is None."""
        self.handed_out += 1
        if now is not None:
            self._times.append(now)

    def reply(self, took: float, handed_out_before: int) -> None:
        """Note that a request was answered."""
        self.seconds = (self.seconds + took) / 2 if self.seconds else took
        self.during_last = self.handed_out - handed_out_before

    def resize(self, slots: int) -> None:
        """Remember the last two trials of each slot."""
        if (length := max(2 * slots, 16)) != self._times.maxlen:
            self._times = deque(self._times, maxlen=length)

    def demand(self) -> int:
        """Return the most proposals that were handed out during one request; at least 1.

        The start, when all slots were filled at once, counts as long as it is remembered: this may
        happen again.
        """
        most, first = 1, 0
        times = list(self._times)
        for last, at in enumerate(times):
            while at - times[first] > self.seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    def longest_wait(self, slots: int, now: float, least: float) -> float:
        """Return the longest wait of a slot in seconds: a share of a trial, or `least`."""
        if not self._times:
            return least
        seconds_a_trial = slots * (now - self._times[0]) / len(self._times)
        return max(_SHARE * seconds_a_trial, least)
