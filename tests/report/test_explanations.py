"""What the report says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from made_up import figures, study
from rich.console import Console

from raytuner.halving import Action, Verdict
from raytuner.history import Goal, History, Origin, TrialState
from raytuner.report import explanations
from raytuner.report.events import rung_of
from raytuner.space import Float, Space
from raytuner.study.study import Study
from raytuner.study.summary import summary


def test_failures_are_grouped_by_cause_the_most_frequent_first() -> None:
    history = study(400)
    groups = explanations.failures(history)
    assert list(groups) == [
        "RuntimeError: loss is nan at step #",
        "OutOfMemoryError: CUDA out of memory",
    ]
    failed = [t for t in history.trials if t.state is TrialState.FAILED]
    first, second = map(len, groups.values())
    assert first > second
    assert first + second == len(failed)


def test_stops_are_grouped_by_rung_in_order() -> None:
    groups = explanations.stops(study(200))
    assert list(groups) == [f"at rung {rung}" for rung in (1, 3, 9)]
    assert all(
        f"at rung {r}:" in t.reason
        for trials, r in zip(groups.values(), (1, 3, 9), strict=True)
        for t in trials
    )


def test_the_summary_has_the_figures_of_the_record() -> None:
    history = study(150)
    said = " ".join(explanations.summary(history, figures(150).surrogate, 600))
    best = history.best
    assert best is not None
    assert "150 trials in 10:00" in said
    assert f"The lowest loss is {best.value:.5g}: trial {best.number} at" in said
    spent = sum(t.t for t in history.trials) / (27 * 150)
    assert f"the trials used {spent:.0%} of" in said
    expected = re.search(r"reaches ([\d.]+) ± ([\d.]+)", said)
    assert expected is not None
    assert abs(float(expected[1]) - best.value) < 0.1


def test_an_empty_record_is_said_to_be_empty() -> None:
    said = explanations.summary(study(0), None, 0)
    assert said == ["0 trials in 0:00: no trials yet.", "No trial has reported a usable loss yet."]


def test_why_the_best_was_proposed_looks_at_what_was_known_then() -> None:
    history = study(150)
    best = history.best
    assert best is not None
    assert best.origin is Origin.BAYES
    said = " ".join(explanations.why_proposed(history, best))
    assert "as the most promising" in said
    assert f"proposed as trial {best.number}." in said
    finals = sum(
        t.state is TrialState.COMPLETED and (t.ended_at or 0) < best.proposed_at
        for t in history.trials
    )
    assert f"the study had {finals} final value" in said
    assert "Its chance of" in said
    assert said.endswith(f"The trial reached {best.value:.5g}.")


@pytest.mark.parametrize("origin", Origin)
def test_every_origin_has_its_words(origin: Origin) -> None:
    history = History(Space({"x": Float(0, 1)}), metric="loss", mode="max")
    for name, x in (("a", 0.5), ("b", 0.75)):
        history.add(name, {"x": x}, origin)
        history.report(name, 1, x)
        history.end(name, TrialState.COMPLETED)
    said = explanations.why_proposed(history, history.trials[1])
    assert said[0].endswith(".")
    assert (len(said) > 1) == (origin is not Origin.EVALUATED)


def test_stops_by_chance_are_grouped_by_rung() -> None:
    history = History(Space({"x": Float(0, 1)}), metric="loss", mode="max")
    for i, (rung, chance) in enumerate(((3, 0.021), (3, 0.004), (9, 0.03))):
        reason = Verdict(Action.STOP, rung, 2, 5, 1, chance, 0.05).reason
        history.add(f"t{i}", {"x": i / 4})
        history.report(f"t{i}", rung, 0.5)
        history.end(f"t{i}", TrialState.STOPPED_EARLY, reason)
    groups = explanations.stops(history).items()
    assert [(where, len(trials)) for where, trials in groups] == [
        ("at rung 3", 2),
        ("at rung 9", 1),
    ]
    assert [rung_of(trial) for trial in history.trials] == [3, 3, 9]


def test_of_a_first_trial_there_is_nothing_to_compare_with() -> None:
    history = History(Space({"x": Float(0, 1)}), metric="loss", mode="max")
    history.add("a", {"x": 0.5}, Origin.INITIAL)
    history.report("a", 1, 2.0)
    said = explanations.why_proposed(history, history.trials[0])
    assert said[0].startswith("You listed it in points_to_evaluate")
    assert "0 final values, 0 other values" in said[1]
    assert len(said) == 2


@pytest.mark.parametrize(("cost", "says"), [(1.0, "Among the trials with c <= 2"), (3.0, "No")])
def test_the_best_is_said_to_keep_its_bounds_or_not(cost: float, says: str) -> None:
    goal = Goal.of("loss", "min", outcome_constraints=["c <= 2"])
    history = History(Space({"x": Float(0, 1)}), goal=goal)
    history.add("a", {"x": 0.5})
    history.report("a", 1, 0.25, {"c": cost})
    history.end("a", TrialState.COMPLETED)
    said = explanations.summary(history, None, 1.0)[1]
    assert said.startswith(says)
    assert "the lowest loss is 0.25: trial 0" in said


@pytest.mark.parametrize(
    ("origins", "said", "advises"),
    [
        ([Origin.SOBOL] * 3 + [Origin.BAYES] * 7, None, False),
        (
            [Origin.SOBOL] * 9 + [Origin.BAYES] * 9 + [Origin.STALE, Origin.FALLBACK],
            "18 fresh (based on all results), 1 stale (without the latest results), 1 (5%) fallback"
            " (quasi-random, no other was ready)",
            False,
        ),
        (
            [Origin.SOBOL] * 3 + [Origin.FALLBACK] * 7 + [Origin.EVALUATED],
            "3 fresh (based on all results), 0 stale (without the latest results), 7 (70%) fallback"
            " (quasi-random, no other was ready)",
            True,
        ),
    ],
)
def test_proposals_that_were_not_fresh_are_said_and_what_to_do_about_many_quasi_random_ones(
    origins: list[Origin], said: str | None, advises: bool
) -> None:
    history = History(Space({"x": Float(0, 1)}), metric="loss", mode="min")
    for number, origin in enumerate(origins):
        history.add(str(number), {"x": number / 100}, origin)
        history.report(str(number), 1, 1.0 - number / 100)
        history.end(str(number), TrialState.COMPLETED)
    page = " ".join(explanations.summary(history, None, 1.0))
    console = Console(record=True, width=400)
    with console.capture() as shown:
        console.print(summary(Study(Path("nowhere"), history)))
    for text in (page, shown.get()):
        assert ("quasi-random" in text) == (said is not None)
        assert said is None or said in text
        assert ("BoTorchSearch(background=False)" in text) == advises
