"""A record made ready for a study to go on with a larger max_t or another search space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from raytuner.errors import ConfigError, SettingError, SpaceError
from raytuner.history import History, Trial, TrialState
from raytuner.space import Config, Domain, Space, differences, hull, value_at

SEARCH_SPACE = "search_space"
"""Under this key the record has the space that is searched, where it holds more than that."""


@dataclass(frozen=True)
class CarriedOver:
    """What has become of a record.

    Attributes:
        within: The space to search, if it is less than the record's.
        again: Configurations to try again, the best first.
        changes: What is different now, in words.
    """

    within: Space | None
    again: list[Config]
    changes: list[str]


def carry_over(
    history: History,
    space: Space | None,
    max_t: float | None,
    *,
    reduction_factor: int,
    num_samples: int,
) -> CarriedOver:
    """Bring a record to a new search space and a new ``max_t``.

    The record's space grows to hold both what was searched and what will be, so that every trial
    keeps its place. Trials that were complete because they had reached the old ``max_t`` are no
    longer: their last values count at that t. As many of them as successive halving would let go
    on, one in ``reduction_factor``, are to be tried again, but no more than half of the new trials.

    Args:
        history: The record, open for writing.
        space: The search space from now on; None leaves it.
        max_t: The full resource from now on; None leaves it.
        reduction_factor: See above.
        num_samples: How many new trials; -1 for no limit.

    Raises:
        SettingError: ``max_t`` is not above the old one.
        SpaceError: The two spaces do not go together.
    """
    searched = searched_space(history)
    within = searched if space is None else space
    whole = history.space
    if space is not None:
        try:
            whole = hull(history.space, space)
        except SpaceError as error:
            raise SpaceError(f"the study cannot go on in this search space: {error}") from error
        _check_fidelities(whole, space)
    changes = differences(searched, within)
    former = history.max_t
    if max_t is not None and not 0 < max_t < math.inf:
        raise SettingError(f"max_t is {max_t!r}; it must be above 0, in {history.time_attr}")
    if max_t is not None and former is not None and max_t < former:
        raise SettingError(
            f"max_t is {max_t:g}, and the study was run with {former:g}: it can only become larger,"
            " for trials were trained that far"
        )
    # All is checked: from here on the record changes.
    if changes:
        history.widen(whole)
        is_less = bool(differences(whole, within))
        history.set_meta(SEARCH_SPACE, within.to_spec() if is_less else None)
        history.set_meta("proposer", None)  # it knew the other space
    reopened: list[Trial] = []
    if max_t is not None and max_t != former:
        history.max_t = max_t
        changes.append(f"max_t: {'none' if former is None else f'{former:g}'}, now {max_t:g}")
        reopened = _reopened(history, former, max_t)
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
                f"{column.name}: the full fidelity would be {found!r}, and is {top!r} for the"
                " trials there are; it can only become larger"
            )


def searched_space(history: History) -> Space:
    """The space that a study searches: its record's, or less."""
    spec = history.get_meta(SEARCH_SPACE)
    return history.space if spec is None else Space.from_spec(spec)


def _reopened(history: History, former: float | None, max_t: float) -> list[Trial]:
    """Trials that are complete no longer, the best first."""
    if former is None:  # all ended by themselves
        return []
    sign = 1.0 if history.mode == "min" else -1.0
    found = [t for t in history.trials if t.state is TrialState.COMPLETED and t.t == former]
    for trial in found:
        reason = f"it reached max_t, which was {former:g} and became {max_t:g}"
        history.end(trial.trial_id, TrialState.STOPPED_EARLY, reason)
    return sorted(filter(history.is_full, found), key=lambda trial: sign * trial.value)


def _moved(searched: Space, within: Space, trials: Sequence[Trial]) -> list[Config]:
    """The trials' configurations in another space, without those that lie outside of it.

    What was a constant before gives way: a number of epochs, say, that grows with ``max_t``.
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
