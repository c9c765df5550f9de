"""The benchmark of networks of several widths."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, product

import pytest
import torch

from benchmarks import width
from benchmarks.width import WAYS, WIDTHS, Network, Run, Setting, Sweep, page, search

MARKS = (2, 3)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train for two steps, with little compute."""
    monkeypatch.setattr(width, "_STEPS", 2)
    monkeypatch.setattr(width, "_NARROW", 0.2)
    monkeypatch.setattr(width, "MARKS", MARKS)


def spread_of_scores(mup: bool, wide: int) -> float:
    networks = [
        Network(Setting(wide, mup), torch.Generator().manual_seed(seed)) for seed in range(8)
    ]
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return float(torch.stack([network(x) for network in networks]).std())


def test_mup_divides_hidden_rates_and_the_output_by_the_width() -> None:
    assert Setting(WIDTHS[0], mup=True).rates == Setting(WIDTHS[0]).rates
    assert Setting(256, mup=True, lr=0.08).rates == (0.08, 0.01)
    assert Setting(256, lr=0.08).rates == (0.08, 0.08)
    # Scores of an untrained network keep their size, or shrink with the root of the width.
    assert spread_of_scores(False, 512) == pytest.approx(spread_of_scores(False, 32), rel=0.3)
    assert spread_of_scores(True, 512) == pytest.approx(spread_of_scores(True, 32) / 4, rel=0.3)


def test_one_step_moves_the_scores_of_a_wide_network_as_far_only_in_mup() -> None:
    def moved(mup: bool, wide: int) -> float:
        setting = Setting(wide, mup, lr=0.001)
        network = Network(setting, torch.Generator().manual_seed(0))
        x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
        before = network(x)
        torch.autograd.backward(before[:, 0].mean())
        with torch.no_grad():
            for weight in network.hidden:
                assert weight.grad is not None
                weight -= setting.rates[1] * weight.grad.sign()  # Adam's first step
            return float((network(x) - before)[:, 0].abs().mean())

    assert moved(True, 512) == pytest.approx(moved(True, 64), rel=0.5)
    assert moved(False, 512) > 2 * moved(False, 64)


def test_the_power_lowers_the_learning_rate() -> None:
    assert Setting(32, lr=0.08, power=1.0).rates[0] == pytest.approx(0.08)
    assert Setting(256, lr=0.08, power=1.0).rates[0] == pytest.approx(0.01)


@pytest.mark.parametrize("way", WAYS)
def test_no_way_exceeds_its_compute_and_all_train_the_widest(way: str) -> None:
    runs = search(way, 0)
    kept = f"{way}, last training kept"
    assert [run.budget for run in runs if run.way == way] == list(MARKS)
    assert len([run for run in runs if run.way == kept]) == way.startswith("fidelity") * len(MARKS)
    for run in runs:
        assert 1 <= run.full <= run.spent <= run.budget
        assert run.full <= run.trials
    steps = (trial.setting.cost for trial, _ in WAYS[way](0))
    assert runs[0].spent == pytest.approx(sum(islice(steps, runs[0].trials)), abs=1e-4)


def test_compute_is_counted_in_trainings_of_the_widest() -> None:
    # Each weight takes part in the same number of multiply-adds.
    assert Setting(256).cost == 1
    assert Setting(32).cost == (32 * 32 + 2 * 32**2 + 32 * 10) / (32 * 256 + 2 * 256**2 + 256 * 10)


def test_the_page_has_means_and_standard_errors() -> None:
    run = Run("fidelity", 0, 2, 3.0, 5, 2, 0.01, 0.5, {"raytuner": "1"}, "a machine")
    runs = [
        replace(run, seed=seed, budget=mark, loss=0.5 + seed / 10)
        for seed, mark in product((0, 1), MARKS)
    ]
    text = page(runs, [Sweep(32, False, (0.4, 0.2, 0.3, 0.5, 0.5, 0.5, 0.5, 0.5))])
    assert "| fidelity | 2 | 0.550 (0.050) | 0.550 (0.050) | 2.0 of 5 |" in text
    assert "| standard | 32 | 0.400 | **0.200** | 0.300 |" in text
    assert "One core of a machine, raytuner 1." in text
