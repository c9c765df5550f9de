"""Hypervolumes of made-up studies, against another library."""

from __future__ import annotations

from typing import Any

import moocore
import numpy as np
import pytest
from made_up import html_of

from raytuner.errors import SettingError
from raytuner.history import Goal, History, TrialState
from raytuner.report.figures import Figures
from raytuner.report.front import hypervolumes
from raytuner.space import Float, Space


def record(Y: list[list[float]], modes: list[str]) -> History:
    """A record with a completed trial for each row of objectives."""
    goal = Goal.of([f"y{i}" for i in range(len(modes))], modes)
    history = History(Space({"x": Float(0, 1)}), goal=goal)
    for number, (first, *others) in enumerate(Y):
        history.add(str(number), {"x": number / len(Y)})
        rest = {f"y{i}": value for i, value in enumerate(others, 1)}
        history.report(str(number), 1, first, rest)
        history.end(str(number), TrialState.COMPLETED)
    return history


def last_volume(Y: list[list[float]], modes: list[str], corner: list[float]) -> float:
    reference = {f"y{i}": value for i, value in enumerate(corner)}
    return float(hypervolumes(record(Y, modes), reference)["hypervolume"].iloc[-1])


@pytest.mark.parametrize(
    ("point", "corner", "volume"),
    [
        ([16777216.0, 0.0], [16777217.0, 1.0], 1.0),
        ([1e-50, 1e200], [3e-50, 2e200], 2e150),
    ],
)
def test_the_reference_point_is_not_rounded(
    point: list[float], corner: list[float], volume: float
) -> None:
    assert last_volume([point], ["min", "min"], corner) == pytest.approx(volume, rel=1e-12)
    negated = [[-y for y in row] for row in (point, corner)]
    found = last_volume([negated[0]], ["max", "max"], negated[1])
    assert found == pytest.approx(volume, rel=1e-12)


@pytest.mark.parametrize("m", [2, 4])
def test_random_fronts_against_another_library(m: int) -> None:
    rng = np.random.default_rng(m)
    for _ in range(10):
        n = int(rng.integers(1, 15))
        Y = 10.0 ** rng.integers(-3, 8) + rng.random((n, m))  # far from 0, where rounding shows
        Y[rng.random(n) < 0.2] = Y[0]
        corner = Y.min(axis=0) + rng.random(m)
        modes = [str(mode) for mode in rng.choice(["min", "max"], m)]
        signs = np.where(np.array(modes) == "min", 1.0, -1.0)
        found = last_volume((Y * signs).tolist(), modes, (corner * signs).tolist())
        # Both shift the points by the reference point. That alone rounds.
        assert found == pytest.approx(moocore.hypervolume(Y, ref=corner), rel=1e-6, abs=1e-12)


def test_the_page_of_a_study_with_two_objectives_lists_its_front() -> None:
    html = html_of(record([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], ["min", "min"]))
    front = html.split('id="front"')[1].split("</section>")[0]
    assert [n for n in range(3) if f'data-trial="{n}"' in front] == [0, 1]


@pytest.mark.parametrize(
    "corner", [{"y0": 1.0}, {"y0": 1.0, "y1": float("nan")}, {"y0": 1.0, "y1": "2"}]
)
def test_a_reference_point_is_one_finite_number_for_each_objective(corner: Any) -> None:
    with pytest.raises(SettingError, match=r"\['y0', 'y1'\]"):
        hypervolumes(record([[0.5, 0.5]], ["min", "min"]), corner)


@pytest.mark.parametrize("value", [1e300, 16777217.0])
def test_curves_are_drawn_as_reported(value: float) -> None:
    history = History(Space({"x": Float(0, 1)}), metric="loss", mode="min", max_t=16777217)
    history.add("a", {"x": 0.5})
    history.report("a", 16777217, value)
    history.end("a", TrialState.COMPLETED)
    lines, markers = Figures(history).curves().data[:2]
    assert (lines.mode, markers.mode) == ("lines", "markers")
    assert (lines.x[0], lines.y[0]) == (16777217, value)
    assert (markers.x[0], markers.y[0]) == (16777217, value)
