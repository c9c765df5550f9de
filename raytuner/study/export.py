"""Export the trials of a study to other tools: pandas, CSV, Parquet and Optuna."""

from __future__ import annotations

import math
import tempfile
import unicodedata
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytuner.errors import SettingError
from raytuner.history import History, Trial, TrialState
from raytuner.space.choices import shown
from raytuner.space.domains import Domain
from raytuner.space.numeric import Float, Integer

if TYPE_CHECKING:
    import pandas as pd

    from raytuner.study.study import Study

_REST = ["origin", "reason", "proposed_at", "ended_at"]
_PLAIN = ("string", "boolean", "integer", "floating", "mixed-integer-float")  # pandas' names
_FORMULA = ("=", "+", "-", "@", "\N{MINUS SIGN}")  # how a spreadsheet's formula starts


def results(history: History) -> pd.DataFrame:
    """Return a table with one row per trial.

    Columns, in this order:

    - `trial_id`, `number` and `state`.
    - The metric, at the largest resource that the trial reported, and further metrics of the goal.
    - The last value of each other number that trials reported. The column is named
      `metrics/NAME` if the table has another column `NAME`.
    - `t`, the resource spent.
    - `config/NAME` for each hyperparameter.
    - `origin`, `reason`, `proposed_at` and `ended_at` (both in Unix seconds).
    """
    import pandas as pd

    trials, further = history.trials, history.further_metrics()
    taken = {"trial_id", "number", "state", "t", *_REST}
    columns = [f"metrics/{name}" if name in taken else name for name in further]
    names = (*history.goal.metrics, *further)
    rows = [(t.trial_id, t.number, t.state.value, *map(t.value_of, names), t.t) for t in trials]
    head = ["trial_id", "number", "state", *history.goal.metrics, *columns, "t"]
    outcome = pd.DataFrame(rows, columns=head)
    configs = pd.json_normalize([t.config for t in trials], sep="/").add_prefix("config/")
    rest = pd.DataFrame(
        [(t.origin.value, t.reason, t.proposed_at, t.ended_at) for t in trials], columns=_REST
    )
    return pd.concat([outcome, configs, rest], axis=1)


def write_table(study: Study, path: Path) -> None:
    """Write `Study.results` to a Parquet file (`.parquet`) or else a CSV file.

    An existing file is replaced. Lists and objects become text, and so does a column that mixes
    text and numbers. In CSV, a ' is put before text that a spreadsheet would run as a formula.
    """
    from pandas.api.types import infer_dtype

    frame = study.results
    for name in frame.columns:
        if frame[name].dtype == object and infer_dtype(frame[name]) not in _PLAIN:
            frame[name] = frame[name].map(lambda item: None if item is None else shown(item, str))
    if path.suffix.lower() != ".parquet":
        frame = frame.map(_no_formula).rename(columns=_no_formula)
        # The line ends of RFC 4180. Cells with one of these characters are quoted.
        frame.to_csv(path, index=False, lineterminator="\r\n")
    else:
        frame.to_parquet(path, index=False)


def _no_formula(cell: Any) -> Any:
    """Return a cell that a spreadsheet does not run as a formula (OWASP, "CSV injection")."""
    if not isinstance(cell, str):
        return cell
    text = unicodedata.normalize("NFKC", cell).lstrip()  # spreadsheets read full-width signs, too
    return f"'{cell}" if text.startswith(_FORMULA) else cell


def write_storage(study: Study, path: Path) -> None:
    """Write a study to a SQLite file that Optuna can open as a storage.

    An existing file is replaced. The Optuna study has the folder's name. Learning curves become
    intermediate values. Their steps must be whole numbers, so fractional resources are replaced by
    the number of the report. STOPPED_EARLY trials become pruned trials. Optuna has no distribution
    for some values (of a normal distribution, lists, objects). Numbers among them keep their value,
    in the range that occurred. The rest become text.
    """
    try:
        import optuna
    except ImportError:
        raise SettingError(
            "writing an Optuna storage needs Optuna: pip install 'raytuner[export]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    columns = study.history.space.columns
    units = study.history.snapshot().points
    values = [column.domain.from_units(units[:, j]) for j, column in enumerate(columns)]
    laws = {c.name: _distribution(c.domain, values[j]) for j, c in enumerate(columns)}
    states = optuna.trial.TrialState
    of_state = {
        TrialState.COMPLETED: states.COMPLETE,
        TrialState.STOPPED_EARLY: states.PRUNED,
        TrialState.RUNNING: states.RUNNING,
        TrialState.PAUSED: states.RUNNING,
        TrialState.PENDING: states.WAITING,
    }
    trials = [
        optuna.trial.FrozenTrial(
            number=i,
            trial_id=-1,
            state=of_state.get(trial.state, states.FAIL),
            value=trial.value if trial.state is TrialState.COMPLETED else None,
            datetime_start=datetime.fromtimestamp(trial.proposed_at),
            datetime_complete=trial.ended_at and datetime.fromtimestamp(trial.ended_at),
            params={c.name: _value(c.domain, values[j][i]) for j, c in enumerate(columns)},
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
        for i, trial in enumerate(study.trials)
    ]
    # Written to a temporary file first: an incomplete storage must not replace anything.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder) / "storage.db"
        storage = optuna.storages.RDBStorage(f"sqlite:///{draft}")
        made = optuna.create_study(
            storage=storage,
            study_name=study.path.name,
            direction="minimize" if study.mode == "min" else "maximize",
        )
        made.add_trials(trials)
        storage.remove_session()
        storage.engine.dispose()
        draft.replace(path)


def _steps(trial: Trial) -> dict[int, float]:
    whole = all(t == int(t) for t, _ in trial.values)
    steps = {int(t) if whole else i: value for i, (t, value) in enumerate(trial.values)}
    return {step: value for step, value in steps.items() if not math.isinf(value)}


def _distribution(domain: Domain, values: list[Any]) -> Any:
    """Return Optuna's distribution of a domain, or one that holds the values."""
    from optuna import distributions as law

    if isinstance(domain, Float) and domain.step is None:
        return law.FloatDistribution(domain.low, domain.high, log=domain.log)
    if isinstance(domain, Integer):
        # Optuna does not combine a step with a logarithm.
        step = 1 if domain.log or domain.step is None else int(domain.step)
        return law.IntDistribution(domain.low, domain.high, log=domain.log, step=step)
    levels = domain.n_levels
    if domain.kind == "continuous" or levels is None or levels > 1000:
        numbers = [float(item) for item in values] or [0.0]
        return law.FloatDistribution(min(numbers), max(numbers))
    choices = domain.from_units(domain.level_units())
    return law.CategoricalDistribution([_value(domain, choice) for choice in choices])


def _value(domain: Domain, value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str | None) else shown(value, str)
