"""Proposals that another process keeps ready.

What happens, in this order:

1. A trial ends. What the other process has proposed so far is *stale* now: it was told how all
   trials went but this one. A request goes out at once: what has happened since the last one, and
   how many proposals are wanted.
2. Until its reply is there, a free slot waits if that is worth it (see below). If it is not, the
   slot gets the next stale proposal, or a quasi-random one if there is none. A trial that Ray asks
   for ahead of a free slot waits, unless slots fall free faster than replies come.
3. The reply brings *fresh* proposals, which go first. Those that are left of older ones stay behind
   them as a reserve.
4. Where slots do not wait, the stock is filled up to the largest number of slots that fell free
   during one request: equal trials end together.

A slot waits for a tenth of a trial, or for ``_STALE_S`` if that is longer. If it would otherwise
get a quasi-random proposal, or one that is older than a round of trials, it waits for at least
``_NONE_S``, as long as Ray may take to start a trial, and for at least ``_START_S`` while the
process starts and loads its libraries. A slot waits once for each reply. It does not wait if the
reply is likely to take longer, if there is no model yet (the design is quasi-random anyway), or if
the ready proposal misses only a few of the trials that run at the same time.

One request is under way at a time. Proposals that are likely to be handed out before its reply is
there go along as promised, so that the new ones keep away from them as from pending trials.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from raytuner.bayes import SobolProposer
from raytuner.bayes.exclusion import ExclusionList
from raytuner.bayes.proposer import Proposal
from raytuner.history import History, Origin, TrialState
from raytuner.search.mirror import Request, Setup
from raytuner.search.process import Process, ProcessDied, ProposerFailed

logger = logging.getLogger(__name__)

StartProcess = Callable[[Setup, dict[str, Any] | None], Process]

# Reports of trials that go on are reason enough for a request if the record has grown by so much
# since the last, and if the process has rested for so many times as long as a request takes.
_GROWTH = 0.05
_REST = 3.0

_MOST = 64  # proposals a request: what ends meanwhile is known to none of them
_MOST_AWAITED = 4  # the same where slots wait: later ones then know how these first trials ended

# The shortest limit of a wait for a fresh proposal, in seconds: if a stale one is ready, if none is
# ready, and if none is ready while the process starts.
_SHARE = 0.1  # of a trial
_STALE_S, _NONE_S, _START_S = 0.25, 2.5, 20.0
_FEW = 1 / 8  # of the slots: a proposal that misses no more trials than these is fresh enough
_HOLD_S = 5.0  # longest wait inside of `take`: Ray's loop stands still, and checks no time budget

_LONGEST_BREAK_S = 60.0  # before a process that keeps dying is started once more
_SLOW_START_S = 60.0  # without a first reply: somebody should know


@dataclass(frozen=True)
class _Ready:
    """A proposal in stock."""

    proposal: Proposal
    ended_version: int  # of the record that it knew: up to where it knows how trials ended
    handed_out: int  # proposals handed out before it was asked for


@dataclass(frozen=True)
class _Sent:
    """A request under way."""

    ended_version: int
    replaces: bool  # whether what is in stock gives way to its reply
    wanted: int  # slots that were free when it was sent
    at: float
    handed_out: int  # so many had been when it was sent


class Background:
    """Keeps a stock of proposals that a :class:`Process` thinks of.

    Args:
        setup: What the proposer needs.
        state: What it goes on from; None begins anew.
        start: Starts a process. Called when one is first needed, and again after one has died.
    """

    def __init__(self, setup: Setup, state: dict[str, Any] | None, start: StartProcess) -> None:
        self._setup = setup
        self._state = state
        self._start = start
        self._begin()

    def _begin(self) -> None:
        """As after a start: without a process, and with nothing in stock."""
        self._sobol: SobolProposer | None = None
        self._process: Process | None = None
        self._sent: _Sent | None = None
        self._waited_from: float | None = None  # since when a slot has waited for its reply
        self._stock: deque[_Ready] = deque()
        self._told_version = 0  # all up to it has been told
        self._asked_version = 0  # and all up to it was known when proposals were last asked for
        self._asked_ended = -1
        self._seconds = 0.0  # that a request takes
        self._replied_at = -math.inf
        self._started_at = 0.0
        self._greeted = False
        self._heard = False  # from this process
        self._deaths = 0  # in a row
        self._retry_at = -math.inf
        self._error: ProposerFailed | None = None
        self._handed_out = 0
        self._handed_out_at: deque[float] = deque(maxlen=64)
        self._taken_meanwhile = 0  # how many were handed out during the last request
        self._due = 0  # proposals of the last reply for slots that were free when it was asked for
        self._n_initial: int | None = None
        self._warned = False

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("_setup", "_state", "_start")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    # -- what the searcher calls ----------------------------------------------------------------

    def turn(self, history: History, *, free: int, slots: int | None) -> None:
        """Take in a reply that has come, and send the next request if there is reason to."""
        try:
            self._receive()
            if self._sent is None and self._error is None:
                self._send_next(history, free, slots)
            if self._process is not None:
                self._process.keep()
        except ProcessDied as death:
            self._bury(death)

    def take(
        self, history: History, used: ExclusionList, *, free: int, slots: int | None, alone: bool
    ) -> Proposal | None:
        """The newest proposal in stock, else a quasi-random one; see :meth:`Proposals.take`.

        Raises:
            Exception: Whatever the proposer raised in its process.
        """
        until = None
        while True:
            self.turn(history, free=max(free, 1), slots=slots)
            if self._error is not None:
                error, self._error = self._error, None
                raise error.__cause__ or error
            ready = self._first(history, used)
            knows_all = ready is not None and ready.ended_version >= history.ended_version
            # A proposal computed inside `suggest` does not know what ended meanwhile either.
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
                    self._wait(min(seconds, until - now))
                    continue
            return self._hand_out(history, used, ready, is_fresh)

    def state_dict(self) -> dict[str, Any] | None:
        """The proposer's at its last reply."""
        return self._state

    def close(self) -> None:
        """End the process. What is in stock goes with it."""
        if self._process is not None:
            self._process.close()
        self._begin()

    # -- inside ---------------------------------------------------------------------------------

    def _first(self, history: History, used: ExclusionList) -> _Ready | None:
        """Return the first proposal in stock, and drop those that are used by now."""
        encode = history.space.encode
        while self._stock and not used.new(encode([self._stock[0].proposal.config]))[0]:
            self._stock.popleft()
        return self._stock[0] if self._stock else None

    def _hand_out(
        self, history: History, used: ExclusionList, ready: _Ready | None, is_fresh: bool
    ) -> Proposal:
        self._handed_out += 1
        if self._process is not None:
            self._handed_out_at.append(self._process.now())
        if ready is not None:
            self._stock.popleft()
            self._due -= 1
            if ready.proposal.origin is Origin.BAYES and not is_fresh:
                return Proposal(ready.proposal.config, Origin.STALE)
            return ready.proposal
        proposal = self._quasi_random(history, used)
        # Without a model there is nothing better.
        is_fallback = proposal.origin is Origin.SOBOL and self._has_model(history)
        return Proposal(proposal.config, Origin.FALLBACK) if is_fallback else proposal

    def _has_model(self, history: History) -> bool:
        """Whether the proposer has a model, not only its design."""
        if self._n_initial is None:
            self._n_initial = getattr(self._setup.proposer(None), "n_initial", 0)
        return _knows(history) and len(history) >= self._n_initial

    def _worth_waiting(
        self, history: History, ready: _Ready | None, free: int, slots: int | None
    ) -> float:
        """Return for how many seconds to wait for a reply; 0 or less: do not wait."""
        if self._process is None or self._sent is None or not self._has_model(history):
            return 0.0
        if not free and self._taken_meanwhile <= 1:  # the next slot that falls free asks again
            return math.inf
        running = slots or _running(history) + 1
        missed = math.inf if ready is None else self._handed_out - ready.handed_out + 1
        if missed <= _FEW * running:
            return 0.0
        if missed <= running + 1:
            longest = self._longest(running, _STALE_S)
        else:
            longest = self._longest(running, _NONE_S if self._heard else _START_S)
        if self._seconds > longest:
            return 0.0
        now = self._process.now()
        return longest - (now - (now if self._waited_from is None else self._waited_from))

    def _longest(self, slots: int, least: float) -> float:
        """Return the longest wait of a slot in seconds: a share of the time of a trial in it."""
        if self._process is None or not self._handed_out_at:
            return least
        since = self._process.now() - self._handed_out_at[0]
        return max(_SHARE * slots * since / len(self._handed_out_at), least)

    def _wait(self, seconds: float) -> None:
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except ProcessDied as death:
            self._bury(death)

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
            self._warn_of_slow_start(now)
            return
        sent, self._sent = self._sent, None
        self._heard, self._deaths, self._replied_at = True, 0, now
        self._state = reply.state
        if not reply.proposals:
            return
        self._seconds = now - sent.at if not self._seconds else (self._seconds + now - sent.at) / 2
        self._taken_meanwhile = self._handed_out - sent.handed_out
        self._due = sent.wanted
        new = [
            _Ready(
                Proposal(self._setup.space.load(config), origin),
                sent.ended_version,
                sent.handed_out,
            )
            for config, origin in reply.proposals
        ]
        fresh = [] if sent.replaces else [r for r in self._stock if self._is_current(r)]
        reserve = list(self._stock) if sent.replaces else self._stock_without(fresh)
        self._stock = deque((fresh + new + reserve)[: max(self._demand(), len(fresh + new))])

    def _is_current(self, ready: _Ready) -> bool:
        """Whether it knows all ends of trials that the process was last told of."""
        return ready.ended_version >= self._asked_ended

    def _stock_without(self, fresh: Sequence[_Ready]) -> list[_Ready]:
        return [ready for ready in self._stock if not any(ready is one for one in fresh)]

    def _send_next(self, history: History, free: int, slots: int | None) -> None:
        """Send the request that is due, if one is."""
        if self._process is None:
            self._begin_process()
        if self._process is None:
            return
        if slots is not None and self._handed_out_at.maxlen != max(2 * slots, 16):
            self._handed_out_at = deque(self._handed_out_at, maxlen=max(2 * slots, 16))
        if not _knows(history):
            if not self._greeted:  # let it start, and load what it needs
                self._greeted = True
                self._send(history, 0, (), replaces=False)
            return
        current = [ready for ready in self._stock if self._is_current(ready)]
        running, wanted = slots or _running(history) + 1, self._demand()
        # Where slots wait for fresh proposals, those left over would never be used.
        waits = wanted > _FEW * running and self._seconds <= self._longest(running, _STALE_S)
        wanted = free if waits else wanted
        # A half more than last time: what is left over is the reserve of an unlucky next time.
        most = _MOST_AWAITED if waits else _MOST
        pace = min(max(1, free, self._taken_meanwhile * 3 // 2), most)
        if history.ended_version > self._asked_ended or self._has_grown(history):
            promised = [] if waits else list(self._stock)[: max(free, self._taken_meanwhile)]
            self._asked_version, self._asked_ended = history.version, history.ended_version
            n = min(pace, max(wanted, free, 1))
            self._send(history, n, promised, replaces=True, wanted=free)
        elif len(current) < wanted:
            n = min(pace, wanted - len(current))
            self._send(history, n, current, replaces=False, wanted=free)

    def _has_grown(self, history: History) -> bool:
        assert self._process is not None
        rested = self._process.now() - self._replied_at > _REST * self._seconds
        return rested and history.version - self._asked_version > _GROWTH * history.version

    def _send(
        self,
        history: History,
        n: int,
        promised: Sequence[_Ready],
        *,
        replaces: bool,
        wanted: int = 0,
    ) -> None:
        assert self._process is not None
        request = Request(
            since=self._told_version,
            version=history.version,
            changes=history.changes(self._told_version),
            max_t=history.max_t,
            promised=tuple(history.space.dump(ready.proposal.config) for ready in promised),
            n=n,
            left=history.left,
        )
        self._process.send(request)
        self._told_version = history.version
        self._waited_from, now = None, self._process.now()
        self._sent = _Sent(history.ended_version, replaces, wanted, now, self._handed_out)

    def _demand(self) -> int:
        """How many were handed out within the seconds of one request at worst, of late; 1 or more.

        Counted over the last two trials of each slot: what happened at the start, when all slots
        were filled at once, counts as long as it may happen again.
        """
        most, first = 1, 0
        times = list(self._handed_out_at)
        for last, at in enumerate(times):
            while at - times[first] > self._seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    def _begin_process(self) -> None:
        if self._deaths and time.monotonic() < self._retry_at:
            return
        self._process = self._start(self._setup, self._state)
        self._started_at = self._process.now()
        if not self._handed_out_at:  # there was no clock before
            self._handed_out_at.extend([self._started_at] * self._handed_out)
        self._greeted, self._heard, self._sent = False, False, None
        self._told_version, self._asked_version, self._asked_ended = 0, 0, -1

    def _bury(self, death: ProcessDied) -> None:
        """The process is gone: another will be told the whole record."""
        if self._process is not None:
            self._process.close()
        self._process, self._sent = None, None
        self._deaths += 1
        wait = 0.0 if self._deaths == 1 else min(2.0**self._deaths, _LONGEST_BREAK_S)
        self._retry_at = time.monotonic() + wait
        lines = str(death).strip().splitlines()
        logger.warning(
            "The process that thinks of proposals is gone (%s); another is started%s. Until it has"
            " caught up, trials get older proposals or quasi-random ones.",
            lines[-1].split(". ")[0] if lines else "no reason given",
            f" in {wait:g} s" if wait else "",
        )

    def _warn_of_slow_start(self, now: float) -> None:
        if self._heard or self._warned or now - self._started_at < _SLOW_START_S:
            return
        self._warned = True
        logger.warning(
            "The process that thinks of proposals has not answered for %.0f s; trials get"
            " quasi-random configurations until it does. Can Ray start it on this node?",
            now - self._started_at,
        )

    def _quasi_random(self, history: History, used: ExclusionList) -> Proposal:
        # Telling takes time, so it is told of the record only where it cannot do without.
        if self._sobol is not None:
            (proposal,) = self._sobol.ask(1)
            if used.new(history.space.encode([proposal.config]))[0]:
                return proposal
        self._sobol = self._setup.make_design(history.space, self._setup.seed)
        self._sobol.tell(history.snapshot())
        (proposal,) = self._sobol.ask(1)
        return proposal


def _knows(history: History) -> bool:
    """Whether there is anything to learn from."""
    return history.has_values or history.ended_version > 0


def _running(history: History) -> int:
    """Return how many trials are pending or running; paused ones hold no slot."""
    counts = history.counts()
    return counts[TrialState.PENDING] + counts[TrialState.RUNNING]
