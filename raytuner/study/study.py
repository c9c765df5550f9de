"""A study: what was asked, what happened, and where it is kept."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytuner.errors import HistoryError, TrainableError
from raytuner.history import History, Trial, TrialState
from raytuner.search.botorch_search import RECORD_FILE
from raytuner.search.restore import live_record

if TYPE_CHECKING:
    import pandas as pd


class Study:
    """A search that ran, runs or was interrupted; read from its record.

    Made by :func:`raytuner.tune` and :func:`raytuner.load`.

    Attributes:
        path: The folder of the results: the record and, beside it, Ray's own files.
        history: The record.
        interrupted: Whether the run ended before it was done (Ctrl-C, a kill); :meth:`resume` goes
            on with it.
    """

    def __init__(self, path: Path, history: History) -> None:
        self.path = path
        self.history = history

    def __repr__(self) -> str:
        states = ", ".join(f"{count} {state.value}" for state, count in self.counts.items())
        return f"Study({str(self.path)!r}: {states or 'no trials'})"

    @property
    def metric(self) -> str:
        """Name of the objective."""
        return self.history.metric

    @property
    def mode(self) -> str:
        """Whether the metric is to be small or large: "min" or "max"."""
        return self.history.mode

    @property
    def max_t(self) -> float | None:
        """A trial's full resource in units of ``history.time_attr``, if known."""
        return self.history.max_t

    @property
    def interrupted(self) -> bool:
        """Whether there is more to do: trials that nobody runs any more, or yet to be proposed."""
        return bool(self.history.live()) or self.history.get_meta("finished") is False

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial, in the order of proposal."""
        return self.history.trials

    @property
    def best(self) -> Trial | None:
        """The incumbent (see :meth:`History.best`); None if nothing was ever reported."""
        return self.history.best()

    @property
    def counts(self) -> Counter[TrialState]:
        """How many trials are in each state."""
        return self.history.counts()

    @property
    def failures(self) -> tuple[Trial, ...]:
        """The FAILED trials; each says why in ``reason``."""
        return tuple(t for t in self.trials if t.state is TrialState.FAILED)

    @property
    def resource_spent(self) -> float:
        """What all trials spent together, in units of ``history.time_attr``."""
        return sum(trial.t for trial in self.trials)

    @property
    def results(self) -> pd.DataFrame:
        """One row a trial.

        Columns: ``trial_id``, ``state``, the metric (its value at the largest t), ``t``, the
        hyperparameters as ``config/...``, ``origin``, ``reason``, ``proposed_at`` and ``ended_at``
        (Unix seconds).
        """
        import pandas as pd

        outcome = pd.DataFrame(
            [(t.trial_id, t.state.value, t.value, t.t) for t in self.trials],
            columns=["trial_id", "state", self.metric, "t"],
        )
        configs = pd.json_normalize([t.config for t in self.trials], sep="/").add_prefix("config/")
        rest = pd.DataFrame(
            [(t.origin.value, t.reason, t.proposed_at, t.ended_at) for t in self.trials],
            columns=["origin", "reason", "proposed_at", "ended_at"],
        )
        return pd.concat([outcome, configs, rest], axis=1)

    def resume(self, trainable: Any = None) -> Study:
        """Go on where the run was interrupted: live trials go on from their last checkpoints.

        Args:
            trainable: The same training function or class. None imports it from where it was
                defined, which works for everything but functions of a script or notebook.

        Returns:
            The study, after it has run.

        Raises:
            TrainableError: The training function cannot be imported; pass it.
            HistoryError: Ray was killed before it saved anything to go on from.
        """
        from raytuner.study.run import resume

        if trainable is None:
            trainable = _imported(self.history.get_meta("trainable"))
        return resume(self, trainable)


def load(path: str | Path) -> Study:
    """Read a study back from its folder (also one that a killed process left behind).

    Args:
        path: The folder, as printed at the end of a run, or that of any Ray Tune experiment that
            used :class:`raytuner.BoTorchSearch`.

    Raises:
        HistoryError: There is no record in it.

    The record is read as it is now and kept in memory: loading a study that runs does not disturb
    it.
    """
    folder = Path(path).expanduser().resolve()
    if (folder / RECORD_FILE).is_file():
        return Study(folder, History.read(folder / RECORD_FILE, stand_ins=True))
    # Copies of the record among Ray's own files: the newest, named by the time, is the last.
    saved = sorted(folder.glob("searcher-state-*.pkl"))
    if not saved:
        raise HistoryError(
            f"{folder} holds no study: there is neither {RECORD_FILE} nor a searcher state of Ray's"
        )
    history = History.read(saved[-1], stand_ins=True)
    return Study(folder, live_record(history, stand_ins=True) or history)


def _imported(where: str | None) -> Any:
    """The object at ``module:qualified.name``.

    Raises:
        TrainableError: It cannot be imported.
    """
    try:
        module, _, name = str(where).partition(":")
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise TrainableError(
            f"the training function of this study, {where!r}, cannot be imported ({error}); pass"
            " it: study.resume(trainable)"
        ) from None
    return found
