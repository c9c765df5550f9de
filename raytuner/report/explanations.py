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
    Origin.INITIAL: "It was given at the start, among the points to evaluate.",
    Origin.SOBOL: "It is quasi-random: part of the initial design, or a fall-back for the model.",
    Origin.RANDOM: "It is a random draw from the search space.",
    Origin.EVOLUTION: "An evolution strategy drew it around the better trials before it.",
    Origin.EARLIER: "It was among the best of an earlier study.",
    Origin.FALLBACK: "It is quasi-random: the model had no proposal ready when a slot was free.",
    Origin.BAYES: "The model proposed it: it promised most, with what was running at the time taken"
    " into account.",
    Origin.STALE: "The model proposed it shortly before the latest trials ended: it promised most"
    " then.",
    Origin.AGAIN: "Its configuration was among the best before max_t was raised, and was tried"
    " again to see what more training makes of it.",
    Origin.EVALUATED: "It was evaluated elsewhere and told to the search; it did not run here.",
    Origin.SEARCHER: "The study's searcher, which is not raytuner's, proposed it.",
}


def summary(history: History, surrogate: Surrogate | None, seconds: float) -> list[str]:
    """Return a few sentences on what was found in so many seconds."""
    counts, best = history.counts, history.best
    said = [f"{text.count(len(history), 'trial')} in {text.clock(seconds)}: {text.states(counts)}."]
    if best is None:
        where = " at full fidelity" if history.space.fidelities else ""
        return [*said, f"No trial has reported a usable {history.metric}{where} yet."]
    word = "lowest" if history.mode == "min" else "highest"
    end = "" if best.state is TrialState.COMPLETED else ", though it was not trained to its end"
    bounds = " and ".join(map(str, history.goal.constraints))
    of_those = f"Of the trials that keep {bounds}, the" if bounds else "The"
    if bounds and not history.is_feasible(best):
        of_those = f"No trial keeps {bounds}; of those that come nearest, the"
    said.append(
        f"{of_those} {word} {history.metric} is {best.value:.5g}, of trial {best.number} at"
        f" {history.time_attr} {best.t:g}{end}."
    )
    if surrogate is not None:
        mean, sd = surrogate.predict_config(best.config)
        said.append(
            f"Knowing all trials, the model expects {mean:.4g} ± {1.96 * sd:.2g} of that"
            " configuration in full (95\u00a0%)."
        )
    if history.max_t is not None and counts[TrialState.STOPPED_EARLY]:
        share = sum(trial.t for trial in history.trials) / (history.max_t * len(history))
        said.append(f"Early stopping ran {share:.0%} of what all trials would have taken in full.")
    if proposed := text.proposals(history):
        said.append(f"Proposals: {proposed}.")
    return said


def why_proposed(history: History, trial: Trial) -> list[str]:
    """Return why a trial's configuration was tried, from what was known at the time."""
    said = [_ORIGINS[trial.origin]]
    if trial.origin is Origin.EVALUATED:
        return said
    minimise = history.mode == "min"
    before = snapshot_at(history, trial.proposed_at)
    running = sum(state.is_live for state in before.states)
    finals = int(before.final.sum())
    said.append(
        f"It was proposed as trial {trial.number}, when {text.count(finals, 'final value')} and"
        f" {text.count(len(before.y) - finals, 'value')} of trials on their way were known and"
        f" {text.count(running, 'other trial')} ran."
    )
    known = [event for event in events(history) if event.at < trial.proposed_at]
    steps = improvements(known, minimise, final=True) or improvements(known, minimise, final=False)
    if not steps:
        return said
    best = steps[-1]
    said.append(
        f"The best then was trial {best.trial.number} with {best.value:.5g};"
        f" this one differs from it in {_difference(history, best.trial, trial)}."
    )
    model = fitted(history.space, before, minimise) if trial.origin in _BY_MODEL else None
    if model is not None:
        mean, sd = model.predict_config(trial.config)
        gain = (best.value - mean) * (1 if minimise else -1)
        chance = norm.cdf(gain / sd) if sd > 0 else float(gain > 0)
        said.append(
            f"A model of what was known then expects {mean:.4g} ± {1.96 * sd:.2g} of it in full"
            f" (95\u00a0%), and a chance of {chance:.0%} to beat that best."
        )
    if math.isfinite(trial.value):
        said.append(f"It came to {trial.value:.5g}.")
    return said


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
    """Return the STOPPED_EARLY trials by where they were stopped, the lowest rung first."""

    def where(trial: Trial) -> str:
        rung = rung_of(trial)
        return (trial.reason or "unknown") if rung is None else f"at rung {rung:g}"

    found = _grouped(history, TrialState.STOPPED_EARLY, where)
    return dict(sorted(found.items(), key=lambda group: rung_of(group[1][0]) or math.inf))


def failures(history: History) -> dict[str, list[Trial]]:
    """Return the FAILED trials by cause, the most frequent first."""
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
