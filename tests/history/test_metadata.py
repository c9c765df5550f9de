"""The shape of what a record keeps beside the trials; any other is refused."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from raytuner.history.metadata import LATEST, is_time, misshapen

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
    "of no known key": object(),
}


def test_what_a_study_keeps_has_its_shape() -> None:
    assert misshapen(GOOD) is None
    assert misshapen(dict.fromkeys(GOOD)) is None  # what is None is not known


@pytest.mark.parametrize("key", [key for key in GOOD if key != "of no known key"])
def test_another_type_is_found(key: str) -> None:
    for odd in (object(), [object()], {"a": object()}):
        if key in ("settings", "search_space") and isinstance(odd, dict):
            continue  # they may hold anything
        said = misshapen({**GOOD, key: odd})
        assert said == f"what it keeps as {key!r} is not what a study keeps"


GONE = object()


@pytest.mark.parametrize(
    ("key", "new", "path"),
    [
        ("runs", GONE, [0, "what"]),
        ("runs", LATEST, [0, "at"]),
        ("runs", 3, [0, "program"]),
        ("runs", GONE, [0, "folder"]),
        ("runs", "many", [0, "changes"]),
        ("runs", [3], [0, "changes"]),
        ("runs", {"ray": 2.6}, [0, "versions"]),
        ("settings", "all", ["resources", "gpu"]),
        ("settings", True, ["resources", "gpu"]),
        ("earlier", GONE, [0, "name"]),
        ("earlier", "long", [0, "max_t"]),
        ("earlier", GONE, [0, "trials"]),
        ("earlier", "fine", [0, "trials", 0, "state"]),
        ("earlier", GONE, [0, "trials", 0, "values"]),
        ("earlier", [[1]], [0, "trials", 0, "curve"]),
        ("earlier", [[None, 0.5]], [0, "trials", 0, "curve"]),
        ("earlier", [[1, "low"]], [0, "trials", 0, "curve"]),
        ("priors", [0.1], ["x", "mass"]),
        ("priors", [0.1, float("nan")], ["x", "mass"]),
        ("priors", GONE, ["x", "units"]),
        ("confirmed", ["low"], ["t1"]),
    ],
)
def test_a_part_that_is_another_is_found(key: str, new: Any, path: list[Any]) -> None:
    """Put `new` in place of what is at the path, or take that away."""
    value = part = deepcopy(GOOD[key])
    for step in path[:-1]:
        part = part[step]
    if new is GONE:
        del part[path[-1]]
    else:
        part[path[-1]] = new
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
