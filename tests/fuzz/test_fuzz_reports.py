"""Reports with anything in them, and states that somebody has changed."""

from __future__ import annotations

import copy
import math
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ray.tune.schedulers import TrialScheduler
from test_fuzz import few

from raytuner.bayes import SobolProposer
from raytuner.errors import MetricError
from raytuner.schedulers import ASHAScheduler
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.space import Categorical, Float, Space

SPACE = Space({"lr": Float(0.0, 1.0), "opt": Categorical(["sgd", None])})


class Rude:
    """An object that does not even show itself."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment]


ODD = st.sampled_from(
    [
        *(None, True, "0.5", b"1", [1.0], {"a": 1}, 1j, 10**400, -(10**400), Decimal("0.5")),
        *(Fraction(1, 2), np.float32(0.25), np.int64(2), np.bool_(True), np.array(0.5)),
        *(
            np.array([1.0]),
            np.array("x"),
            torch.tensor(0.5),
            torch.tensor([1.0, 2.0]),
            Rude(),
            print,
        ),
        *(math.nan, math.inf, -math.inf, 0, -1, 1e308, 5e-324),
    ]
)
VALUE = ODD | st.floats() | st.integers(-3, 10) | st.integers(-3, 10).map(float)
REPORT = st.fixed_dictionaries(
    {}, optional={"loss": VALUE, "training_iteration": VALUE, "other": ODD, 7: ODD, "": ODD}
)


def number(value: Any) -> float | None:
    """What a report's value is to be taken for; None for no number."""
    if isinstance(value, torch.Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool | np.bool_ | complex) or not isinstance(
        value, int | float | Fraction | np.floating | np.integer
    ):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


@few(60)
@given(st.lists(st.tuples(st.sampled_from("abc"), REPORT), max_size=12), st.booleans())
def test_whatever_is_reported_is_recorded_as_it_is_or_told(
    reports: list[tuple[str, dict[Any, Any]]], ends: bool
) -> None:
    search = BoTorchSearch(
        SPACE, metric="loss", mode="min", proposer=SobolProposer, background=False, seed=0
    )
    expected: dict[str, dict[float, float]] = {name: {} for name in "abcz"}
    for name in expected:
        search.suggest(name)
    search.on_trial_result("z", {"loss": 1.0, "training_iteration": 1})
    expected["z"] = {1.0: 1.0}
    for name, report in reports:
        search.on_trial_result(name, report)
        t, value = number(report.get("training_iteration")), number(report.get("loss"))
        if t is not None and math.isfinite(t) and value is not None:
            expected[name][t] = value
    for name, values in expected.items():
        assert repr(dict(search.history[name].values)) == repr(dict(sorted(values.items())))
    if ends:
        for name, report in reports:
            search.on_trial_complete(name, report)
        assert not {name for name, _ in reports} & {*search.history.live()}
    search.suggest("last")
    search.close()


@few(60)
@given(st.lists(st.tuples(st.sampled_from("abc"), REPORT), min_size=1, max_size=12))
def test_a_scheduler_decides_on_whatever_is_reported(
    reports: list[tuple[str, dict[Any, Any]]],
) -> None:
    scheduler = ASHAScheduler(metric="loss", mode="min", max_t=9, grace_period=1, seed=0)
    controller = SimpleNamespace(search_alg=None, get_trials=list)
    trials = {name: trial(name) for name in "abcz"}
    for one in trials.values():
        scheduler.on_trial_add(controller, one)
    scheduler.on_trial_result(controller, trials["z"], {"loss": 1.0, "training_iteration": 1})
    stopped: set[str] = set()
    for name, report in reports:
        if name in stopped:  # it reports no more
            continue
        said = scheduler.on_trial_result(controller, trials[name], report)
        assert said in (TrialScheduler.CONTINUE, TrialScheduler.STOP)
        t, value = number(report.get("training_iteration")), number(report.get("loss"))
        at_end = t is not None and math.isfinite(t) and t >= 9
        if report.get("loss") is None:
            assert said == (TrialScheduler.STOP if at_end else TrialScheduler.CONTINUE)
        elif report.get("training_iteration") is None:
            assert said == TrialScheduler.CONTINUE
        elif t is None or not math.isfinite(t) or value is None or at_end:
            assert said == TrialScheduler.STOP
        if said == TrialScheduler.STOP:
            stopped.add(name)
    scheduler.debug_string()


def trial(name: str) -> Any:
    return SimpleNamespace(
        trial_id=name,
        status="RUNNING",
        last_result={},
        checkpoint=None,
        get_trainable_cls=lambda: None,
        set_status=lambda status: None,
    )


def test_before_anything_was_reported_right_it_is_one_error() -> None:
    reports: list[dict[Any, Any]] = [{7: 1}, {"": None}, {"loss": None, 7: 1}, {"loss": Rude()}]
    search = BoTorchSearch(
        SPACE, metric="loss", mode="min", proposer=SobolProposer, background=False
    )
    search.suggest("a")
    for report in reports[:3]:  # these have no metric, and are skipped
        search.on_trial_result("a", {"training_iteration": 10**400, **report})
    with pytest.raises(MetricError):
        search.on_trial_result("a", {"training_iteration": 1, **reports[3]})


PATHS = st.lists(st.integers(0, 20), max_size=5)


def changed(state: Any, path: list[int], value: Any) -> Any:
    """A copy of a state with another value at some place in it."""
    state = copy.deepcopy(state)
    at, key = {"state": state}, "state"
    whole = at
    for number in path:
        inner: Any = at[key]
        if isinstance(inner, dict) and inner:
            at, key = inner, list(inner)[number % len(inner)]
        elif isinstance(inner, list) and inner:
            at, key = inner, number % len(inner)  # type: ignore[assignment]
        else:
            break
    at[key] = value
    return whole["state"]
