"""The benchmark's arithmetic and its table; a run of it is no test."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.digits import METHODS, OURS, THEIRS, Run, as_markdown, bootstrap, paired, read


def a_run(method: str, seed: int, validation: float | None = 0.9, test: float = 0.8) -> Run:
    return Run(
        method=method,
        seed=seed,
        budget_s=20.0,
        cpus=2,
        validation=validation,
        validation_any=0.95,
        test=test,
        completed=2,
        stopped=5,
        failed=0,
        epochs=70,
        wall_s=21.0,
        config={"lr": 0.1},
    )


def test_a_run_reads_back_from_its_line(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    assert read(file) == []
    runs = [a_run(OURS, 0), a_run(THEIRS, 0, validation=None)]
    file.write_text("".join(json.dumps(asdict(run)) + "\n" for run in runs))
    assert read(file) == runs


def test_only_seeds_that_both_have_run_are_compared() -> None:
    runs = [a_run(OURS, 0, 0.9), a_run(OURS, 1, 0.8), a_run(THEIRS, 1, 0.5), a_run(OURS, 2, 0.9)]
    runs += [a_run(THEIRS, 2, None), a_run(THEIRS, 7, 0.1)]
    assert paired(runs, "validation") == pytest.approx([0.3])


def test_the_interval_holds_the_mean_and_shrinks_to_it_without_spread() -> None:
    low, high = bootstrap([0.0, 0.1, 0.2, 0.3])
    assert 0.0 <= low < 0.15 < high <= 0.3
    assert bootstrap([0.25, 0.25]) == (0.25, 0.25)


def test_the_table_says_what_was_run_where_and_what_came_out() -> None:
    runs = [a_run(method, seed, test=0.8 + seed / 10) for method in METHODS for seed in (0, 1)]
    text = as_markdown(runs, "python -m benchmarks.digits", {"CPUs used": "2 of 4", "ray": "1.2"})
    assert "`python -m benchmarks.digits`, seeds 0, 1; CPUs used 2 of 4, ray 1.2." in text
    assert f"| {OURS} | 0.9000 | 0.8500 | 2.0 | 5.0 | 0.0 | 70.0 | 21.0 |" in text
    assert f"| 1 | {THEIRS} | 0.9000 | 0.9500 | 0.9000 |" in text
    assert "over 2 pairs: +0.0000, 95 % bootstrap interval +0.0000 to +0.0000" in text


def test_a_method_that_trained_nothing_in_full_has_a_dash() -> None:
    text = as_markdown([a_run(OURS, 0, validation=None)], "c", {})
    assert f"| {OURS} | - | 0.8000 |" in text
