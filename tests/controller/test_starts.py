"""The seconds of a start, as a scheduler sees them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from raytuner.controller.starts import StartTimer


class Controller:
    """A controller with a clock of its own, as a simulated one has."""

    def __init__(self) -> None:
        self.clock = SimpleNamespace(now=0.0)
        self.with_slot: set[str] = set()
        self._trial_to_actor = _Actors()
        self._actor_manager = SimpleNamespace(is_actor_started=self.with_slot.__contains__)


class _Actors:
    def get(self, trial: Any) -> str:
        return str(trial.trial_id)


def look(timer: StartTimer, controller: Controller, now: float, *slots: str) -> None:
    controller.clock.now = now
    controller.with_slot.clear()
    controller.with_slot.update(slots)
    pending: list[Any] = [SimpleNamespace(trial_id=i) for i in "ab"]
    timer.look(controller, pending)


def report(timer: StartTimer, controller: Controller, trial_id: str, now: float, **of: Any) -> None:
    controller.clock.now = now
    timer.report(controller, trial_id, of)


def test_a_start_lasts_from_the_slot_to_the_training() -> None:
    timer, controller = StartTimer(), Controller()
    assert timer.median_s == 0.0
    look(timer, controller, 5.0)
    look(timer, controller, 7.0, "a")
    look(timer, controller, 8.0, "a")
    report(timer, controller, "a", 20.0, time_since_restore=10.0)
    assert timer.median_s == 3.0
    report(timer, controller, "a", 30.0, time_since_restore=19.0)  # the start is over
    assert timer.median_s == 3.0


def test_an_attempt_that_failed_does_not_count() -> None:
    timer, controller = StartTimer(), Controller()
    look(timer, controller, 0.0, "a")
    look(timer, controller, 50.0)  # it waits for a slot again
    look(timer, controller, 60.0, "a")
    report(timer, controller, "a", 65.0, time_since_restore=4.0)
    assert timer.median_s == 1.0


def test_what_cannot_be_told_is_not_counted() -> None:
    timer, controller = StartTimer(), Controller()
    look(timer, controller, 0.0, "a")
    report(timer, controller, "a", 65.0)
    report(timer, controller, "b", 65.0, time_since_restore=4.0)  # its slot was not seen
    assert timer.median_s == 0.0


def test_the_median_of_the_recent_starts_counts() -> None:
    timer, controller = StartTimer(), Controller()
    for seconds in (*[9.0] * 200, *[2.0] * 60):
        look(timer, controller, 100.0)
        look(timer, controller, 100.0, "a")
        report(timer, controller, "a", 110.0 + seconds, time_since_restore=10.0)
    assert timer.median_s == 2.0
