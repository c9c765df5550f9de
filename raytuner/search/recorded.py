"""Keep a record of a search by another Ray searcher."""

from __future__ import annotations

import base64
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ray.tune.search import Repeater, Searcher

from raytuner.bayes.proposer import ExclusionList, Proposal
from raytuner.errors import ConfigError, SettingError
from raytuner.history import History, Origin, TrialState
from raytuner.search.active import Proposals
from raytuner.search.botorch_search import BoTorchSearch
from raytuner.search.initial import completed
from raytuner.search.tune_space import has_domains, without_conditional
from raytuner.space import Config, Space

_STATE = "searcher_state"  # metadata: the searcher's saved state
_FINISHED: str = Searcher.FINISHED


class Recorded(BoTorchSearch):
    """Takes proposals from another Ray searcher and keeps raytuner's record.

    The other searcher gets the calls that Ray would make, with two exceptions. It gets no reports
    without the metric. A trial that ends without a finite value counts as an error.

    Args:
        searcher: Any Ray searcher, such as `OptunaSearch()`.
        time_attr: As for `BoTorchSearch`.
        max_t: As for `BoTorchSearch`.

    Raises:
        SettingError: `searcher` is not a Ray searcher, is a `Repeater`, or wraps a
            `BoTorchSearch`.
    """

    def __init__(self, searcher: Any, *, time_attr: str, max_t: float | None) -> None:
        name = type(searcher).__name__
        if not isinstance(searcher, Searcher):
            raise SettingError(
                f"searcher is {searcher!r} ({name}); it must be a raytuner.BoTorchSearch or another"
                " ray.tune.search.Searcher, such as OptunaSearch(). For random and grid search, use"
                " strategy='random' or 'grid'"
            )
        is_ours = isinstance(getattr(searcher, "searcher", None), BoTorchSearch)
        if isinstance(searcher, Repeater) or is_ours:
            raise SettingError(
                f"searcher is a {name}; give the searcher that it wraps. To limit concurrency use"
                " max_concurrent_trials, and to repeat the best trials study.confirm()"
            )
        super().__init__(strategy="random", background=False, time_attr=time_attr, max_t=max_t)
        self._theirs = self._proposals = _Theirs(searcher)

    @property
    def name(self) -> str:
        """The name of the other searcher's class."""
        return type(self._theirs.searcher).__name__

    def set_search_properties(
        self, metric: Any, mode: Any, config: dict[str, Any] | Space, **spec: Any
    ) -> bool:
        """Take metric, mode and search space, and pass them on.

        Raises:
            SettingError: The other searcher cannot search this space for this goal.
        """
        if isinstance(config, Space):
            raise SettingError(f"{self.name} needs param_space as a dict of Ray Tune's domains")
        if has_domains(config):
            if not isinstance(metric, str):
                raise SettingError(f"{self.name} takes one metric; received {metric!r}")
            if without_conditional(config) != config:
                raise SettingError(f"{self.name} does not support raytuner.when; leave it out")
            pass_on = self._theirs.searcher.set_search_properties
            try:
                is_taken = pass_on(metric, mode, dict(config), **spec)
            except (ValueError, TypeError, NotImplementedError) as error:
                raise SettingError(
                    f"{self.name} cannot search this param_space: {error}"
                ) from error
            if not is_taken:
                raise SettingError(
                    f"{self.name} already has a search space; give it only as param_space"
                )
        is_new = super().set_search_properties(metric, mode, config, **spec)
        if self.history.space.fidelities:
            raise SettingError(f"{self.name} does not support raytuner.fidelity; leave it out")
        return is_new

    def suggest(self, trial_id: str) -> Config | str | None:  # type: ignore[override]  # FINISHED
        """Return the other searcher's proposal; see `BoTorchSearch.suggest`."""
        self._theirs.trial_id = trial_id
        found = super().suggest(trial_id)
        return _FINISHED if found is None and self._theirs.is_finished else found

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record a report of a running trial and pass it on."""
        super().on_trial_result(trial_id, result)
        if self.history.metric in result:
            self._theirs.searcher.on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record the end of a trial and pass it on."""
        super().on_trial_complete(trial_id, result, error)
        if trial_id not in self.history:
            return
        failed = self.history.head(trial_id).state is TrialState.FAILED
        if failed or self.history.metric not in (result or {}):
            result = None
        self._theirs.searcher.on_trial_complete(trial_id, result=result, error=failed)

    def save(self, checkpoint_path: str) -> None:
        """Write the record, including the state of the other searcher."""
        with TemporaryDirectory() as place, suppress(NotImplementedError):
            file = Path(place) / "state"
            self._theirs.searcher.save(str(file))
            self.history.set_meta(_STATE, base64.b64encode(file.read_bytes()).decode())
        super().save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """Continue from the file that `save` wrote."""
        super().restore(checkpoint_path)
        state = self.history.get_meta(_STATE)
        if state is not None:
            with TemporaryDirectory() as place:
                file = Path(place) / "state"
                file.write_bytes(base64.b64decode(state))
                self._theirs.searcher.restore(str(file))


class _Theirs(Proposals):
    """Another searcher as a source of proposals. It saves its own state."""

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher
        self.trial_id = ""  # of the trial that the next proposal is for
        self.is_finished = False

    def take(
        self, history: History, used: ExclusionList, *, free: int, slots: int, alone: bool
    ) -> Proposal | None:
        """Ask the other searcher; None if it has no proposal now or has finished."""
        found: Any = self.searcher.suggest(self.trial_id)
        self.is_finished = found == _FINISHED
        if self.is_finished or found is None:
            return None
        try:
            config = completed(history.space, found)
        except ConfigError:  # a value between two levels becomes the nearest level
            (config,) = history.space.decode(history.space.encode([found]))
        return Proposal(config, Origin.SEARCHER)
