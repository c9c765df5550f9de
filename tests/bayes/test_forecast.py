"""Forecasts of what trials come to, on curves whose ends are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from raytuner.bayes import Forecaster, Outlook
from raytuner.history import History, TrialState
from raytuner.space import Float, Space

MAX_T = 27


def accuracy(x: float, t: int) -> float:
    """Rises to 1 - (x - 0.6)^2; the further from there, the slower."""
    return (1 - (x - 0.6) ** 2) * (1 - math.exp(-(0.3 + abs(x - 0.6)) * t))


def record(lengths: dict[float, int]) -> History:
    """Trials named by x, each trained for so long."""
    history = History(Space({"x": Float(0, 1)}), metric="accuracy", mode="max", max_t=MAX_T)
    for x, length in lengths.items():
        history.add(str(x), {"x": x})
        for t in range(1, length + 1):
            history.report(str(x), t, accuracy(x, t))
        if length == MAX_T:
            history.end(str(x), TrialState.COMPLETED)
    return history


def forecast(history: History, trial_id: str) -> Outlook | None:
    """Of one trial alone."""
    return Forecaster(history.space).outlook(history.snapshot(), [trial_id], is_last=True)


def test_nothing_is_said_while_too_little_is_known() -> None:
    history = record({0.1: 3, 0.3: 3, 0.5: 3, 0.7: 3})
    assert Forecaster(history.space).least == 5
    assert forecast(history, "0.1") is None
    history.add("0.9", {"x": 0.9})
    assert forecast(history, "0.1") is None  # it has not reported
    history.report("0.9", 1, math.nan)
    assert forecast(history, "0.1") is None
    history.report("0.9", 2, 0.5)
    assert forecast(history, "0.1") is not None


def test_a_hopeless_trial_and_one_that_will_win() -> None:
    history = record({0.0: MAX_T, 0.25: MAX_T, 0.45: MAX_T, 0.9: 9, 1.0: MAX_T, 0.05: 6, 0.62: 9})
    hopeless, winner = forecast(history, "0.05"), forecast(history, "0.62")
    assert hopeless is not None
    assert winner is not None
    assert hopeless.chance["0.05"] < 0.05 < 0.5 < winner.chance["0.62"]
    assert hopeless.incumbent == "0.62"
    assert winner.incumbent == "0.45"


def test_a_stopped_or_failed_trial_is_nobodys_rival() -> None:
    history = record({0.0: MAX_T, 0.25: MAX_T, 0.45: MAX_T, 0.61: 9, 0.62: 9, 1.0: 9})
    history.end("0.61", TrialState.STOPPED_EARLY)
    history.end("0.62", TrialState.FAILED)
    found = forecast(history, "1.0")
    assert found is not None
    assert found.incumbent == "0.45"


def test_chances_are_calibrated_on_noisy_curves() -> None:
    """Of the trials with a chance below 5 %, few win; and chances tell winners from others."""
    chances: list[float] = []
    wins: list[bool] = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        history = History(Space({"x": Float(0, 1)}), metric="accuracy", mode="max", max_t=MAX_T)
        ends: dict[str, float] = {}
        for i in range(16):
            x = float(rng.random())
            curve = [accuracy(x, t) + 0.01 * rng.normal() for t in range(1, MAX_T + 1)]
            history.add(str(i), {"x": x})
            length = MAX_T if i < 4 else int(rng.choice([1, 3, 9]))
            for t in range(1, length + 1):
                history.report(str(i), t, curve[t - 1])
            if length == MAX_T:
                history.end(str(i), TrialState.COMPLETED)
            ends[str(i)] = accuracy(x, MAX_T)
        forecaster = Forecaster(history.space)
        for i in range(4, 16):
            found = forecaster.outlook(history.snapshot(), [str(i)], is_last=True)
            assert found is not None
            chances.append(found.chance[str(i)])
            wins.append(ends[str(i)] > ends[found.incumbent])
    chance, won = np.array(chances), np.array(wins)
    low = chance < 0.05
    assert low.sum() >= 10
    assert won[low].mean() <= 0.1
    assert chance[won].mean() > 2 * chance[~won].mean()


def test_of_paused_trials_the_one_that_will_win_promises_most() -> None:
    history = record({0.0: MAX_T, 0.25: MAX_T, 0.45: MAX_T, 0.9: 9, 1.0: MAX_T, 0.05: 6, 0.62: 9})
    for trial_id in ("0.9", "0.05", "0.62"):
        history.pause(trial_id)
    outlook = Forecaster(history.space).outlook(history.snapshot(), ["0.9", "0.05", "0.62"])
    assert outlook is not None
    assert max(outlook.rate, key=outlook.rate.__getitem__) == "0.62"
    assert outlook.chance["0.62"] > 0.5 > 0.05 > outlook.chance["0.05"]
    assert outlook.newcomer > outlook.rate["0.05"]


def test_a_newcomer_is_weighed_by_its_own_configuration() -> None:
    history = record({0.0: MAX_T, 0.25: MAX_T, 0.45: 9, 0.7: MAX_T, 1.0: MAX_T})
    history.pause("0.45")
    history.add("good", {"x": 0.6})
    history.add("bad", {"x": 0.02})
    forecaster, snapshot = Forecaster(history.space), history.snapshot()
    rates = []
    for newcomer in ("good", "bad", None):
        outlook = forecaster.outlook(snapshot, ["0.45"], newcomer=newcomer)
        assert outlook is not None
        rates.append(outlook.newcomer)
    good, bad, any_ = rates
    assert any_ >= good - 0.1
    assert good > bad
    last = forecaster.outlook(snapshot, ["0.45"], is_last=True)
    assert last is not None
    assert last.newcomer == -math.inf


def test_what_is_nearly_done_or_cheap_promises_more_per_second() -> None:
    """Two trials of one configuration, but for how far they are or what they cost."""
    lengths = {0.0: MAX_T, 0.25: MAX_T, 0.45: MAX_T, 0.8: MAX_T, 1.0: MAX_T, 0.58: 3, 0.62: 18}
    history = record(lengths)
    for trial_id in ("0.58", "0.62"):
        history.pause(trial_id)
    forecaster, snapshot = Forecaster(history.space), history.snapshot()
    alike = forecaster.outlook(snapshot, ["0.58", "0.62"])
    # The further right, the dearer.
    seconds = {str(x): math.exp(8 * x) for x in lengths}
    dear = forecaster.outlook(snapshot, ["0.58", "0.62"], seconds=seconds)
    assert alike is not None
    assert dear is not None
    assert alike.chance == dear.chance
    gains = {i: alike.rate[i] + math.log(1 - t / MAX_T) for i, t in (("0.58", 3), ("0.62", 18))}
    assert alike.rate["0.62"] - gains["0.62"] == pytest.approx(math.log(MAX_T / 9))
    less = (alike.rate["0.62"] - alike.rate["0.58"]) - (dear.rate["0.62"] - dear.rate["0.58"])
    assert less == pytest.approx(8 * 0.04, rel=0.3)


def test_only_the_trial_that_holds_the_slot_needs_no_start() -> None:
    history = record({0.0: MAX_T, 0.25: MAX_T, 0.45: MAX_T, 1.0: MAX_T, 0.58: 9, 0.62: 9})
    forecaster, snapshot = Forecaster(history.space), history.snapshot()
    seconds = dict.fromkeys(("0.0", "0.25"), 30.0)  # too few for a model: their median counts
    ids = ["0.58", "0.62"]
    free = forecaster.outlook(snapshot, ids, seconds=seconds)
    paid = forecaster.outlook(snapshot, ids, seconds=seconds, start_s=10.0, in_slot="0.62")
    assert free is not None
    assert paid is not None
    assert paid.rate["0.62"] == pytest.approx(free.rate["0.62"])
    assert free.rate["0.58"] - paid.rate["0.58"] == pytest.approx(math.log((20 + 10) / 20))
    assert free.newcomer - paid.newcomer == pytest.approx(math.log((30 + 10) / 30))


def test_no_outlook_while_too_little_is_known() -> None:
    history = record({0.1: 3, 0.3: 3, 0.5: 3, 0.7: 3})
    assert Forecaster(history.space).outlook(history.snapshot(), ["0.1"]) is None
