"""Continuing a record with a larger max_t or another search space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raytuner.errors import RaytunerError
from raytuner.history import Goal, History, TrialState
from raytuner.space import Categorical, Fidelity, Float, Integer, Space, when
from raytuner.study.extend import SEARCH_SPACE, carry_over, searched_space

SPACE = Space({"x": Float(0, 1), "kind": Categorical(["a", "b"]), "epochs": 9})
WIDER = Space({"x": Float(0, 2), "kind": Categorical(["a", "b", "c"]), "epochs": 27})
NARROWER = Space({"x": Float(0.5, 1), "kind": "a", "epochs": 9})


def record(path: Path) -> History:
    """Six trials that reached max_t = 9, two that were stopped, one that ended by itself."""
    history = History(SPACE, metric="loss", mode="min", max_t=9, path=path)
    for i in range(9):
        history.add(f"t{i}", {"x": i / 10, "kind": "ab"[i % 2], "epochs": 9})
        for t in (1, 3) if i in (6, 7) else (1, 5) if i == 8 else (1, 3, 9):
            history.report(f"t{i}", t, 1 - i / 10 + 1 / t)
        state = TrialState.STOPPED_EARLY if i in (6, 7) else TrialState.COMPLETED
        history.end(f"t{i}", state)
    history.set_meta("proposer", {"n": 3})
    return history


def carry(history: History, space: Space | None, max_t: float | None, n: int = 20) -> Any:
    return carry_over(history, space, max_t, reduction_factor=3, num_samples=n)


def test_what_was_complete_is_not_and_the_best_go_again(tmp_path: Path) -> None:
    history = record(tmp_path / "record")
    found = carry(history, None, 27)
    assert found.within is None
    assert found.changes == ["max_t: 9, now 27"]
    # Six reached 9: two go on. t5 has the lowest loss of them.
    assert [config["x"] for config in found.again] == [0.5, 0.4]
    states = [trial.state for trial in history.trials]
    assert states[:8] == [TrialState.STOPPED_EARLY] * 8
    assert states[8] is TrialState.COMPLETED  # its training had ended by itself
    assert "max_t = 9, later raised to 27" in history["t5"].reason
    assert not history.snapshot().final[history.snapshot().t == 9].any()
    history.close()
    assert History.read(tmp_path / "record").max_t == 27


def test_trials_that_keep_the_constraints_go_again_first(tmp_path: Path) -> None:
    goal = Goal.of("loss", "min", outcome_constraints=["size <= 4"])
    history = History(SPACE, goal=goal, max_t=9, path=tmp_path / "record")
    for i in range(6):
        history.add(f"t{i}", {"x": i / 10, "kind": "a", "epochs": 9})
        history.report(f"t{i}", 9, 1 - i / 10, {"size": i})
        history.end(f"t{i}", TrialState.COMPLETED)
    # t5 has the lowest loss, and is too large.
    assert [config["x"] for config in carry(history, None, 27).again] == [0.4, 0.3]


@pytest.mark.parametrize(("n", "again"), [(1, 1), (2, 1), (4, 2), (100, 2), (-1, 2)])
def test_no_more_than_half_of_the_new_trials_go_again(tmp_path: Path, n: int, again: int) -> None:
    assert len(carry(record(tmp_path / "record"), None, 27, n).again) == again


def test_a_wider_space_holds_all_and_is_searched_as_a_whole(tmp_path: Path) -> None:
    history = record(tmp_path / "record")
    before = history.trials
    found = carry(history, WIDER, 27)
    # The record has both numbers of epochs, the search only the new one.
    assert found.within is WIDER
    assert [column.name for column in history.space.columns] == ["x", "kind", "epochs"]
    assert [t.config for t in history.trials] == [t.config for t in before]
    assert found.again[0] == {"x": 0.5, "kind": "b", "epochs": 27}
    assert history.points()[5].tolist() == pytest.approx([0.25, 0.5, 0.25])
    assert history.get_meta("proposer") is None
    history.close()
    again = History.read(tmp_path / "record")
    assert [t.config for t in again.trials] == [t.config for t in before]
    assert searched_space(again).template == WIDER.template
    assert any(change.startswith("x: ") for change in found.changes)


def test_a_narrower_space_keeps_what_lies_outside_and_can_be_left(tmp_path: Path) -> None:
    history = record(tmp_path / "record")
    found = carry(history, NARROWER, None)
    assert (found.within, found.again) == (NARROWER, [])
    assert len(history) == 9
    assert history.space.template == SPACE.template
    assert searched_space(history).template == NARROWER.template
    # Without a new space, the search continues in the narrower one.
    assert carry(history, None, None).within.template == NARROWER.template
    back = carry(history, SPACE, None)
    assert back.within is None
    assert len(back.changes) == 2
    assert history.get_meta(SEARCH_SPACE) is None


def test_what_lies_outside_is_not_tried_again(tmp_path: Path) -> None:
    found = carry(record(tmp_path / "record"), NARROWER, 27)
    assert [config["x"] for config in found.again] == []
    found = carry(record(tmp_path / "other"), Space({**NARROWER.template, "kind": "b"}), 27)
    assert found.again == [{"x": 0.5, "kind": "b", "epochs": 9}]


@pytest.mark.parametrize(
    ("space", "max_t", "says"),
    [
        (None, 3, "max_t is 3, but the study was run with 9"),
        (None, float("nan"), "it must be above 0"),
        (None, -1, "it must be above 0"),
        (Space({"y": Float(0, 1)}), None, "cannot continue in this search space: x: only one of"),
        (Space({"x": Float(0.1, 1, log=True), "kind": "a", "epochs": 9}), None, "different kinds"),
    ],
)
def test_what_cannot_be_changes_nothing(
    tmp_path: Path, space: Space | None, max_t: float | None, says: str
) -> None:
    history = record(tmp_path / "record")
    before = history.trials
    with pytest.raises(RaytunerError, match=says):
        carry(history, space, max_t)
    assert (history.trials, history.max_t) == (before, 9)
    assert history.space is SPACE


def test_what_does_not_exist_in_a_trial_bars_it_from_no_space() -> None:
    def space(momentum: object) -> Space:
        return Space({"kind": Categorical(["a", "b"]), "momentum": when(momentum, kind="a")})

    history = History(space(Float(0, 1)), metric="loss", mode="min", max_t=9)
    configs: list[dict[str, Any]] = [{"kind": "b"}, {"kind": "a", "momentum": 0.2}]
    for i, config in enumerate(configs):
        history.add(f"t{i}", config)
        history.report(f"t{i}", 9, float(i))
        history.end(f"t{i}", TrialState.COMPLETED)
    assert carry(history, space(0.9), 27).again == [{"kind": "b"}]


def test_constraints_that_come_and_go(tmp_path: Path) -> None:
    history = record(tmp_path / "record")
    found = carry(history, SPACE.constrained(["x <= 0.35"]), 27)
    assert found.changes == ["constraint x <= 0.35: none, now kept", "max_t: 9, now 27"]
    # What breaks it stays in the record, and is not tried again.
    assert len(history) == 9
    assert history.space.constraints == ()
    assert [config["x"] for config in found.again] == [0.3, 0.2]
    within = searched_space(history)
    assert [one.name for one in within.constraints] == ["x <= 0.35"]
    assert carry(history, SPACE, None).changes == ["constraint x <= 0.35: kept, now none"]
    assert history.get_meta(SEARCH_SPACE) is None


def of_width(most: Any) -> Space:
    return Space({"x": Float(0, 1), "width": Fidelity(Integer(1, most))})


def test_the_full_fidelity_can_only_grow(tmp_path: Path) -> None:
    history = History(of_width(8), metric="loss", mode="min", path=tmp_path / "record")
    for number, width in enumerate((8, 2)):
        history.add(str(number), {"x": 0.5, "width": width})
        history.report(str(number), 1, 1.0)
        history.end(str(number), TrialState.COMPLETED)
    for less in (of_width(4), Space({"x": Float(0, 1), "width": 4})):
        with pytest.raises(
            RaytunerError,
            match="existing trials is 8, but it would be 4",
        ):
            carry(history, less, None)
    carry(history, Space({"x": Float(0, 1), "width": 8}), None)  # full trials from now on
    best = history.best
    assert best is not None
    assert best.trial_id == "0"
    carry(history, of_width(16), None)
    assert history.best is None  # none has been tried in full yet
    assert history.space.fidelities == (1,)


def test_only_full_trials_go_again(tmp_path: Path) -> None:
    history = History(of_width(8), metric="loss", mode="min", max_t=9, path=tmp_path / "record")
    for number, width in enumerate((8, 2, 4)):
        history.add(str(number), {"x": number / 10, "width": width})
        history.report(str(number), 9, float(width))
        history.end(str(number), TrialState.COMPLETED)
    assert carry(history, None, 27).again == [{"x": 0.0, "width": 8}]
