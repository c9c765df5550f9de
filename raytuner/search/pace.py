"""The pace at which proposals are used, and the longest wait of a slot for one."""

from __future__ import annotations

from collections import deque

_SHARE = 0.1  # of a trial's time: the longest wait of a slot, if that is above the least one
_LEAST_REMEMBERED = 16


class Pace:
    """Remembers when proposals were handed out, and how long a request for new ones takes.

    Attributes:
        handed_out: The number of proposals handed out so far.
        seconds: The seconds that a request takes; 0 before the first reply.
        during_last: The number of proposals that were handed out during the last request.
    """

    def __init__(self) -> None:
        self.handed_out = 0
        self.seconds = 0.0
        self.during_last = 0
        self._times: deque[float] = deque(maxlen=64)

    def start(self, now: float) -> None:
        """Start the clock: what was handed out before counts as handed out now."""
        if not self._times:
            self._times.extend([now] * self.handed_out)

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
        most = max(2 * slots, _LEAST_REMEMBERED)
        if self._times.maxlen != most:
            self._times = deque(self._times, maxlen=most)

    def demand(self) -> int:
        """Return the most proposals handed out within the time of one request; at least 1.

        The start counts, when all slots were filled at once, as long as it is remembered: it may
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
        """Return the longest wait of a slot in seconds: a share of a trial's time, or `least`."""
        if not self._times:
            return least
        seconds_a_trial = slots * (now - self._times[0]) / len(self._times)
        return max(_SHARE * seconds_a_trial, least)
