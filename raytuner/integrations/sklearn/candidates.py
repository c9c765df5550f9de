"""The candidates of a search: a grid, small finite spaces as a list, and spaces to search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterGrid

from raytuner.errors import SettingError
from raytuner.integrations.distributions import levels, n_combinations, translated
from raytuner.integrations.sklearn.evaluation import Params
from raytuner.integrations.translated import Translated
from raytuner.space import Integer, Space

POSITION = "candidate"
"""Name of the one hyperparameter, the position in the list, of a search through a list."""


@dataclass(frozen=True)
class Part:
    """One of the searches that a search consists of.

    Attributes:
        space: The space to search.
        count: Number of candidates to try.
        listed: All candidates, if `space` has only their positions.
    """

    space: Translated
    count: int
    listed: Sequence[Params] | None = None


def parts_of(grid: Any, distributions: Any, n_iter: int) -> list[Part]:
    """Return the searches to make one after the other.

    Args:
        grid: A dict or a list of dicts, as for `ParameterGrid`; None if there are distributions.
        distributions: A dict of parameters, or a list of such dicts and of pairs
            `(dict, number of candidates)`. The small finite ones come first, as one list.
        n_iter: Number of candidates that dicts without a number share.

    Raises:
        SettingError, SpaceError: Both or neither were given, `distributions` has another form, or
            there is no candidate.
    """
    if (grid is None) == (distributions is None):
        raise SettingError(
            f"got {'neither' if grid is None else 'both'} of param_distributions and param_grid;"
            " give one: a grid to try all of it, distributions to try the best n_iter"
        )
    if grid is not None:
        return [_part_of_list(list(ParameterGrid(grid)))]
    given = [distributions] if isinstance(distributions, Mapping) else distributions
    spaces = [_space_and_count(one) for one in given]
    if not spaces:
        raise SettingError("param_distributions is empty; give at least one search space")
    sizes = [n_combinations(space) for space, _ in spaces]
    counts = [own or 0 for _, own in spaces]
    for _ in range(n_iter):
        room = [i for i, (_, own) in enumerate(spaces) if own is None and counts[i] < sizes[i]]
        if room:
            counts[min(room, key=counts.__getitem__)] += 1
    candidates: list[Params] = []
    searched = []
    for (space, _), size, count in zip(spaces, sizes, counts, strict=True):
        if size <= count:
            candidates += ParameterGrid(levels(space))
        elif count:
            searched.append(Part(translated(space), count))
    parts = [_part_of_list(candidates), *searched] if candidates else searched
    if not parts:
        raise SettingError("param_distributions gives every search space 0 candidates")
    return parts


def _part_of_list(candidates: Sequence[Params]) -> Part:
    """Return the search that tries each candidate; the record cannot hold every object of them."""
    positions = Space({POSITION: Integer(0, len(candidates))})
    decoders = {POSITION: candidates.__getitem__}
    space = Translated(positions, decoders, itemgetter(POSITION))
    return Part(space, len(candidates), candidates)


def _space_and_count(given: Any) -> tuple[Mapping[str, Any], int | None]:
    """Return a dict of parameters, and the number of candidates if `given` is a pair of them."""
    space, count = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    is_count = isinstance(count, int | np.integer) and not isinstance(count, bool) and count >= 0
    if not isinstance(space, Mapping) or not (count is None or is_count):
        raise SettingError(
            f"param_distributions holds {given!r} ({type(given).__name__}); it must be a dict of"
            " parameters, or a list of such dicts or of pairs (dict, number of candidates)"
        )
    return space, count
