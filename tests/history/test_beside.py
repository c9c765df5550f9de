"""What is kept beside the trials, and the shapes that are refused."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from raytuner.history.beside import LATEST, is_time, misshapen

RUN = {
    "what": "run",
    "at": 1.5,
    "program": None,
    "folder": "/here",
    "changes": ["max_t: 9, now 27"],
    "versions": {"ray": "2.60"},
}
BELIEF = {"units": [0.5, 1.0], "widths": [0.5, 0.5], "mass": [0.1, 0.9]}
EARLIER = {
    "name": "before",
    "max_t": 9,
    "trials": [{"values": {"x": 1}, "state": "COMPLETED", "curve": [[1, 0.5, None]]}],
}
GOOD: dict[str, Any] = {
    "time_attr": "epoch",
    "max_t": 27.0,
    "curves": ["loss"],
    "runs": [RUN],
    "settings": {"resources": {"gpu": 0.5}},
    "finished": True,
    "trainable": "train",
    "num_samples": -1,
    "first_of_run": 3,
    "time_budget_s": 60,
    "gpu_hours_used": 0.25,
    "live": "live",
    "search_id": "abc",
    "search_space": {},
    "confirmed": {"t1": [0.5, 1]},
    "earlier": [EARLIER],
    "priors": {"x": BELIEF},
    "started/t1": 1.0,
    "of no known key": object(),
}


def test_what_a_study_keeps_has_its_shape() -> None:
    assert misshapen(GOOD) is None
    assert misshapen(dict.fromkeys(GOOD)) is None  # what is None is not known


@pytest.mark.parametrize("key", [key for key in GOOD if key != "of no known key"])
def test_another_type_is_found(key: str) -> None:
    for odd in (object(), [object()], {"a": object()}):
        if key == "settings" and isinstance(odd, dict):
            continue  # it may hold more
        if key == "search_space" and isinstance(odd, dict):
            continue
        said = misshapen({**GOOD, key: odd})
        assert said == f"what it keeps as {key!r} is not what a study keeps"


def without(*path: Any) -> Callable[[Any], None]:
    """Takes away what is at a path of keys."""

    def change(value: Any) -> None:
        for step in path[:-1]:
            value = value[step]
        del value[path[-1]]

    return change


def put(new: Any, *path: Any) -> Callable[[Any], None]:
    """Puts something else at a path of keys."""

    def change(value: Any) -> None:
        for step in path[:-1]:
            value = value[step]
        value[path[-1]] = new

    return change


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("runs", without(0, "what")),
        ("runs", put(LATEST, 0, "at")),
        ("runs", put(3, 0, "program")),
        ("runs", without(0, "folder")),
        ("runs", put("many", 0, "changes")),
        ("runs", put([3], 0, "changes")),
        ("runs", put({"ray": 2.6}, 0, "versions")),
        ("settings", put("all", "resources", "gpu")),
        ("settings", put(True, "resources", "gpu")),
        ("earlier", without(0, "name")),
        ("earlier", put("long", 0, "max_t")),
        ("earlier", without(0, "trials")),
        ("earlier", put("fine", 0, "trials", 0, "state")),
        ("earlier", without(0, "trials", 0, "values")),
        ("earlier", put([[1]], 0, "trials", 0, "curve")),
        ("earlier", put([[None, 0.5]], 0, "trials", 0, "curve")),
        ("earlier", put([[1, "low"]], 0, "trials", 0, "curve")),
        ("priors", put([0.1], "x", "mass")),
        ("priors", put([0.1, float("nan")], "x", "mass")),
        ("priors", without("x", "units")),
        ("confirmed", put(["low"], "t1")),
    ],
)
def test_a_part_that_is_another_is_found(key: str, change: Callable[[Any], None]) -> None:
    value = deepcopy(GOOD[key])
    change(value)
    assert misshapen({key: value}) is not None


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        *((0, True), (1.5, True), (LATEST - 1, True)),
        *((LATEST, False), (-1e-9, False), (float("nan"), False), (True, False), ("1", False)),
    ],
)
def test_a_time_is_one_that_calendars_can_say(value: Any, is_one: bool) -> None:
    assert is_time(value) is is_one
