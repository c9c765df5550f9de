"""Continue a study that has ended: with more trials, a larger `max_t` or another search space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from raytuner.errors import ConfigError, SettingError, SpaceError
from raytuner.folders import Folder
from raytuner.history import History, OpaqueValue, Trial, TrialState
from raytuner.report.text import SPENT
from raytuner.schedulers.named import SCHEDULERS
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.search.restore import open_record, record_at
from raytuner.search.tune_space import space_from_tune
from raytuner.space import Config, Domain, Rule, Space, differences, hull, value_at
from raytuner.study.lifecycle import cut_short
from raytuner.study.resources import with_resources
from raytuner.study.run import note_run, run, scheduler_of, with_scheduler
from raytuner.study.settings import StudySettings
from raytuner.study.trainable import Trainable
from raytuner.study.tuning import prepare

SEARCH_SPACE = "search_space"
"""Key in the record for the space to search, if it is smaller than the record's space."""

_TRIED_AGAIN = 3  # without a reduction factor, one in this many complete trials is tried again


def extend(
    path: Folder, before: History, trainable: Trainable, num_samples: int, **changes: Any
) -> History:
    """Continue a study that has ended and return its record; see `Study.extend`."""
    settings = StudySettings.kept(before, trainable, num_samples, **changes)
    if changes.get("scheduler") is None and settings.scheduler not in (None, *SCHEDULERS):
        raise SettingError(
            f"the study was run with your own scheduler, {settings.scheduler}; pass it again:"
            " study.extend(n, scheduler=...)"
        )
    runnable = with_resources(trainable, settings.resources)
    settings = with_scheduler(settings, before.goal)
    scheduler = scheduler_of(settings, reduction_factor=changes.get("reduction_factor"))
    space = _next_space(before, changes.get("param_space"), changes.get("parameter_constraints"))
    try:
        opened = open_record(path, before)
    except SpaceError:  # of objects that no file can hold, which the new space has
        opened = open_record(path, before, space)
    with closing(opened) as history:
        max_t, factor = changes.get("max_t"), settings.reduction_factor or _TRIED_AGAIN
        carried = carry_over(
            history, space, max_t, reduction_factor=factor, num_samples=num_samples
        )
        if settings.budget is not None:  # besides what was spent before
            spent = history.get_meta(SPENT, {})
            total = {unit: more + spent.get(unit, 0.0) for unit, more in settings.budget.items()}
            settings = replace(settings, budget=total)
        changed = settings.some("max_t", "budget", "prices")
        now = {**changed, "scheduler": settings.scheduler_name}
        history.set_meta("settings", {**history.get_meta("settings"), **now})
        for trial_id in history.live():
            cut_short(history, trial_id, "its run was interrupted and not resumed")
        note_run(history, "extended", carried.changes)
    known = settings.some("time_attr", "seed", "strategy")
    searcher = BoTorchSearch(history.space, max_t=history.max_t, record=record_at(path), **known)
    searcher.continue_from(history, within=carried.within, again=carried.again)
    objectives = history.goal.objectives
    prepare(searcher, {}, [o.metric for o in objectives], [o.mode for o in objectives])
    return run(runnable, path, searcher, scheduler, settings)


class CarriedOver(NamedTuple):
    """The consequences of a new search space and a new `max_t`."""

    within: Space | None
    """The space to search, if it is smaller than the record's."""
    again: list[Config]
    """Configurations to try again, the best first."""
    changes: list[str]
    """The changes, as text."""


def carry_over(
    history: History,
    space: Space | None,
    max_t: float | None,
    *,
    reduction_factor: int,
    num_samples: int,
) -> CarriedOver:
    """Change a record to a new search space and a new `max_t`; None keeps the old one.

    The record's space grows to hold both the old and the new search space, so every trial keeps its
    place. Trials that had completed by reaching the old `max_t` become STOPPED_EARLY at that
    resource. The best of them are tried again: one in `reduction_factor`, as in successive halving,
    but at most half of the new trials (`num_samples`; -1 for no limit).
    """
    searched = searched_space(history)
    within = searched if space is None else space
    whole = history.space
    if space is not None:
        try:
            whole = hull(history.space, space)
        except SpaceError as error:
            raise SpaceError(f"the study cannot continue in this search space: {error}") from error
        _check_fidelities(whole, space)
    changes = differences(searched, within)
    former = history.max_t
    if max_t is not None and not 0 < max_t < math.inf:
        raise SettingError(f"max_t is {max_t!r}; it must be above 0, in {history.time_attr}")
    if max_t is not None and former is not None and max_t < former:
        raise SettingError(
            f"max_t is {max_t:g}, but the study was run with {former:g}; it can only become larger"
        )
    # All checks are done. From here on the record changes.
    if changes:
        history.widen(whole)
        is_less = bool(differences(whole, within))
        history.set_meta(SEARCH_SPACE, within.to_spec() if is_less else None)
        history.set_meta("proposer", None)  # it knew the other space
    reopened: list[Trial] = []
    if max_t is not None and max_t != former:
        history.max_t = max_t
        changes.append(f"max_t: {'none' if former is None else f'{former:g}'}, now {max_t:g}")
        reopened = [
            t for t in history.trials if t.state is TrialState.COMPLETED and t.t == former
        ]  # the others had ended by themselves
        for trial in reopened:
            reason = f"it reached max_t = {former:g}, later raised to {max_t:g}"
            history.end(trial.trial_id, TrialState.STOPPED_EARLY, reason)
        ended = {trial.trial_id for trial in reopened}
        reopened = [trial for trial in history.ranked if trial.trial_id in ended]
    share = math.ceil(len(reopened) / reduction_factor)
    most = share if num_samples < 0 else min(share, max(num_samples // 2, 1))
    return CarriedOver(
        within=None if history.get_meta(SEARCH_SPACE) is None else within,
        again=_moved(searched, within, reopened)[:most],
        changes=changes,
    )


def _check_fidelities(whole: Space, within: Space) -> None:
    (full,) = within.decode(within.in_full(np.full((1, within.dim), 0.5)))
    for column in (whole.columns[j] for j in whole.fidelities):
        found, top = value_at(within.unfolded(full), column.path), column.domain.from_unit(1.0)
        if found != top:
            raise SpaceError(
                f"{column.name}: the full fidelity of the existing trials is {top!r}, but it would"
                f" be {found!r} now; it can only become larger"
            )


def searched_space(history: History) -> Space:
    """Return the space that a study searches: the record's space or a smaller one."""
    spec = history.get_meta(SEARCH_SPACE)
    return history.space if spec is None else Space.from_spec(spec)


def _moved(searched: Space, within: Space, trials: Sequence[Trial]) -> list[Config]:
    """Return the trials' configurations in another space, without those that lie outside.

    A former constant may change, such as a number of epochs that grows with `max_t`.
    """
    varied = {column.path for column in searched.columns}
    fixed = [
        (path, leaf)
        for path, leaf in within.leaves().items()
        if path in varied and not isinstance(leaf, Domain)
    ]
    found = []
    for trial in trials:
        known = searched.unfolded(trial.config)
        if all(value_at(known, path, value) == value for path, value in fixed):
            with suppress(ConfigError):
                config = within.load(within.dump(trial.config))
                within.validate(config)  # its constraints
                found.append(config)
    return found


def _next_space(
    history: History,
    param_space: Mapping[str, Any] | Space | None,
    rules: Sequence[Rule] | None,
) -> Space | None:
    """Return the space to continue in; None for the study's own.

    The study's constraints remain unless others are given.
    """
    if param_space is None and rules is None:
        return None
    before = searched_space(history)
    space = before if param_space is None else param_space
    if not isinstance(space, Space):
        space = space_from_tune(space)
    if rules is not None:
        return Space(space.template, rules)
    kept = [one for one in before.constraints if not isinstance(one.rule, OpaqueValue)]
    return space.constrained(kept)
