"""The page of the studies on a real GPU. Running them needs one."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
import torch
from ray import tune

from benchmarks import gpu
from raytuner.history import History, TrialState
from raytuner.space import Float, Space


def test_the_page_is_that_of_the_stored_results() -> None:
    known = json.loads(gpu.RESULTS.read_text()) if gpu.RESULTS.exists() else None
    assert gpu.PAGE.read_text() == gpu.page(known)
    assert ("Nobody has run this" in gpu.page(known)) == (known is None)


def test_a_row_has_the_shares_of_time_and_the_trials_that_continued_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1.0]
    history = History(Space({"x": Float(0, 1)}), metric="loss", mode="min")
    monkeypatch.setattr("raytuner.history.table.time.time", lambda: now[0])
    history.set_meta("settings", {"resources": {"cpu": 1, "gpu": 0.5}})
    history.set_meta("out_of_memory", {"a": 1})
    history.add("a", {"x": 0.5})
    now[0] = 5.0
    history.start("a")
    for t in (1, 2):
        now[0] += 8.0
        history.report("a", t, 1 / t)
    history.end("a", TrialState.COMPLETED)
    study: Any = type("Study", (), {})()
    study.history, study.trials, study.best = history, history.trials, history.best
    study.counts = history.counts
    row = gpu.row("a search", study, [50.0, 70.0])
    assert (row.gpu, row.alone, row.states) == (0.5, 1, {"COMPLETED": 1})
    assert (row.seconds, row.epochs, row.busy, row.best) == (20.0, 2, 60.0, 0.5)
    assert (row.running, row.starting) == (0.8, 0.2)
    known = {"rows": [asdict(row)], "card": "H200", "versions": {"ray": "2.60"}, "seconds": 400}
    text = gpu.page(json.loads(json.dumps(known)))
    assert "| a search | 0.5 | 1 COMPLETED | 20 | 0.10 | 80% | 20% | 60 % | 1 | 0.5 |" in text
    assert "H200; ray 2.60; 400 s in all." in text


def test_the_training_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", reports.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu, "WIDTH", 16)
    gpu.train({"lr": 1e-2, "depth": 2, "held": gpu.HELD, "steps": 60})
    assert len(reports) == gpu.EPOCHS
    assert reports[-1]["loss"] < 0.8 * reports[0]["loss"]
