"""The figures as Markdown: a section of the results page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.features.about import ABOUT
from benchmarks.features.methods import METHODS
from benchmarks.race.figures import grouped, intervals, regrets
from benchmarks.race.runs import Run
from benchmarks.race.table import markdown_table, prose

MARKS = (0.25, 0.50, 1.00)  # shares of the evaluations

_HEAD = """\
## Features beside peers

`python -m benchmarks.features` tests each feature of search spaces and objectives on a problem that
needs it. Everything runs in one process. Some trials are pending at a time, and the oldest is
evaluated next. Other libraries do what they can.

The first table shows the mean loss at the end; lower is better. 0 is perfect, and 1 means no answer
yet. Losses above 1 count as 1. The smallest loss of a row is in bold. A method with fewer seeds
than others says so. The tables below have intervals. A dash means that a method has no run.
NSGA-II runs with several objectives only. With many dimensions there is no feature to leave out.
`python -m benchmarks.features` gives the other reasons.
"""


@dataclass(frozen=True)
class Row:
    """What a method comes to on a problem.

    Attributes:
        method: Its name.
        seeds: Runs.
        last: Mean loss at the end.
        losses: In words, at each of `MARKS`, with the 95 % bootstrap interval over seeds.
        seconds: Of the searcher, for each trial.
    """

    method: str
    seeds: int
    last: float
    losses: tuple[str, ...]
    seconds: float


def as_section(runs: Sequence[Run], left_out: Iterable[str] = ()) -> str:
    """A table of all problems at the end, one of each problem at each mark, and what is missing."""
    known = [run for run in runs if run.method in METHODS]
    tables = {
        name: _rows([run for run in known if run.problem == f"features/{name}"]) for name in ABOUT
    }
    lines = [_HEAD, *_overview(tables)]
    for name, rows in tables.items():
        if rows:
            first = next(run for run in known if run.problem == f"features/{name}")
            lines += ["", *_problem(name, rows, first)]
    left_out = list(left_out)
    if left_out:
        lines += ["", "Not run:", "", *(f"- {line}" for line in left_out)]
    return "\n".join(lines) + "\n"


def _rows(runs: Sequence[Run]) -> list[Row]:
    """The methods that ran on a problem, the best at the end first."""
    found = [_row(method, mine) for method, mine in grouped(runs).items()]
    return sorted(found, key=lambda row: row.last)


def _row(method: str, runs: Sequence[Run]) -> Row:
    means = regrets(runs, marks=MARKS).mean(axis=0)
    cells = [
        f"{mean:.3f} ({low:.2f} to {high:.2f})" if low < high else f"{mean:.3f}"
        for mean, low, high in zip(means, *intervals(runs, marks=MARKS), strict=True)
    ]
    seconds = sum(run.suggest_total_s + run.hooks_s for run in runs)
    return Row(
        method=method,
        seeds=len(runs),
        last=float(means[-1]),
        losses=tuple(cells),
        seconds=seconds / sum(run.units for run in runs),
    )


def _overview(tables: Mapping[str, Sequence[Row]]) -> list[str]:
    have = {row.method for rows in tables.values() for row in rows}
    shown = [method for method in METHODS.values() if method.name in have]
    lines = []
    for name, rows in tables.items():
        by_method = {row.method: row for row in rows}
        cells = [_last(by_method.get(method.name), rows) for method in shown]
        lines.append((ABOUT[name].feature, name, *cells))
    return markdown_table(("feature", "problem", *(method.title for method in shown)), lines)


def _last(row: Row | None, rows: Sequence[Row]) -> str:
    """A method's loss at the end, and how many seeds it is of if others have more."""
    if row is None:
        return "-"
    value = f"**{row.last:.3f}**" if row.last == min(r.last for r in rows) else f"{row.last:.3f}"
    if row.seeds == max(r.seeds for r in rows):
        return value
    return f"{value} ({row.seeds} seed{'s' if row.seeds > 1 else ''})"


def _problem(name: str, rows: Sequence[Row], run: Run) -> list[str]:
    head = ("method", "seeds", *(f"{mark:.0%}" for mark in MARKS), "s per trial")
    return [
        f"### {name}",
        "",
        prose(f"{ABOUT[name].text} {run.budget:g} evaluations, {run.workers} trials at a time."),
        "",
        *markdown_table(
            head,
            ((METHODS[r.method].title, str(r.seeds), *r.losses, f"{r.seconds:.2g}") for r in rows),
        ),
    ]
