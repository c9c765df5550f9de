"""The candidates and search spaces that a search goes through, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterGrid

from raytuner.errors import SettingError
from raytuner.integrations.distributions import levels, translated
from raytuner.integrations.sklearn.folds import Params
from raytuner.integrations.translated import Translated

_PAIR = 2  # a search space and its number of candidates


@dataclass(frozen=True)
class Part:
    """A list of candidates, or a space to search and the number of candidates to try in it."""

    candidates: list[Params] | None = None
    space: Translated | None = None
    count: int = 0

    def __post_init__(self) -> None:
        if self.candidates is not None:
            object.__setattr__(self, "count", len(self.candidates))


def parts_of(distributions: Any, n_iter: int) -> list[Part]:
    """Return what to search: all small finite spaces as one list of candidates, then the others.

    Args:
        distributions: A dict of parameters, or a list of such dicts and of pairs
            ``(dict, number of candidates)``.
        n_iter: The number of candidates that dicts without a number share.

    Raises:
        SettingError, SpaceError: ``distributions`` has another form, or gives no candidate.
    """
    given = [distributions] if isinstance(distributions, Mapping) else distributions
    spaces = [_space_and_count(one) for one in given]
    if not spaces:
        raise SettingError("param_distributions is empty; give at least one search space")
    candidates: list[Params] = []
    searched = []
    for (space, _), count in zip(spaces, _counts(spaces, n_iter), strict=True):
        listed = levels(space, count)
        if listed is not None:
            candidates += ParameterGrid(listed)
        elif count:
            searched.append(Part(space=translated(space), count=count))
    parts = [Part(candidates=candidates), *searched] if candidates else searched
    if not parts:
        raise SettingError("param_distributions gives every search space 0 candidates")
    return parts


def _counts(spaces: Sequence[tuple[Mapping[str, Any], int | None]], n_iter: int) -> list[int]:
    """Return each space's number of candidates; spaces without a number share ``n_iter``."""
    counts = [0 if own is None else own for _, own in spaces]
    sizes = {}
    for place, (space, own) in enumerate(spaces):
        if own is None:
            listed = levels(space, n_iter)
            sizes[place] = n_iter if listed is None else len(ParameterGrid(listed))
    for _ in range(n_iter):
        room = [place for place, size in sizes.items() if counts[place] < size]
        if room:
            counts[min(room, key=counts.__getitem__)] += 1
    return counts


def _space_and_count(given: Any) -> tuple[Mapping[str, Any], int | None]:
    """Return a search space, and its number of candidates if scikit-optimize's form gives one.

    Raises:
        SettingError: It is neither a dict nor a pair of a dict and a number.
    """
    space, count = given if isinstance(given, tuple) and len(given) == _PAIR else (given, None)
    whole = isinstance(count, int | np.integer) and not isinstance(count, bool) and count >= 0
    if not isinstance(space, Mapping) or not (count is None or whole):
        raise SettingError(
            f"param_distributions holds {given!r} ({type(given).__name__}); it must be a dict of"
            " parameters, or a list of such dicts or of pairs (dict, number of candidates)"
        )
    return space, count
