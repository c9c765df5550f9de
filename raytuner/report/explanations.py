"""The sentences of the report: the summary and the explanations."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

import numpy as np
from scipy.stats import norm

from raytuner.history import History, Origin, Trial, TrialState, cause
from raytuner.report import text
from raytuner.report.events import events, improvements, rung_of, snapshot_at
from raytuner.report.model import Surrogate, fitted

_BY_MODEL = (Origin.BAYES, Origin.STALE)
_ORIGINS = {
    Origin.INITIAL: "You listed it in points_to_evaluate.",
    Origin.SOBOL: "It is quasi-random: part of the initial design, or used because no model could"
    " be fitted.",
    Origin.RANDOM: "It is a random draw from the search space.",
    Origin.EVOLUTION: "An evolution strategy drew it near better trials.",
    Origin.EARLIER: "It was one of the best of an earlier study.",
    Origin.FALLBACK: "It is quasi-random: a slot was free and the model had no proposal ready.",
    Origin.BAYES: "The model proposed it as the most promising configuration, given all results and"
    " the running trials.",
    Origin.STALE: "The model proposed it as the most promising configuration, before the latest"
    " results were in.",
    Origin.AGAIN: "It was one of the best when max_t was raised. It ran again, for longer.",
    Origin.EVALUATED: "It was evaluated elsewhere and added to the search. It did not run here.",
    Origin.SEARCHER: "Another library's searcher proposed it.",
}


def summary(history: History, surrogate: Surrogate | None, seconds: float) -> list[str]:
    """Return a few sentences on the results of a study that took so many seconds."""
    counts, best = history.counts, history.best
    said = [f"{text.count(len(history), 'trial')} in {text.clock(seconds)}: {text.states(counts)}."]
    if best is None:
        where = " at full fidelity" if history.space.fidelities else ""
        return [*said, f"No trial has reported a usable {history.metric}{where} yet."]
    word = "lowest" if history.mode == "min" else "highest"
    end = "" if best.state is TrialState.COMPLETED else " The trial was not trained to its end."
    bounds = " and ".join(map(str, history.goal.constraints))
    of_those = f"Among the trials with {bounds}, the" if bounds else "The"
    if bounds and not history.is_feasible(best):
        of_those = f"No trial satisfies {bounds}. Among the trials that come closest, the"
    said.append(
        f"{of_those} {word} {history.metric} is {best.value:.5g}: trial {best.number} at"
        f" {history.time_attr} {best.t:g}.{end}"
    )
    if surrogate is not None:
        mean, sd = surrogate.predict_config(best.config)
        said.append(
            "Fitted to all trials, the model predicts that a full training of this configuration"
            f" reaches {mean:.4g} ± {1.96 * sd:.2g} (95\u00a0% interval)."
        )
    if history.max_t is not None and counts[TrialState.STOPPED_EARLY]:
        share = sum(trial.t for trial in history.trials) / (history.max_t * len(history))
        said.append(
            f"With early stopping, the trials used {share:.0%} of what training all of them in full"
            " would have taken."
        )
    if cost := text.cost(history):
        said.append(f"It spent {cost}.")
    if proposed := text.proposals(history):
        said.append(f"Proposals: {proposed}.")
    return said


def why_proposed(history: History, trial: Trial) -> list[str]:
    """Return why a trial's configuration was tried, given what was known at the time."""
    said = [_ORIGINS[trial.origin]]
    if trial.origin is Origin.EVALUATED:
        return said
    minimise = history.mode == "min"
    before = snapshot_at(history, trial.proposed_at)
    running = sum(state.is_live for state in before.states)
    finals = int(before.final.sum())
    said.append(
        f"It was proposed as trial {trial.number}. At that time the study had"
        f" {text.count(finals, 'final value')}, {text.count(len(before.y) - finals, 'other value')}"
        f" and {text.count(running, 'unfinished trial')}."
    )
    known = [event for event in events(history) if event.at < trial.proposed_at]
    steps = improvements(known, minimise, final=True) or improvements(known, minimise, final=False)
    if not steps:
        return said
    best = steps[-1]
    said.append(
        f"The best trial was then trial {best.trial.number} with {best.value:.5g}."
        f" This one differs from it in {_difference(history, best.trial, trial)}."
    )
    model = fitted(history.space, before, minimise) if trial.origin in _BY_MODEL else None
    if model is not None:
        mean, sd = model.predict_config(trial.config)
        gain = (best.value - mean) * (1 if minimise else -1)
        chance = norm.cdf(gain / sd) if sd > 0 else float(gain > 0)
        said.append(
            f"A model fitted to the values known then predicts {mean:.4g} ± {1.96 * sd:.2g} for a"
            f" full training (95\u00a0% interval). Its chance of beating the best: {chance:.0%}."
        )
    if math.isfinite(trial.value):
        said.append(f"The trial reached {trial.value:.5g}.")
    return said


def origins(history: History) -> dict[str, str]:
    """Return a sentence on each origin that a trial of the record has, by the origin's name."""
    found = {trial.origin for trial in history.trials}
    return {origin.value: said for origin, said in _ORIGINS.items() if origin in found}


def _difference(history: History, old: Trial, new: Trial) -> str:
    """The hyperparameters in which two trials differ most, at most three."""
    a, b = history.space.encode([old.config, new.config])
    before, after = history.space.dump(old.config), history.space.dump(new.config)
    names = [history.space.columns[j].name for j in np.argsort(-np.abs(a - b), kind="stable")]
    parts = [
        f"{name} ({text.value(before[name])} to {text.value(after[name])})"
        for name in names[: min(3, int((a != b).sum()))]
    ]
    return ", ".join(parts) or "nothing"


def stops(history: History) -> dict[str, list[Trial]]:
    """Return the STOPPED_EARLY trials, grouped by rung, the lowest rung first."""

    def where(trial: Trial) -> str:
        rung = rung_of(trial)
        return (trial.reason or "unknown") if rung is None else f"at rung {rung:g}"

    found = _grouped(history, TrialState.STOPPED_EARLY, where)
    return dict(sorted(found.items(), key=lambda group: rung_of(group[1][0]) or math.inf))


def failures(history: History) -> dict[str, list[Trial]]:
    """Return the FAILED trials, grouped by cause, the most frequent first."""
    found = _grouped(history, TrialState.FAILED, lambda trial: cause(trial.reason))
    return dict(sorted(found.items(), key=lambda group: -len(group[1])))


def _grouped(
    history: History, state: TrialState, cause_of: Callable[[Trial], str]
) -> dict[str, list[Trial]]:
    groups: dict[str, list[Trial]] = defaultdict(list)
    for trial in history.trials:
        if trial.state is state:
            groups[cause_of(trial)].append(trial)
    return groups
