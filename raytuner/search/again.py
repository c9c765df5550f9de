"""A recorded search, taken up by a new searcher: from where it is, or from its beginning."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from raytuner.history import History
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.search.earlier import EARLIER
from raytuner.search.priors import PRIORS
from raytuner.search.restore import RECORD_FILE


def take_up(searcher: BoTorchSearch, history: History) -> None:
    """Let a searcher go on from a record, which is left as it is."""
    with TemporaryDirectory() as place:
        copy = Path(place) / RECORD_FILE
        history.copy_to(copy)
        searcher.restore(str(copy))


def begun_again(history: History, *, strategy: str, seed: int | None) -> BoTorchSearch:
    """A searcher that knows what a recorded search knew before its first trial.

    That is its space, its whole goal, what was believed of the optimum and its earlier studies.

    Args:
        history: The record of the search.
        strategy: See :class:`BoTorchSearch`.
        seed: Of the new searcher.

    Returns:
        A searcher that proposes inside ``suggest``.
    """
    blank = History(
        history.space, goal=history.goal, time_attr=history.time_attr, max_t=history.max_t
    )
    for key in (EARLIER, PRIORS):
        blank.set_meta(key, history.get_meta(key))
    searcher = BoTorchSearch(history.space, background=False, seed=seed, strategy=strategy)
    take_up(searcher, blank)
    return searcher
