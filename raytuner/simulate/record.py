"""What a simulation gives back, frozen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from raytuner.history import TrialState
from raytuner.simulate.events import Event, SimulatedTrial
from raytuner.simulate.figures import Step, covered, incumbent

Ended = Literal["finished", "time_budget", "stopper", "stalled"]


@dataclass(frozen=True)
class SearcherSeconds:
    """Real seconds that searcher and scheduler took.

    Attributes:
        suggest: Of each call that gave a configuration.
        hooks: Of each other call to the searcher, those that asked in vain among them.
        scheduler: Of all calls to the scheduler together.
    """

    suggest: npt.NDArray[np.float64]
    hooks: npt.NDArray[np.float64]
    scheduler: float

    @property
    def median(self) -> float:
        """Median seconds of a suggestion; 0 if none was asked for."""
        return float(np.median(self.suggest)) if self.suggest.size else 0.0

    @property
    def worst(self) -> float:
        """The longest suggestion."""
        return float(self.suggest.max(initial=0.0))


@dataclass(frozen=True)
class Simulation:
    """A search on a virtual clock: all that happened, and the figures.

    Two simulations are equal if all that happened is; real seconds are left out.

    Attributes:
        metric: Name of the objective; None: none was named.
        mode: "min" or "max".
        events: Everything, in the order in which the loop saw it.
        trials: Every trial in the order of proposal.
        end_s: Virtual seconds when it ended.
        ended: Why: "finished"; "time_budget"; "stopper": a stopper ended it; "stalled": nothing
            could happen any more, where Ray would wait for ever.
        workers: Per worker ``(from, until)`` in virtual seconds; until is None if it stayed.
        proposals: How many proposals were "fresh", "stale" or "fallback", as far as the searcher
            counts them (an attribute ``proposal_counts``, a mapping); else empty.
        searcher_seconds: What searcher and scheduler took in real time.
    """

    metric: str | None
    mode: str
    events: tuple[Event, ...] = field(repr=False)
    trials: tuple[SimulatedTrial, ...] = field(repr=False)
    end_s: float
    ended: Ended
    workers: tuple[tuple[float, float | None], ...] = field(repr=False)
    proposals: Mapping[str, int]
    searcher_seconds: SearcherSeconds = field(repr=False, compare=False)
    _training: npt.NDArray[np.float64] = field(repr=False, compare=False)
    _held: npt.NDArray[np.float64] = field(repr=False, compare=False)

    def incumbent(self, *, final: bool = True) -> tuple[Step, ...]:
        """The best value so far of trials at full fidelity, each time it improved.

        Args:
            final: Only last values of COMPLETED trials count; False: every value ever reported.

        Returns:
            Steps ``(time, value, trial)`` in ascending time (virtual seconds).
        """
        return incumbent(self.events, self.trials, self.mode, final=final)

    @property
    def best(self) -> SimulatedTrial | None:
        """The last incumbent by final values, or by any value if no trial completed."""
        steps = self.incumbent() or self.incumbent(final=False)
        return self.trials[steps[-1].trial] if steps else None

    @property
    def counts(self) -> Counter[TrialState]:
        """How many trials are in each end state."""
        return Counter(trial.state for trial in self.trials)

    @property
    def resource_spent(self) -> int:
        """Units of resource that were computed, by all trials, repeated ones included."""
        return sum(trial.units for trial in self.trials)

    @property
    def first_start_s(self) -> float:
        """Virtual seconds when the first trial trained; the end if none did."""
        starts = (trial.started_at for trial in self.trials if trial.started_at is not None)
        return min(starts, default=self.end_s)

    def utilisation(self, start_s: float | None = None, end_s: float | None = None) -> float:
        """Worker-seconds spent training, of those that were there.

        Args:
            start_s: Count from here (virtual seconds); None: from the first start of a trial.
            end_s: Count until here; None: the end.

        Returns:
            A share from 0 to 1; 0 if no worker was there.
        """
        return self._share(self._training, start_s, end_s)

    def occupancy(self, start_s: float | None = None, end_s: float | None = None) -> float:
        """Worker-seconds held by trials, starting up and waiting included; see `utilisation`."""
        return self._share(self._held, start_s, end_s)

    def worker_hours(self) -> float:
        """Worker-hours that were there from the beginning to the end: what is paid for."""
        return self._available(0.0, self.end_s) / 3600.0

    def cost(self, price_per_hour: float) -> float:
        """Cost at a price of one worker for one hour."""
        return self.worker_hours() * price_per_hour

    def _share(
        self, spans: npt.NDArray[np.float64], start_s: float | None, end_s: float | None
    ) -> float:
        start = self.first_start_s if start_s is None else start_s
        end = self.end_s if end_s is None else end_s
        available = self._available(start, end)
        # Sums in two orders may differ in the last digit.
        return min(1.0, covered(spans, start, end) / available) if available > 0 else 0.0

    def _available(self, start: float, end: float) -> float:
        spans = [(since, end if until is None else until) for since, until in self.workers]
        return covered(np.array(spans, dtype=np.float64), start, end)
