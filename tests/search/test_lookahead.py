"""How many trials are asked for ahead."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import Loop
from ray.tune.search import ConcurrencyLimiter

from raytuner.bayes import SobolProposer
from raytuner.history import TrialState
from raytuner.search.active import ActiveSearch
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.search.restore import FIRST, counted
from raytuner.space import Float, Space


def searcher() -> BoTorchSearch:
    space = Space({"x": Float(0, 1)})
    return BoTorchSearch(space, "loss", "min", seed=0, background=False, proposer=SobolProposer)


@pytest.mark.parametrize(("slots", "ready"), [(4, 1), (64, 8)])
def test_all_slots_are_filled_in_one_turn_and_a_few_more_are_ready(slots: int, ready: int) -> None:
    loop = Loop(searcher(), room=slots)
    loop.step()
    assert len(loop.trials) == slots + ready
    for _ in range(10):
        loop.step()
    assert len(loop.trials) == slots + ready  # trials that have started make no room
    loop.end_one()
    loop.step()
    loop.step()
    assert len(loop.trials) == slots + ready + 1


def test_it_follows_a_cluster_that_grows_and_shrinks() -> None:
    loop = Loop(searcher(), room=2)
    loop.step()
    assert len(loop.trials) == 3
    loop.room = 10
    for _ in range(3):
        loop.step()
    assert len(loop.trials) == 11
    loop.room = 1
    while loop.count("RUNNING"):
        loop.end_one()
    loop.step()
    asked = len(loop.trials)
    assert loop.count("PENDING") <= 2
    loop.end_one()
    loop.step()
    assert len(loop.trials) <= asked + 1


def test_a_limit_is_kept() -> None:
    limited = ConcurrencyLimiter(searcher(), max_concurrent=3)
    loop = Loop(limited, room=64)
    loop.step()
    loop.step()
    assert len(loop.trials) == 3


def test_without_room_one_is_asked_for_lest_ray_should_wait_for_ever() -> None:
    loop = Loop(searcher(), room=0)
    loop.step()
    assert len(loop.trials) == 1


def test_where_the_user_has_set_rays_cap_it_is_left_alone() -> None:
    loop = Loop(searcher(), room=None, cap=5)
    loop.step()
    assert (len(loop.trials), loop.cap) == (5, 5)


def test_by_hand_there_is_no_loop_and_no_bound() -> None:
    search = searcher()
    assert all(isinstance(search.suggest(str(i)), dict) for i in range(20))


class Closes(BoTorchSearch):
    """Counts how often its source of proposals is closed."""

    closed = 0

    def _search(self) -> ActiveSearch:
        search = super()._search()

        def close() -> None:
            self.closed += 1

        search.close = close  # type: ignore[method-assign]
        return search


def closes() -> Closes:
    return Closes(Space({"x": Float(0, 1)}), "loss", "min", background=False, seed=0)


def test_the_end_of_the_search_closes_the_searcher() -> None:
    search = closes()
    loop = Loop(search)
    loop.step()
    assert search.closed == 0
    loop.over = True
    loop.end_one()
    assert search.closed == 1


def test_so_does_the_end_of_the_loop() -> None:
    search = closes()
    loop = Loop(search)
    loop.step()
    del loop
    assert search.closed == 1


def test_a_copy_looks_for_its_own_loop() -> None:
    search = searcher()
    loop = Loop(search)
    loop.step()
    copy = pickle.loads(pickle.dumps(search))
    assert not copy._controller.is_known
    assert search._controller.is_known


def killed(loop: Loop, saved: Path, kept: int, again: int) -> Loop:
    """Kill the driver: Ray's state is of the moment at which it had so many trials."""
    restored = searcher()
    restored.restore(str(saved))
    trials = loop.trials[:kept]
    for trial in trials:
        if not restored.history[trial.trial_id].state.is_live:
            trial.status = "TERMINATED"
    return Loop(restored, room=2, trials=trials, asked=loop.asked, prefix=f"again{again}")


@pytest.mark.parametrize("kills", [1, 3])
def test_as_many_trials_end_as_were_asked_for_however_often_the_driver_is_killed(
    kills: int, tmp_path: Path
) -> None:
    first = searcher()
    first.keep_record_in(tmp_path / "record")
    first.add_evaluated_point({"x": 0.5}, 1.0)  # does not count
    loop = Loop(first, room=2, asked=20)
    for kill in range(kills):
        loop.step()
        loop.searcher.keep_record_in(tmp_path / "record")
        loop.searcher.save(str(tmp_path / f"saved{kill}"))
        kept = len(loop.trials)
        for _ in range(5):  # Ray does not save again
            loop.end_one()
            loop.step()
        loop = killed(loop, tmp_path / f"saved{kill}", kept, kill)
    loop.step()
    while loop.count("RUNNING"):
        loop.end_one()
        loop.step()
    history = loop.searcher.history
    assert len(counted(history)) == 20
    assert history.counts[TrialState.COMPLETED] == 21  # with what was told from outside
    assert history.live() == ()
    assert loop.over


def test_a_trial_that_is_restarted_after_an_error_is_not_lost(tmp_path: Path) -> None:
    loop = Loop(searcher(), room=2, asked=6)
    loop.step()
    loop.searcher.on_trial_complete("trial_0", error=True)
    loop.searcher.save(str(tmp_path / "saved"))
    restored = searcher()
    restored.restore(str(tmp_path / "saved"))
    again = SimpleNamespace(trial_id="restarted", status="PENDING", config={})
    later = Loop(restored, room=2, asked=6, trials=[again, *loop.trials[1:]], prefix="later")
    for _ in range(8):
        later.step()
        if later.count("RUNNING"):
            later.trials[
                [one.status for one in later.trials].index("RUNNING")
            ].status = "TERMINATED"
    assert len(later.trials) == 6


def test_trials_of_an_earlier_run_do_not_count(tmp_path: Path) -> None:
    loop = Loop(searcher(), room=2, asked=3)
    while not loop.trials or loop.count("RUNNING"):
        loop.step()
        if loop.count("RUNNING"):
            loop.end_one()
    loop.searcher.save(str(tmp_path / "saved"))
    extended = searcher()
    extended.restore(str(tmp_path / "saved"))
    extended.history.set_meta(FIRST, 3)
    later = Loop(extended, room=2, asked=2, prefix="later")
    while len(later.trials) < 2 or later.count("RUNNING"):
        later.step()
        later.end_one()
    assert counted(extended.history) == ["later_0", "later_1"]


def test_a_failed_trial_that_ray_restarts_under_a_new_id_is_recorded(tmp_path: Path) -> None:
    """`Tuner.restore(restart_errored=True)` does so, and asks the searcher for nothing."""
    before = Loop(first := searcher(), room=2, asked=2)
    before.step()
    failed, good = before.trials
    before.end(failed, None)
    before.end(good, 0.5)
    first.save(str(tmp_path / "saved"))

    restored = searcher()
    restored.restore(str(tmp_path / "saved"))
    restarted = SimpleNamespace(trial_id="new", status="RUNNING", config=dict(failed.config))
    other = SimpleNamespace(trial_id="other", status="RUNNING", config=dict(good.config))
    after = Loop(restored, room=2, asked=2, over=True, trials=[restarted, other])
    after.end(restarted, 0.25)
    after.end(other, 0.1)  # nothing is known of why Ray runs it
    history = restored.history
    assert "other" not in history
    assert (history["new"].state, history["new"].value) == (TrialState.COMPLETED, 0.25)
    assert history["new"].config == history[failed.trial_id].config
    best = history.best
    assert best is not None
    assert best.trial_id == "new"
