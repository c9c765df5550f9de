"""The report: one self-contained HTML page that opens without a network."""

from __future__ import annotations

import json
import math
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs

from raytuner import __version__, text
from raytuner.folders import Folder
from raytuner.history import History, Trial
from raytuner.report import look, words
from raytuner.report.events import use
from raytuner.report.figures import Figures
from raytuner.space.choices import shown

_FRONT = 50  # trials of the front that the table holds
_METRICS = 20  # most metrics of the trials that the page shows
_EXAMPLES = 12  # trials that a group names


def render(figures: Figures, folder: Folder, *, live: str | None = None) -> str:
    """The whole page.

    Args:
        figures: The plots of the record.
        folder: The study's folder: its name is the title.
        live: Where the page asks for news of the study, what identifies its present content (an
            entity tag); None for a page that stays as it is.
    """
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=folder.name,
            body=body(figures, folder),
            plotly=Markup(get_plotlyjs()),
            style=Markup(_file("page.css")),
            script=Markup(_file("page.js")),
            live=live,
        )
    )


def body(figures: Figures, folder: Folder) -> Markup:
    """What changes while a study runs: the sections and the data that the page's script draws."""
    history = figures.history
    best = history.best()
    trials = history.trials
    runs = history.get_meta("runs", [])
    slots = use(figures.stays, figures.begins)
    plots = _plots(figures)
    text_of_body = (
        _environment()
        .get_template("body.html")
        .render(
            title=folder.name,
            metric=history.metric,
            mode=history.mode,
            counts=[
                {
                    "state": state.value,
                    "word": text.WORDS[state],
                    "n": history.counts()[state],
                    "colour": mark.colour,
                }
                for state, mark in look.MARKS.items()
                if history.counts()[state]
            ],
            summary=words.summary(
                history, figures.surrogate, slots, _seconds(history, figures.now)
            ),
            best=best,
            best_rows=[]
            if best is None
            else [(k, text.value(v)) for k, v in text.flat(best.config)],
            best_toml="" if best is None else text.configuration_as_toml(best.config),
            best_json="" if best is None else text.configuration_as_json(best.config),
            why=[] if best is None else words.why_proposed(history, best),
            stops=[_group(g) for g in words.stops(history)],
            failures=[_group(g) for g in words.failures(history)],
            slots=slots,
            front=_front(history),
            goal=[f"{o.metric} ({o.mode})" for o in history.goal.objectives],
            constraints=[str(c) for c in history.goal.constraints],
            columns=[column.name for column in history.space.columns],
            pairs=figures.pairs(),
            model_rows=0 if figures.surrogate is None else figures.surrogate.rows,
            trials=trials,
            folder=str(folder),
            # Older records have no "program".
            runs=[{"program": None, **run, "at": _date(run["at"])} for run in runs],
            settings=history.get_meta("settings", {}),
            space=json.dumps(_searched(history), indent=2, default=lambda item: shown(item, str)),
            made=_date(figures.now),
            version=__version__,
            data=_script_data({"figures": plots, "trials": _table(history, figures.now)}),
            running=bool(history.live()),
        )
    )
    return Markup(text_of_body)


def _plots(figures: Figures) -> dict[str, Any]:
    """Every figure of the page by its id, as Plotly's JSON without the template."""
    made = {
        "incumbent-time": figures.incumbent("time"),
        "incumbent-resource": figures.incumbent("resource"),
        "incumbent-trials": figures.incumbent("trials"),
        "curves": figures.curves(),
        "parallel": figures.parallel(),
        "importance": figures.importance(),
        "timeline": figures.timeline(),
    }
    if len(figures.history.goal.objectives) > 1:
        made |= {"pareto": figures.pareto(), "hypervolume": figures.hypervolume()}
    for i, column in enumerate(figures.history.space.columns):
        made[f"slice-{i}"] = figures.slice(column.name)
    for i, (first, second) in enumerate(figures.pairs()):
        made[f"pair-{i}-mean"] = figures.interaction(first, second, "mean")
        made[f"pair-{i}-sd"] = figures.interaction(first, second, "sd")
    found = {}
    for name, figure in made.items():
        figure.update_layout(template="none")  # the page has its own, light and dark
        found[name] = json.loads(to_json_plotly(figure))
    return found


def _table(history: History, now: float) -> dict[str, Any]:
    """The trials, a list for each column."""
    trials = history.trials
    rows = [dict(text.flat(trial.config)) for trial in trials]
    # Constants tell no trials apart.
    names = [c.name for c in history.space.columns]
    return {
        "metric": history.metric,
        "minimise": history.mode == "min",
        "time_attr": history.time_attr,
        "number": [trial.number for trial in trials],
        "id": [trial.trial_id for trial in trials],
        "state": [trial.state.value for trial in trials],
        "value": [_rounded(trial.value) for trial in trials],
        "metrics": {
            name: [_rounded(trial.metrics.get(name, math.nan)) for trial in trials]
            for name in (*history.goal.metrics[1:], *history.further_metrics())[:_METRICS]
        },
        "t": [trial.t for trial in trials],
        "origin": [trial.origin.value for trial in trials],
        "reason": [trial.reason for trial in trials],
        "seconds": [round((trial.ended_at or now) - trial.proposed_at, 1) for trial in trials],
        "config": {name: [_json_value(row.get(name)) for row in rows] for name in names},
        "words": {state.value: word for state, word in text.WORDS.items()},
        "colours": {state.value: mark.colour for state, mark in look.MARKS.items()},
    }


def _front(history: History) -> dict[str, Any] | None:
    """The Pareto front as a table; None with one objective."""
    if len(history.goal.objectives) == 1:
        return None
    names, front = history.goal.metrics, history.pareto()
    return {
        "names": names,
        "rows": [
            (trial.number, [f"{history.metrics_of(trial)[name]:.5g}" for name in names])
            for trial in front[:_FRONT]
        ],
        "more": max(len(front) - _FRONT, 0),
    }


def _json_value(value: Any) -> Any:
    if isinstance(value, float):
        return _rounded(value)
    return value if isinstance(value, bool | int | str) else shown(value, str)


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _searched(history: History) -> Any:
    """The search space: the record's, unless the study was narrowed to less (`extend`)."""
    return history.get_meta("search_space") or history.space.to_spec()


def _seconds(history: History, now: float) -> float:
    trials = history.trials
    if not trials:
        return 0.0
    ended = [now if trial.ended_at is None else trial.ended_at for trial in trials]
    return max(ended) - min(trial.proposed_at for trial in trials)


def _date(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _group(group: words.Group) -> dict[str, Any]:
    trials: tuple[Trial, ...] = group.trials
    return {
        "what": group.what,
        "n": len(trials),
        "numbers": [trial.number for trial in trials[:_EXAMPLES]],
        "more": max(len(trials) - _EXAMPLES, 0),
        "example": trials[0].reason,
        "median_t": float(np.median([trial.t for trial in trials])),
    }


def _script_data(data: Any) -> Markup:
    """JSON that stands safely inside of a script element."""
    dumped = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Markup(dumped.replace("<", "\\u003c"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("raytuner.report", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clock"] = text.clock
    return environment


def _file(name: str) -> str:
    return (Path(__file__).parent / "template" / name).read_text(encoding="utf-8")
