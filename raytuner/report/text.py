"""Numbers, configurations and states as text, for the page, the terminal and notebooks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import tomli_w

from raytuner.history import History, TrialState, causes, proposal_counts
from raytuner.history.failures import first_line as first_line
from raytuner.space.choices import shown

WORDS = {
    TrialState.RUNNING: "running",
    TrialState.PAUSED: "paused",
    TrialState.PENDING: "pending",
    TrialState.COMPLETED: "completed",
    TrialState.STOPPED_EARLY: "stopped early",
    TrialState.FAILED: "failed",
    TrialState.REMOVED: "dropped",
}

SPENT = "spent"
"""Key in the record for what the study has spent, by unit."""

UNITS = {"usd": "USD", "gpu_hours": "GPU-hours"}
"""The units of a study's budget, as text."""

_MANY = 0.1  # share of fallback proposals from which on a hint is shown


def clock(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds.

    Examples:
        >>> clock(75.4), clock(3675)
        ('1:15', '1:01:15')
    """
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def count(n: float, noun: str) -> str:
    """Return a number of things.

    Examples:
        >>> count(1, "trial"), count(12, "trial")
        ('1 trial', '12 trials')
    """
    return f"{n:g} {noun}" if n == 1 else f"{n:g} {noun}s"


def expenses(spent: Mapping[str, float], budget: Mapping[str, float] | None) -> str:
    """Return what was spent and the budget; empty if nothing was counted.

    Examples:
        >>> expenses({"usd": 12.345, "gpu_hours": 4.1}, {"usd": 200})
        '12.35 of 200 USD, 4.10 GPU-hours'
    """
    limits = budget or {}
    return ", ".join(
        f"{spent.get(unit, 0.0):.2f}{f' of {limits[unit]:g}' if unit in limits else ''} {name}"
        for unit, name in UNITS.items()
        if unit in limits or spent.get(unit)
    )


def cost(history: History) -> str:
    """Return what a study has spent and its budget; empty if nothing was counted."""
    budget = (history.get_meta("settings") or {}).get("budget")
    return expenses(history.get_meta(SPENT, {}), budget)


def printable(words: str) -> str:
    """Return text with terminal control characters escaped.

    Examples:
        >>> printable(chr(27) + "[31m") == chr(92) + "x1b[31m"
        True
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


def value(item: Any) -> str:
    """Return a hyperparameter's value; floats have four significant digits.

    Examples:
        >>> value(0.000123456), value("adam"), value(None)
        ('0.0001235', 'adam', 'None')
    """
    return f"{item:.4g}" if isinstance(item, float) else printable(shown(item, str))


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of a nested configuration, with keys joined by a slash.

    Examples:
        >>> dict(flat({"net": {"width": 8}, "lr": 0.1}))
        {'net/width': 8, 'lr': 0.1}
    """
    for key, item in config.items():
        if isinstance(item, Mapping) and item:
            yield from flat(item, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", item


def one_line(config: Mapping[str, Any]) -> str:
    """Return a configuration on one line.

    Examples:
        >>> one_line({"lr": 0.001, "optimizer": "adam"})
        'lr=0.001 optimizer=adam'
    """
    return " ".join(f"{printable(str(key))}={value(item)}" for key, item in flat(config))


def configuration_as_json(config: Mapping[str, Any]) -> str:
    """Return a configuration as JSON. Values that JSON cannot hold become text."""
    return json.dumps(config, indent=2, default=lambda item: shown(item, str))


def configuration_as_toml(config: Mapping[str, Any]) -> str:
    """Return a configuration as TOML.

    TOML has no null: a comment names the hyperparameters that are None.
    """
    missing = [key for key, value in flat(config) if value is None]
    names = map(printable, missing)
    note = "".join(f"# {name} is None (TOML has no null)\n" for name in names)
    return note + tomli_w.dumps(_for_toml(config))


def _for_toml(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _for_toml(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_for_toml(item) for item in value if item is not None]
    return value if isinstance(value, bool | int | float | str) else shown(value, str)


def states(counts: Mapping[TrialState, int]) -> str:
    """Return the number of trials in each state; states without trials are left out.

    Examples:
        >>> states({TrialState.STOPPED_EARLY: 7, TrialState.RUNNING: 2, TrialState.FAILED: 0})
        '2 running, 7 stopped early'
    """
    parts = [f"{counts[state]} {word}" for state, word in WORDS.items() if counts.get(state)]
    return ", ".join(parts) or "no trials yet"


def no_value(history: History) -> str:
    """Return a text that says that the study has no best trial."""
    where = " at full fidelity" if history.space.fidelities else ""
    return f"no trial reported a usable {history.metric}{where}"


def why_no_best(history: History) -> str:
    """Return why a study has no best trial: the states of its trials, and their first failure."""
    said = f"{no_value(history)}: {states(history.counts)}"
    if (most := causes(history.heads())) and most[0].reason:
        said += f". {most[0].trials} failed with: {first_line(most[0].reason)}"
    return said


def proposals(history: History) -> str | None:
    """Return how many proposals were fresh, stale or fallback; None if all were fresh.

    If many were fallback, the text says how to change that.
    """
    counts = proposal_counts(history.heads())
    stale, random = counts["stale"], counts["fallback"]
    if not stale + random:
        return None
    share = random / (counts["fresh"] + stale + random)
    said = (
        f"{counts['fresh']} fresh (based on all results), {stale} stale (without the latest"
        f" results), {random} ({share:.0%}) fallback (quasi-random, no other was ready)"
    )
    if share < _MANY:
        return said
    return (
        f"{said}. Trials ended faster than the model could propose. To avoid fallback proposals,"
        " lower max_concurrent_trials or use BoTorchSearch(background=False)"
    )
