"""Runs of the race in which a start of a trial takes time."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny import tiny_problem

from benchmarks.race.method import Contest
from benchmarks.race.methods import METHODS
from benchmarks.race.plan import FULL
from benchmarks.race.runs import Key, Run, Store, race
from benchmarks.race.table import starting


def run(start_s: float) -> Run:
    """Random search, with a training of nine seconds."""
    return race(METHODS["random"], Contest(tiny_problem(), 0, 2, 12.0, start_s))


def test_starts_take_their_time_in_runs_of_their_own(tmp_path: Path) -> None:
    free, slow = run(0.0), run(4.5)
    assert free.starting == 0.0
    assert slow.starting == pytest.approx(1 / 3, abs=0.02)
    assert slow.starts == pytest.approx(2 / 3 * free.starts, abs=2)
    assert slow.key == replace(free.key, start_s=4.5) != free.key
    store = Store(tmp_path)
    for one in (free, slow):
        store.add(one)
    assert store.runs() == [free, slow]
    assert [key.start_s for key in planned(start_s=4.5)] == [4.5]
    assert [key.start_s for key in planned()] == [0.0]


def planned(**changes: Any) -> list[Key]:
    family: Any = SimpleNamespace(chosen=lambda names: names, name_of=str)
    plan = FULL.changed(seeds=1, methods=["random"], instances=["p"], **changes)
    return list(plan.tasks(family))


def test_the_table_counts_starts_for_trials_that_have_started() -> None:
    slow = run(4.5)
    assert slow.trials["PENDING"] > slow.starts  # Ray's random search proposes far ahead
    head, _, row = starting([slow])
    assert head.endswith("| 100% | starts per trial | starting |")
    assert row.startswith("| tiny | 4.5 | random search | 1 | 1.000 | ")
    assert row.endswith(" | 1.00 | 33% |")


def test_runs_from_before_starts_were_counted_are_read(tmp_path: Path) -> None:
    free = replace(run(0.0), starts=0)
    fields = {name: value for name, value in asdict(free).items() if not name.startswith("start")}
    (tmp_path / "random.jsonl").write_text(json.dumps(fields))
    assert Store(tmp_path).runs() == [free]
