"""Proposals that another process keeps ready: what is handed out when, and what is told."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from processes import FAILS, TOLD, Counting, Loop, Polled, Workshop
from ray.tune.search import ConcurrencyLimiter, Searcher

from raytuner.bayes import SobolProposer
from raytuner.history import Goal, History, Origin, TrialState
from raytuner.search.background import Background
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.search.process import Setup
from raytuner.space import Categorical, Float, Space


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    TOLD.clear()
    FAILS.clear()
    yield
    FAILS.clear()


class Bench:
    """A searcher, the processes it starts, and Ray's calls."""

    def __init__(self, space: Any = None, proposer: Any = Counting) -> None:
        self.shop = Workshop()
        space = space or Space({"x": Float(0, 1)})
        self.search = BoTorchSearch(space, "loss", "min", seed=0, proposer=proposer)
        self.search.compute_in(self.shop)
        self.asked = 0

    def suggest(self) -> tuple[str, dict[str, Any]]:
        trial_id = f"trial_{self.asked}"
        config = self.search.suggest(trial_id)
        assert isinstance(config, dict)
        self.asked += 1
        return trial_id, config

    def end(self, trial_id: str, t: int = 1) -> None:
        self.search.on_trial_complete(trial_id, {"loss": 1 / t, "training_iteration": t})

    def report(self, trial_id: str, t: int) -> None:
        self.search.on_trial_result(trial_id, {"loss": 1 / t, "training_iteration": t})

    def origin(self, trial_id: str) -> Origin:
        return self.search.history[trial_id].origin

    def settle(self) -> None:
        """Let the process answer all that is sent to it, until nothing more is."""
        for _ in range(100):
            if self.shop.process.is_idle:
                return
            self.shop.process.reply()
            self.search._search().turn()
        raise AssertionError("it never comes to rest")


def started(trials: int = 2) -> Bench:
    """So many trials run, and the process is up."""
    bench = Bench()
    for _ in range(trials):
        bench.suggest()
    bench.settle()
    return bench


def test_nothing_is_started_before_a_trial_is_asked_for() -> None:
    bench = Bench()
    pickle.dumps(bench.search.history)
    assert bench.shop.started == []
    bench.suggest()
    assert len(bench.shop.started) == 1


def stock(bench: Bench) -> Any:
    """The proposals that are ready."""
    source: Any = bench.search._search().source()
    return source._stock


def test_as_long_as_nothing_is_known_the_design_is_quasi_random() -> None:
    bench = Bench()
    designed = SobolProposer(bench.search.history.space, 0).ask(3)
    for proposal in designed:
        trial_id, config = bench.suggest()
        assert config == proposal.config
        assert bench.origin(trial_id) is Origin.SOBOL
    bench.settle()
    assert [request.n for request in bench.shop.process.requests] == [0]  # to get up, no more
    assert bench.search.proposal_counts == {"fresh": 3, "stale": 0, "fallback": 0}


def test_fresh_then_stale_then_fallback() -> None:
    bench = started(trials=3)
    bench.end("trial_0")
    bench.settle()
    fresh, config = bench.suggest()
    assert config == {"x": 0.01}
    assert bench.origin(fresh) is Origin.BAYES
    bench.settle()  # the stock is filled up again
    bench.end("trial_1")
    stale, config = bench.suggest()  # no reply yet
    assert config["x"] in (0.02, 0.03)
    assert bench.origin(stale) is Origin.STALE
    while stock(bench):
        bench.suggest()
    fallback, _ = bench.suggest()
    assert bench.origin(fallback) is Origin.FALLBACK
    counts = bench.search.proposal_counts
    assert counts["fallback"] == 1
    assert counts["stale"] >= 1
    assert sum(counts.values()) == bench.asked


def test_fresh_ones_go_before_those_that_are_left() -> None:
    bench = started()
    bench.end("trial_0")
    bench.settle()
    bench.end("trial_1")  # what is in stock is stale from here on
    assert len(bench.shop.process.requests[-1].promised) == 1  # a slot is free: it goes there
    bench.shop.process.reply()
    newest, config = bench.suggest()
    assert bench.origin(newest) is Origin.BAYES
    assert config["x"] > 0.01


def test_a_trial_that_no_slot_waits_for_waits_for_the_reply() -> None:
    bench = started()
    search = bench.search._search()
    bench.end("trial_0")
    assert search._take(free=0, slots=2, alone=False) is None
    bench.shop.process.reply()
    search.source().turn(search.history, free=0, slots=2)
    proposal = search._take(free=0, slots=2, alone=False)
    assert proposal is not None
    assert proposal.origin is Origin.BAYES


def test_only_what_is_new_is_told_and_in_order() -> None:
    bench = started()
    for t in (1, 2):
        bench.report("trial_0", t)
    bench.end("trial_0", t=2)
    bench.settle()
    bench.report("trial_1", 1)
    bench.end("trial_1")
    bench.settle()
    requests = bench.shop.process.requests
    lines = [line for request in requests for line in request.changes]
    told = [(row[0], row[1]) for table, row in lines if table == "value"]
    assert len(set(told)) == len(told)
    assert set(told) == {("trial_0", 1), ("trial_0", 2), ("trial_1", 1)}
    record, mirror = bench.search.history.snapshot(), TOLD[-1]
    assert mirror.trial_ids[: len(record.trial_ids)] == record.trial_ids
    assert mirror.states[: len(record.states)] == record.states
    assert (mirror.y == record.y).all()
    assert (mirror.points[: len(record.points)] == record.points).all()


def test_what_is_handed_out_or_promised_is_pending() -> None:
    bench = started(trials=4)
    bench.end("trial_0")
    bench.settle()
    given, config = bench.suggest()
    bench.end("trial_1")  # the slot that is free now will get what is in stock
    bench.settle()
    pending = TOLD[-1].pending[:, 0].tolist()
    assert config["x"] in pending
    assert len(pending) >= 4  # trials 2, 3, the one just given, and a promised one
    assert TOLD[-1].trial_ids[-1].startswith("promised")
    assert given in TOLD[-1].trial_ids


def test_the_stock_is_as_large_as_what_fell_free_during_one_request() -> None:
    bench = started(trials=8)  # within no time at all: it may happen again
    bench.end("trial_0")
    bench.settle()
    assert len(stock(bench)) == 8
    for i in range(1, 8):
        bench.end(f"trial_{i}")
        bench.suggest()
    origins = {bench.origin(f"trial_{i}") for i in range(8, 15)}
    assert Origin.FALLBACK not in origins


def test_where_slots_wait_for_fresh_ones_none_is_kept() -> None:
    bench = started(trials=1)
    bench.shop.replies_in = 1.0
    for i in range(40):
        bench.shop.clock += 100
        bench.end(f"trial_{i}")
        bench.suggest()
    bench.settle()
    assert not stock(bench)
    assert all(request.n <= 1 for request in bench.shop.process.requests)
    assert {bench.origin(f"trial_{i}") for i in range(1, 41)} == {Origin.BAYES}


def test_reports_of_trials_that_go_on_are_told_now_and_then() -> None:
    bench = started(trials=2)
    bench.end("trial_0")
    bench.settle()
    before = len(bench.shop.process.requests)
    for t in range(1, 101):
        bench.shop.clock += 1
        bench.report("trial_1", t)
        if not bench.shop.process.is_idle:
            bench.shop.process.reply()
    more = len(bench.shop.process.requests) - before
    assert 3 <= more <= 40
    assert bench.search.proposal_counts["stale"] == 0


def test_what_was_proposed_and_then_used_is_not_handed_out() -> None:
    bench = started()
    bench.end("trial_0")
    bench.settle()
    bench.search.add_evaluated_point({"x": 0.01}, 0.3)
    _, config = bench.suggest()
    assert config != {"x": 0.01}


def test_a_process_that_dies_is_replaced_and_told_everything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = started()
    bench.end("trial_0")
    bench.settle()
    bench.end("trial_1")
    first = bench.shop.process
    first.die()
    with caplog.at_level(logging.WARNING):
        bench.search._search().turn()
    assert "it was killed" in caplog.text
    bench.suggest()  # goes on meanwhile
    second = bench.shop.process
    assert second is not first
    assert first.closed
    assert second.state is not None
    assert second.state["proposed"] >= 1  # it goes on from there
    request = second.requests[0]
    assert {row[0] for _, row in request.changes} >= {"trial_0", "trial_1"}
    bench.settle()
    trial_id, config = bench.suggest()
    assert bench.origin(trial_id) is Origin.BAYES
    assert config["x"] > 0.01


def test_a_process_that_dies_again_and_again_is_not_started_all_the_time() -> None:
    bench = started()
    for _ in range(5):
        bench.shop.process.die()
        bench.end("trial_0")
        bench.search._search().turn()
        bench.suggest()
    assert len(bench.shop.started) == 2


def test_what_a_proposer_raises_is_raised_by_suggest() -> None:
    bench = started()
    FAILS.append(True)
    bench.end("trial_0")
    bench.shop.process.reply()
    with pytest.raises(ZeroDivisionError, match="the proposer is broken"):
        bench.suggest()


def test_a_process_that_does_not_get_up_is_spoken_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.suggest()
    bench.shop.clock += 90
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            bench.suggest()
    assert caplog.text.count("has not answered for 90 s") == 1


def test_a_copy_has_neither_process_nor_stock_but_knows_where_to_go_on() -> None:
    setup = Setup(Space({"x": Float(0, 1)}), Goal.of("loss", "min"), Counting, 0)
    source = Background(setup, {"proposed": 7}, Polled)
    source.turn(History(Space({"x": Float(0, 1)}), metric="loss", mode="min"), free=1, slots=1)
    copy = pickle.loads(pickle.dumps(source))
    assert copy.state_dict() == {"proposed": 7}
    assert copy._process is None
    assert source._process is not None


def test_closed_it_ends_its_process_and_asked_again_it_starts_one() -> None:
    bench = started()
    bench.end("trial_0")
    bench.settle()
    bench.search.close()
    assert bench.shop.process.closed
    bench.suggest()
    assert len(bench.shop.started) == 2
    assert bench.shop.process.state is not None
    bench.settle()
    trial_id, _ = bench.suggest()
    assert bench.origin(trial_id) is Origin.BAYES


class Opaque:
    """A choice that is equal to itself only, in one process."""

    def __init__(self, number: int) -> None:
        self.number = number


def test_choices_that_are_objects_are_the_same_on_both_sides() -> None:
    choices = [Opaque(i) for i in range(3)]
    space = Space({"layer": Categorical(choices), "x": Float(0, 1)})
    bench = Bench(space, SobolProposer)
    for _ in range(3):
        bench.suggest()
    bench.end("trial_0")
    bench.settle()
    _, config = bench.suggest()
    assert any(config["layer"] is choice for choice in choices)


def test_a_finite_space_is_used_up_once() -> None:
    bench = Bench(Space({"a": Categorical(["p", "q", "r"])}), SobolProposer)
    seen = []
    for i in range(3):
        _, config = bench.suggest()
        seen.append(config["a"])
        bench.end(f"trial_{i}")
        bench.settle()
    assert sorted(seen) == ["p", "q", "r"]
    assert bench.search.suggest("more") == Searcher.FINISHED
    assert bench.shop.process.closed
    assert bench.search.history.counts == {TrialState.COMPLETED: 3}


# -- slots that wait ------------------------------------------------------------------------------


class Designing(Counting):
    """Its first four configurations are quasi-random."""

    n_initial = 4


class Floor:
    """Ray's loop, whose slots all have a trial, and a process that has not answered yet."""

    def __init__(self, proposer: Any = Counting, slots: int = 2, limit: int | None = None) -> None:
        self.shop = Workshop()
        self.search = BoTorchSearch(
            Space({"x": Float(0, 1)}), "loss", "min", seed=0, proposer=proposer
        )
        self.search.compute_in(self.shop)
        asked = self.search if limit is None else ConcurrencyLimiter(self.search, limit)
        self.loop = Loop(asked, room=slots)
        self.loop.step()

    def end_all(self) -> None:
        """The trials that run and those that are ready end, one after another."""
        while self.loop.count("RUNNING"):
            self.loop.end_one()
            for trial in self.loop.trials:
                trial.status = trial.status.replace("PENDING", "RUNNING")

    @property
    def origins(self) -> list[Origin]:
        return [trial.origin for trial in self.search.history.trials]


def at_work(seconds: float = 100.0) -> Floor:
    """Two slots have a trial for so long, a third trial is ready, and the process is up."""
    floor = Floor()
    floor.shop.process.reply()
    floor.loop.step()
    floor.shop.clock += seconds
    return floor


def test_a_free_slot_waits_for_a_reply_that_is_near() -> None:
    floor = at_work()
    for _ in range(2):
        floor.loop.end_one()
        floor.loop.step()
    assert floor.loop.count("RUNNING") == 1  # so Ray asks again
    assert len(floor.origins) == 3
    floor.shop.process.reply()
    for _ in range(3):
        floor.loop.step()
        if not floor.shop.process.is_idle:
            floor.shop.process.reply()
    assert floor.origins[3:] == [Origin.BAYES] * 2
    assert floor.loop.count("RUNNING") == 2


@pytest.mark.parametrize(("seconds", "longest"), [(0.1, 2.5), (10.0, 2.5), (1000.0, 70.0)])
def test_a_free_slot_waits_for_a_tenth_of_a_trial_or_for_a_slow_start(
    seconds: float, longest: float
) -> None:
    floor = at_work(seconds)
    for _ in range(2):
        floor.loop.end_one()
        floor.loop.step()
    floor.shop.clock += 0.9 * longest
    floor.loop.step()
    assert len(floor.origins) == 3
    floor.shop.clock += 0.2 * longest
    floor.loop.step()
    assert floor.origins[3:] == [Origin.FALLBACK]
    floor.loop.end_one()
    floor.loop.step()  # and nobody waits again for this reply
    assert floor.origins[3:] == [Origin.FALLBACK] * 2


def test_a_free_slot_waits_less_where_it_could_have_a_stale_proposal() -> None:
    floor = at_work(0.5)
    source: Any = floor.search._search().source()
    floor.loop.end_one()
    floor.shop.process.reply(seconds=0.1)
    floor.loop.end_one()  # what is in stock does not know of it
    assert len(source._stock) == 1
    floor.loop.step()
    asked = len(floor.origins)
    floor.shop.clock += 0.2
    floor.loop.step()
    assert len(floor.origins) == asked
    floor.shop.clock += 0.1
    floor.loop.step()
    assert floor.origins[asked] is Origin.STALE


def test_no_slot_waits_for_replies_that_take_long() -> None:
    floor = at_work(10.0)
    floor.loop.end_one()
    floor.shop.process.reply(seconds=30.0)
    floor.loop.step()
    asked = len(floor.origins)
    while floor.loop.count("RUNNING"):
        floor.loop.end_one()
    floor.loop.step()
    assert len(floor.origins) > asked
    assert set(floor.origins[asked:]) <= {Origin.STALE, Origin.FALLBACK}


def test_until_the_design_is_over_no_slot_waits() -> None:
    floor = Floor(Designing)
    floor.loop.end_one()
    floor.loop.step()
    assert floor.origins == [Origin.SOBOL] * 4
    floor.loop.end_one()
    floor.loop.step()
    assert len(floor.origins) == 4  # now it does, though the process has yet to get up
    floor.shop.process.reply(seconds=15.0)
    floor.loop.step()
    floor.shop.process.reply()
    floor.loop.step()
    assert floor.origins[4] is Origin.BAYES


def test_a_process_that_does_not_get_up_is_not_waited_for_for_ever() -> None:
    floor = Floor()
    floor.loop.end_one()
    floor.loop.end_one()
    for seconds, asked in [(0.0, 3), (19.0, 3), (2.0, 4)]:
        floor.shop.clock += seconds
        floor.loop.step()
        assert len(floor.origins) == asked
    assert floor.origins[3] is Origin.FALLBACK


def pause_all(floor: Floor) -> None:
    """As a scheduler that promotes does, when all trials are at a rung."""
    for trial in floor.loop.trials:
        floor.search.on_pause(trial.trial_id)
        floor.search.on_trial_result(trial.trial_id, {"loss": 1.0, "training_iteration": 1})
        trial.status = "PAUSED"


@pytest.mark.parametrize("leave", [Floor.end_all, pause_all])
@pytest.mark.parametrize("limit", [None, 1])
def test_with_nothing_live_it_waits_inside_and_never_answers_none(
    leave: Any, limit: int | None
) -> None:
    floor = Floor(limit=limit)
    floor.shop.process.reply()
    floor.loop.step()
    leave(floor)
    before = len(floor.origins)
    floor.shop.replies_in = 0.2
    floor.loop.step()
    assert floor.origins[before] is Origin.BAYES
    leave(floor)
    before, held = len(floor.origins), floor.shop.clock
    floor.shop.replies_in = None  # it hangs
    floor.loop.step()
    assert floor.origins[before] in (Origin.FALLBACK, Origin.STALE)
    assert floor.shop.clock - held <= 5.0


def test_a_process_that_dies_while_it_is_waited_for_holds_nobody_up() -> None:
    floor = at_work()
    floor.end_all()
    floor.shop.process.die()
    floor.loop.step()
    assert len(floor.origins) > 3  # with nothing live there was no time to lose
    assert len(floor.shop.started) == 2
    floor.end_all()
    floor.shop.replies_in = 4.0
    before = len(floor.origins)
    floor.loop.step()
    assert floor.origins[before] is Origin.BAYES


def test_where_there_are_results_from_the_start_the_first_trial_waits() -> None:
    floor = Bench()
    for x in (0.3, 0.6):
        floor.search.add_evaluated_point({"x": x}, x)
    floor.shop.replies_in = 4.0
    trial_id, _ = floor.suggest()
    assert floor.origin(trial_id) is Origin.BAYES


def test_what_slots_will_not_take_is_not_promised() -> None:
    floor = at_work()
    for _ in range(6):
        floor.loop.end_one()
        while not floor.shop.process.is_idle:
            floor.shop.process.reply()
            floor.loop.step()
    assert not any(len(request.promised) for request in floor.shop.process.requests)
    assert set(floor.origins[3:]) == {Origin.BAYES}


def test_many_slots_that_wait_are_served_a_few_at_a_time() -> None:
    floor = Floor(slots=8)
    floor.shop.process.reply()
    floor.loop.step()
    floor.shop.clock += 100
    floor.end_all()
    before = len(floor.origins)
    floor.shop.replies_in = 1.0
    for _ in range(8):
        floor.loop.step()
        if not floor.shop.process.is_idle:
            floor.shop.process.reply()
    assert floor.loop.count("RUNNING") == 8
    assert Origin.FALLBACK not in floor.origins[before:]
    assert max(request.n for request in floor.shop.process.requests) == 4
