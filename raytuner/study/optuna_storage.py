"""A study as an Optuna storage, for Optuna's dashboard and analysis."""

from __future__ import annotations

import datetime
import math
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytuner.errors import SettingError
from raytuner.history import Trial, TrialState
from raytuner.space.choices import shown
from raytuner.space.domains import Domain
from raytuner.space.numeric import Float, Integer

if TYPE_CHECKING:
    from raytuner.study.study import Study


def write_storage(study: Study, path: Path) -> None:
    """Write a study to a new SQLite file that Optuna reads as a storage.

    The Optuna study has the folder's name. Learning curves become intermediate values, which need
    whole numbers as steps: those of fractional resources are numbered. STOPPED_EARLY trials are
    pruned ones. Values that Optuna has no distribution for (those of a normal law, lists, objects)
    are written as they are or as text, in the widest range that was seen.

    Args:
        study: The study.
        path: The file, which is replaced.

    Raises:
        SettingError: Optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise SettingError(
            "an Optuna storage is written by Optuna: pip install 'raytuner[export]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    columns = study.history.space.columns
    units = study.history.snapshot().points
    seen = [column.domain.from_units(units[:, j]) for j, column in enumerate(columns)]
    laws = {c.name: _distribution(c.domain, seen[j]) for j, c in enumerate(columns)}
    states = optuna.trial.TrialState
    of_state = {
        TrialState.COMPLETED: states.COMPLETE,
        TrialState.STOPPED_EARLY: states.PRUNED,
        TrialState.FAILED: states.FAIL,
        TrialState.REMOVED: states.FAIL,
        TrialState.RUNNING: states.RUNNING,
        TrialState.PAUSED: states.RUNNING,
        TrialState.PENDING: states.WAITING,
    }
    trials = []
    for i, trial in enumerate(study.trials):
        state = of_state[trial.state]
        trials.append(
            optuna.trial.FrozenTrial(
                number=i,
                trial_id=-1,
                state=state,
                value=trial.value if state == states.COMPLETE else None,
                datetime_start=_date(trial.proposed_at),
                datetime_complete=None if trial.ended_at is None else _date(trial.ended_at),
                params={
                    column.name: _value(column.domain, seen[j][i])
                    for j, column in enumerate(columns)
                },
                distributions=laws,
                user_attrs={
                    **{name: v for name, v in trial.metrics.items() if math.isfinite(v)},
                    "trial_id": trial.trial_id,
                    "origin": trial.origin.value,
                    "reason": trial.reason,
                    "t": trial.t,
                },
                system_attrs={},
                intermediate_values=_steps(trial),
            )
        )
    # Written aside: a storage that is half done replaces nothing.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / "storage.db"
        storage = optuna.storages.RDBStorage(f"sqlite:///{draft}")
        made = optuna.create_study(
            storage=storage,
            study_name=study.path.name,
            direction="minimize" if study.mode == "min" else "maximize",
        )
        with warnings.catch_warnings():  # experimental, since 2023
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            made.set_metric_names([study.metric])
        made.add_trials(trials)
        storage.remove_session()
        storage.engine.dispose()
        draft.replace(path)


def _date(at: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at)


def _steps(trial: Trial) -> dict[int, float]:
    whole = all(t == int(t) for t, _ in trial.values)
    return {
        int(t) if whole else i: value
        for i, (t, value) in enumerate(trial.values)
        if not math.isinf(value)
    }


def _distribution(domain: Domain, seen: list[Any]) -> Any:
    from optuna import distributions as law

    if isinstance(domain, Float) and domain.step is None:
        return law.FloatDistribution(domain.low, domain.high, log=domain.log)
    if isinstance(domain, Integer):
        # A step and a logarithm do not go together there.
        step = 1 if domain.log or domain.step is None else int(domain.step)
        return law.IntDistribution(domain.low, domain.high, log=domain.log, step=step)
    levels = domain.n_levels
    if domain.kind == "continuous" or levels is None or levels > 1000:
        numbers = [float(item) for item in seen] or [0.0]
        return law.FloatDistribution(min(numbers), max(numbers))
    choices = domain.from_units(domain.level_units())
    return law.CategoricalDistribution([_value(domain, choice) for choice in choices])


def _value(domain: Domain, value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str | None) else shown(value, str)
