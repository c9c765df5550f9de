"""Ray's search algorithm: the searcher inside it, and what its wrappers count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchGenerator


def innermost_searcher(search_alg: Any) -> Any:
    """Return the searcher inside Ray's wrappers (`SearchGenerator`, `ConcurrencyLimiter`)."""
    layers = [*_layers(search_alg)]
    return layers[-1] if layers else None


def max_concurrent_of(search_alg: Any) -> int | None:
    """Return the user's limit on concurrent trials; None if there is none."""
    for layer in _layers(search_alg):
        if isinstance(layer, ConcurrencyLimiter | BasicVariantGenerator):
            limit: int = layer.max_concurrent
            return limit or None
    return None


def count_out(search_alg: Any, trial_id: str) -> None:
    """Stop Ray's limiters from counting a paused trial: they would wait for it forever."""
    for live in _counted_ids(search_alg):
        live.discard(trial_id)


def count_in(search_alg: Any, trial_id: str) -> None:
    """Let Ray's limiters count a trial again: it continues, or its end will be reported."""
    for live in _counted_ids(search_alg):
        live.add(trial_id)


def set_trial_count(search_alg: Any, count: int) -> None:
    """Set how many trials Ray has asked the searcher for.

    Ray saves that number and the trials in two files. After a lost machine they may disagree, and
    Ray would run fewer or more trials than `num_samples`.
    """
    if isinstance(search_alg, SearchGenerator):
        search_alg.set_state({**search_alg.get_state(), "counter": count})


def _counted_ids(search_alg: Any) -> Iterator[set[str]]:
    for layer in _layers(search_alg):
        if isinstance(layer, ConcurrencyLimiter):
            yield layer.live_trials
        elif isinstance(layer, BasicVariantGenerator):
            # Private: no public way counts a trial again after a pause.
            yield layer._live_trials


def _layers(search_alg: Any) -> Iterator[Any]:
    while search_alg is not None:
        yield search_alg
        search_alg = getattr(search_alg, "searcher", None)
