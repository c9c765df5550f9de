"""Reading one number out of a report."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from raytuner.controller.report import read_number
from raytuner.errors import MetricError


@pytest.mark.parametrize(
    "value",
    [2, np.float32(2), torch.tensor(2.0), Fraction(2)],
)
def test_numbers_of_every_kind(value: Any) -> None:
    number = read_number({"loss": value}, "loss", role="metric")
    assert number == 2.0
    assert type(number) is float


def test_not_finite_is_a_number_unless_refused() -> None:
    assert math.isnan(read_number({"loss": np.float64("nan")}, "loss", role="metric"))
    assert read_number({"loss": 10**400}, "loss", role="metric") == math.inf
    assert read_number({"loss": -(10**400)}, "loss", role="metric") == -math.inf
    with pytest.raises(MetricError, match=r"'t' was reported as nan \(float\), which is not a fin"):
        read_number({"t": math.nan}, "t", role="time_attr", finite=True)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("high", "'high' (str)"),
        (True, "True (bool)"),
        (1j, "1j (complex)"),
        (np.array([0.5]), "array([0.5]) (ndarray)"),
        (torch.tensor(True), "tensor(True) (Tensor)"),
        ("x" * 100, f"'{'x' * 56}... (str)"),
    ],
)
def test_what_is_not_a_number_is_named(value: Any, what: str) -> None:
    message = f"the metric 'loss' was reported as {what}, which is not a number; report an int"
    with pytest.raises(MetricError, match=re.escape(message)):
        read_number({"loss": value}, "loss", role="metric")


def test_a_missing_key_names_what_there_is_without_rays_own() -> None:
    report = {
        "val/acc": 0.9,
        "loss": 0.1,
        "config/lr": 0.01,
        "perf/cpu_util_percent": 3.0,
        **dict.fromkeys(("training_iteration", "time_total_s", "time_this_iter_s"), 1),
        **dict.fromkeys(("trial_id", "experiment_tag", "date", "timestamp", "pid"), 1),
        **dict.fromkeys(("hostname", "node_ip", "done", "should_checkpoint"), 1),
        **dict.fromkeys(("time_since_restore", "iterations_since_restore"), 1),
        "checkpoint_dir_name": None,
    }
    with pytest.raises(MetricError) as caught:
        read_number(report, "accuracy", role="metric")
    assert str(caught.value) == (
        "the metric 'accuracy' is not in the trial's report, which has the metrics 'loss',"
        " 'val/acc'. Report 'accuracy' each time, or name another metric"
    )
    with pytest.raises(MetricError, match=r"the time_attr 'epoch' .* which has no metrics at all"):
        read_number({"pid": 1}, "epoch", role="time_attr")
