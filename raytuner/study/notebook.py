"""Studies, trials and progress as a notebook shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, SupportsIndex, overload

from raytuner.history import Trial
from raytuner.history.html import table
from raytuner.report import text
from raytuner.study.standing import Standing, as_lines, as_text
from raytuner.study.summary import RUNNING, lines

if TYPE_CHECKING:
    from raytuner.study.study import Study

_MANY = 60  # more rows than this are cut short, as in pandas
_BEST = 10
_INTERRUPTED = "Interrupted: this is the best so far. <code>study.resume()</code> goes on."


class Trials(tuple[Trial, ...]):
    """Trials, which a notebook displays as a table."""

    __slots__ = ()

    @overload
    def __getitem__(self, which: SupportsIndex) -> Trial: ...

    @overload
    def __getitem__(self, which: slice) -> Trials: ...

    def __getitem__(self, which: SupportsIndex | slice) -> Trial | Trials:
        """Return a trial, or those of a slice."""
        found = super().__getitem__(which)
        return Trials(found) if isinstance(found, tuple) else found

    def _repr_html_(self) -> str:
        if not self:
            return "<p>no trials</p>"
        more = len(self) - _MANY
        note = f"<p>and {text.count(more, 'more trial')}</p>" if more > 0 else ""
        return _table(self[:_MANY]) + note


class Shown:
    """How a study stands at one moment, as a notebook displays it."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    def __repr__(self) -> str:
        return as_text(self._standing)

    def _repr_html_(self) -> str:
        share = self._standing.share
        # Without a value, a browser shows that something goes on.
        value = "" if share is None else f' value="{share:.4f}"'
        return f'<progress style="width: 20em"{value}></progress>' + table(
            as_lines(self._standing).items()
        )


class Cell:
    """Progress below a notebook's cell, updated in place."""

    def __init__(self, standing: Standing) -> None:
        from IPython.display import display  # every notebook has it

        self._handle = display(Shown(standing), display_id=True)

    def update(self, standing: Standing) -> None:
        """Show how the study stands now."""
        self._handle.update(Shown(standing))


def study_as_html(study: Study) -> str:
    """Return what a notebook shows of a study: its summary and its best trials."""
    note = _INTERRUPTED if study.interrupted else RUNNING if study.running else ""
    best = study.history.best()
    parts = {} if best is None else {"Best configuration": dict(text.flat(best.config))}
    summary = table([*parts.items(), *lines(study).items()])
    ranked = study.ranked[:_BEST]
    return f"<p><b>{note}</b></p>{summary}{_table(ranked, study.metric) if ranked else ''}"


def _table(trials: tuple[Trial, ...], metric: str = "value") -> str:
    """Return the trials, one a row; a hyperparameter that one of them lacks is left empty there."""
    configs = [dict(text.flat(trial.config)) for trial in trials]
    names = list(dict.fromkeys(name for config in configs for name in config))
    others = list(dict.fromkeys(name for trial in trials for name in trial.others))
    has_reasons = any(trial.reason for trial in trials)
    rows = (
        [
            *(trial.number, text.WORDS[trial.state], trial.value, *map(trial.value_of, others)),
            f"{trial.t:g}",
            *(config.get(name, "") for name in names),
            *([text.first_line(trial.reason) if trial.reason else ""] if has_reasons else []),
        ]
        for trial, config in zip(trials, configs, strict=True)
    )
    return table(
        rows,
        ["trial", "state", metric, *others, "t", *names, *(["reason"] if has_reasons else [])],
    )
