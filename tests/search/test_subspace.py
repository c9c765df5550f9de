"""A search within less than its record holds."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from raytuner import BoTorchSearch
from raytuner.history import History, Origin, TrialState
from raytuner.space import Categorical, Float, Space

WIDE = Space({"x": Float(0, 10), "kind": Categorical(["a", "b"]), "n": Categorical([3, 5])})
NARROW = Space({"x": Float(2, 4), "kind": "a", "n": 5})


def record() -> History:
    history = History(WIDE, metric="loss", mode="min", max_t=9)
    for name, x, kind in (("in", 3.0, "a"), ("out", 8.0, "a"), ("other", 3.5, "b")):
        history.add(name, {"x": x, "kind": kind, "n": 5})
        history.report(name, 1, x)
    return history


def test_it_follows_what_lies_within() -> None:
    search = BoTorchSearch(WIDE, background=False, seed=0)
    search.continue_from(record(), within=NARROW)
    history, narrowed = search.history, search._search()._searched
    copy = narrowed()
    assert [trial.trial_id for trial in copy.trials] == ["in"]
    assert copy["in"].config == {"x": 3.0, "kind": "a", "n": 5}
    assert copy.snapshot().points.tolist() == [[0.5]]
    assert copy.max_t == 9
    history.report("in", 9, 0.5)
    history.end("in", TrialState.COMPLETED)
    history.end("out", TrialState.COMPLETED)
    history.max_t = 27
    assert narrowed() is copy
    assert (copy["in"].state, copy["in"].t, copy.max_t) == (TrialState.COMPLETED, 9, 27)
    assert len(copy) == 1


@pytest.mark.parametrize("restored", [False, True])
def test_a_searcher_proposes_within_and_after_what_is_tried_again(
    tmp_path: Path, restored: bool
) -> None:
    search = BoTorchSearch(WIDE, background=False, seed=0)
    again = [{"x": 3.0, "kind": "a", "n": 5}, {"x": 2.0, "kind": "a", "n": 5}]
    search.continue_from(record(), within=NARROW, again=again)
    search.set_search_properties("loss", "min", {})
    made = pickle.dumps(search)  # as Ray does before it begins
    configs = [search.suggest("again_0")]
    search.on_trial_complete("again_0", {"loss": 1.0, "training_iteration": 9})
    if restored:
        search.save(str(tmp_path / "saved.sqlite"))
        search = pickle.loads(made)
        search.restore(str(tmp_path / "saved.sqlite"))
    for i in range(1, 8):
        configs.append(search.suggest(f"again_{i}"))
        search.on_trial_complete(f"again_{i}", {"loss": float(i), "training_iteration": 9})
    assert [c["x"] for c in configs[:2]] == [3.0, 2.0]  # type: ignore[index]
    for config in configs:
        assert isinstance(config, dict)
        NARROW.validate(config)
    trials = search.history.trials
    assert [t.origin for t in trials[3:5]] == [Origin.AGAIN] * 2
    assert Origin.AGAIN not in {t.origin for t in trials[5:]}
    assert len({c["x"] for c in configs}) == len(configs)  # type: ignore[index]
    assert len(trials) == 11


def test_a_narrow_space_can_be_used_up() -> None:
    space = Space({"x": Categorical([1, 2, 3]), "y": Categorical([1, 2])})
    search = BoTorchSearch(space, metric="loss", mode="min", background=False, seed=0)
    search.continue_from(search.history, within=Space({"x": 2, "y": Categorical([1, 2])}))
    found = []
    for i in range(2):
        found.append(search.suggest(f"t{i}"))
        search.on_trial_complete(f"t{i}", {"loss": 1.0, "training_iteration": 1})
    assert sorted(config["y"] for config in found) == [1, 2]  # type: ignore[index]
    assert search.suggest("none") == BoTorchSearch.FINISHED
