"""A damaged record: told as such or read right, and what can be saved is saved."""

from __future__ import annotations

import math
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from records import put_rows

from raytuner.errors import HistoryError
from raytuner.history import Goal, History, Trial, TrialState, salvaged, set_aside
from raytuner.space import Categorical, Float, Integer, Space

SPACE = Space(
    {"lr": Float(1e-4, 1.0, log=True), "net": {"layers": Integer(1, 4), "kind": "a" * 300}}
    | {f"choice{i}": Categorical(["x" * 80, None, 3]) for i in range(4)}
)
GOAL = Goal.of(["loss", "ms"], ["min", "min"])
TRIALS = 30


def write(path: Path) -> History:
    """A record of some dozens of pages; rows longer than a page among them."""
    history = History(SPACE, goal=GOAL, max_t=9, path=path)
    history.set_meta("long", ["much"] * 1500)
    for i in range(TRIALS):
        config = {"lr": (i + 1) / 100, "net": {"layers": 1 + i % 4, "kind": "a" * 300}}
        config |= {f"choice{j}": ["x" * 80, None, 3][(i + j) % 3] for j in range(4)}
        history.add(f"trial{i}", config)
        for t in range(1, 10 if i % 3 else 4):
            value = math.nan if i % 17 == 5 else 1 / (i + t)
            history.report(f"trial{i}", t, value, {"ms": float(i)})
        state = TrialState.COMPLETED if i % 3 else TrialState.STOPPED_EARLY
        history.end(f"trial{i}", state, "y" * (5000 if i == 7 else 3))
    return history


@cache
def whole() -> tuple[bytes, dict[str, Trial]]:
    with TemporaryDirectory() as folder:
        history = write(Path(folder) / "record")
        history.close()
        return (Path(folder) / "record").read_bytes(), {t.trial_id: t for t in history.trials}


def of_written(found: History, *, all_there: bool) -> None:
    """Every trial and value is one that was written; with `all_there`, each of them."""
    _, written = whole()
    for trial in found.trials:
        known = written[trial.trial_id]
        assert trial.config == known.config
        assert (trial.state, trial.reason, trial.origin) == (
            known.state,
            known.reason,
            known.origin,
        )
        assert (trial.proposed_at, trial.ended_at) == (known.proposed_at, known.ended_at)
        assert {*map(repr, trial.values)} <= {*map(repr, known.values)}
        for metric, curve in trial.others.items():
            assert {*curve} <= {*known.others[metric]}
        if all_there:
            assert repr(trial.values) == repr(known.values)
    if all_there:
        assert len(found) == TRIALS


def attempt(read: Callable[[Path], History], path: Path) -> tuple[History | None, str]:
    """What was read, or what the error said."""
    try:
        return read(path), ""
    except HistoryError as error:
        return None, str(error)


_PLACES = st.floats(0, 1, exclude_max=True)
_DAMAGES = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), _PLACES, st.integers(0, 7)),
        st.tuples(st.just("zero"), _PLACES, st.sampled_from([1, 64, 4096, 20_000])),
        st.tuples(st.just("cut"), _PLACES, st.just(0)),
        st.tuples(st.just("noise"), _PLACES, st.integers(0, 1_000_000)),
    ),
    min_size=1,
    max_size=3,
)


def damage(data: bytes, damages: list[tuple[str, float, int]]) -> bytes:
    broken = bytearray(data)
    for what, place, amount in damages:
        at = int(place * len(broken))
        if not broken:
            break
        if what == "flip":
            broken[at] ^= 1 << amount
        elif what == "zero":
            broken[at : at + amount] = bytes(len(broken[at : at + amount]))
        elif what == "cut":
            del broken[at:]
        else:
            noise = (amount.to_bytes(4, "big") * 40)[: len(broken) - at]
            broken[at : at + len(noise)] = noise
    return bytes(broken)


@settings(max_examples=40 * settings().max_examples // 100)
@given(damages=_DAMAGES)
def test_it_is_read_right_or_told_as_damaged_and_nothing_is_made_up(
    damages: list[tuple[str, float, int]],
) -> None:
    data, _ = whole()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "record"
        path.write_bytes(damage(data, damages))
        before = path.read_bytes()
        for read in (History.read, History.open):
            found, said = attempt(read, path)
            if found is None:
                assert str(path) in said
                assert "raytuner recover" in said
                assert path.read_bytes() == before
            else:
                of_written(found, all_there=True)
                found.close()
        path.write_bytes(before)
        found, said = attempt(lambda path: salvaged(path)[0], path)
        if found is None:
            assert str(path) in said
        else:
            of_written(found, all_there=False)


def test_one_page_of_zeros_costs_the_rows_of_that_page(tmp_path: Path) -> None:
    data, written = whole()
    values = sum(len(trial.values) for trial in written.values())
    path, copy = tmp_path / "record", tmp_path / "copy"
    path.write_bytes(data)
    History(SPACE, goal=GOAL, path=copy).close()  # it has the space
    with closing(sqlite3.connect(path)) as database:
        pages = database.execute("SELECT rootpage FROM sqlite_master").fetchall()
    roots = {page - 1 for (page,) in pages}  # without which SQLite finds no row of a table
    for page in set(range(1, len(data) // 4096)) - roots:
        path.write_bytes(data[: page * 4096] + bytes(4096) + data[(page + 1) * 4096 :])
        found, _, _ = salvaged(path, [copy])
        of_written(found, all_there=False)
        assert sum(len(trial.values) for trial in found.trials) >= values - 150
        assert len(found) >= TRIALS - 20


def test_what_is_in_the_write_ahead_log_alone_is_saved_too(tmp_path: Path) -> None:
    write(tmp_path / "live").close()
    history = History.open(tmp_path / "live")
    history.add("late", history["trial0"].config)
    history.report("late", 1, 2.0, {"ms": 1.0})
    # A killed process leaves both files; the log holds what was never copied into the other.
    for end in ("", "-wal"):
        shutil.copy(tmp_path / f"live{end}", tmp_path / f"record{end}")
    found, _, _ = salvaged(tmp_path / "record")
    assert len(found) == TRIALS + 1
    assert found["late"].values == ((1.0, 2.0),)
    assert found["late"].state is TrialState.RUNNING


def test_a_trial_outside_of_the_space_is_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "record"
    write(path).close()
    with closing(sqlite3.connect(path)) as database:
        head = database.execute("SELECT * FROM trial WHERE trial_id = 'trial3'").fetchone()[:-1]
    put_rows(path, ("trial", (*head[:2], head[2].replace('"lr": ', '"lr": 7'), *head[3:])))
    found, _, lost = salvaged(path)
    assert "trial3" not in found
    assert len(found) == TRIALS - 1
    assert [trial.number for trial in found.trials] == list(range(TRIALS - 1))
    assert lost[0].startswith("trial 'trial3': lr: ")
    assert lost[1] == "3 values of trials whose configuration is lost"


def test_a_damaged_file_is_kept_when_another_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "record"
    data = damage(whole()[0], [("flip", 0.5, 3), ("cut", 0.8, 0)])
    for name in ("record.damaged", "record.damaged-2"):
        path.write_bytes(data)
        history = History(SPACE, goal=GOAL)
        history.move_to(path)
        history.close()
        assert (tmp_path / name).read_bytes() == data
        assert len(History.read(path)) == 0
        path.unlink()
    assert set_aside(path, "damaged") is None
