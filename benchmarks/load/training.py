"""The training of the runs on a real Ray, in a file whose import costs a process little."""

from __future__ import annotations

import time
from typing import Any

from ray import tune

MAX_T = 9


def train(config: dict[str, Any], seconds: float) -> None:
    """Reports ``MAX_T`` losses, and sleeps ``seconds`` before each."""
    floor = sum((config[f"x{i}"] - 0.3) ** 2 for i in range(8))
    for t in range(1, MAX_T + 1):
        time.sleep(seconds)
        tune.report({"loss": floor + 1 / t})
