"""The report: one self-contained HTML page that opens without a network."""

from __future__ import annotations

import json
import math
import time
from base64 import b64encode
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.io.json import to_json_plotly

from raytuner import __version__
from raytuner.folders import Folder
from raytuner.history import History
from raytuner.report import explanations, text
from raytuner.report.events import use
from raytuner.report.figures import Figures
from raytuner.report.style import MARKS
from raytuner.space.choices import shown

_MOST_METRICS = 20
_CLEAR = "rgba(0,0,0,0)"

_TEMPLATES = Environment(
    loader=PackageLoader("raytuner.report", "template"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals |= {"text": text, "say": explanations, "MARKS": MARKS, "version": __version__}
_TEMPLATES.filters["date"] = lambda at: time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def render(figures: Figures, folder: Folder) -> str:
    """Return the page. Its title is the folder's name."""
    return page(body(figures, folder), folder)


def page(content: Markup, folder: Folder, live: str | None = None) -> str:
    """Return the page with a body; `live` is its entity tag if the page follows the study."""
    template = _TEMPLATES.get_template("page.html")
    return template.render(title=folder.name, body=content, plotly=_plotly(), live=live)


@cache
def _plotly() -> str:
    """Return the part of plotly.js that the page needs, compressed, in base64."""
    packed = resources.files("raytuner.report").joinpath("template", "plotly.js.gz").read_bytes()
    return b64encode(packed).decode()


def body(figures: Figures, folder: Folder) -> Markup:
    """Return the sections of the page and the data for its script."""
    history = figures.history
    runs = history.get_meta("runs", [])
    searched = history.get_meta("search_space") or history.space.to_spec()
    plots = {}
    for name, figure in figures.on_page().items():
        # The style sheet has the colours, light and dark.
        figure.update_layout(
            template="none",
            paper_bgcolor=_CLEAR,
            plot_bgcolor=_CLEAR,
            modebar={"bgcolor": _CLEAR},
            font={"family": "system-ui, sans-serif"},
        )
        plots[name] = json.loads(to_json_plotly(figure))
    running = bool(history.live()) or history.get_meta("finished") is False
    data = {"figures": plots, "trials": _table(history, figures.now), "running": running}
    as_json = json.dumps(data, separators=(",", ":"), allow_nan=False)
    words = _TEMPLATES.get_template("body.html").render(
        folder=folder,
        figures=figures,
        history=history,
        seconds=_seconds(history, figures.now),
        slots=use(figures.stays, [run["at"] for run in runs]),
        runs=runs,
        settings=history.get_meta("settings", {}),
        space=json.dumps(searched, indent=2, default=lambda item: shown(item, str)),
        running=running,
        data=Markup(as_json.replace("<", "\\u003c")),  # safe inside of a script element
    )
    return Markup(words)


def _table(history: History, now: float) -> dict[str, Any]:
    """The trials as columns. The page's script relies on the first three and the last two."""
    trials = history.trials
    rows = [dict(text.flat(trial.config)) for trial in trials]
    others = (*history.goal.metrics[1:], *history.further_metrics())[:_MOST_METRICS]
    columns: list[tuple[str, list[Any]]] = [
        ("trial", [trial.number for trial in trials]),
        ("state", [text.WORDS[trial.state] for trial in trials]),
        (history.metric, [trial.value for trial in trials]),
        *((name, [trial.metrics.get(name) for trial in trials]) for name in others),
        (history.time_attr, [trial.t for trial in trials]),
        # Constants tell no trials apart.
        *((c.name, [row.get(c.name) for row in rows]) for c in history.space.columns),
        ("seconds", [round((t.ended_at or now) - t.proposed_at, 1) for t in trials]),
        ("proposed by", [trial.origin.value for trial in trials]),
        ("id", [trial.trial_id for trial in trials]),
        ("why it ended", [trial.reason for trial in trials]),
    ]
    return {
        "minimise": history.mode == "min",
        "columns": [(name, [*map(_plain, values)]) for name, values in columns],
        "colours": {text.WORDS[state]: mark.colour for state, mark in MARKS.items()},
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else shown(value, str)


def _seconds(history: History, now: float) -> float:
    trials = history.trials
    ended = [now if trial.ended_at is None else trial.ended_at for trial in trials]
    return max(ended) - min(trial.proposed_at for trial in trials) if trials else 0.0
