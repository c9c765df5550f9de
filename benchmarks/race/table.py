"""The figures as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks.race import figures
from benchmarks.race.figures import MARKS, Summary, grouped
from benchmarks.race.methods import METHODS
from benchmarks.race.runs import Run

_START_MARKS = (0.10, 0.20, 0.50, 1.00)


def as_markdown(summaries: Sequence[Summary], left_out: Iterable[str] = ()) -> str:
    """Tables of the figures, and what was left out.

    Methods that have not run on all problems come last, and say so: their means are of others.
    """
    all_problems = _most_problems(summaries)
    summaries = sorted(summaries, key=lambda s: s.problems < all_problems)
    lines = [
        prose(
            "Mean normalised regret of the best fully trained trial (0: the best possible; 1: the"
            " median of random configurations), with 95 % bootstrap intervals over seeds:"
        ),
        "",
        *regrets(summaries),
        "",
        prose(
            "Mean rank by that regret. Processor seconds of the searcher per trial, and the median"
            " and the largest of one proposal. Share of the workers' time that was training:"
        ),
        "",
        *markdown_table(
            ("method", *_marks(), "s per trial", "median s", "largest s", "busy"),
            ((title_of(s.method), *_ranks(s), *_seconds(s), f"{s.busy:.0%}") for s in summaries),
        ),
        "",
        "Mean normalised regret of the best value of any report:",
        "",
        *markdown_table(
            ("method", *_marks()),
            ((title_of(s.method), *map(figure, s.any)) for s in summaries),
        ),
    ]
    left_out = list(left_out)
    if left_out:
        lines += ["", "Not run:", "", *(f"- {line}" for line in left_out)]
    return "\n".join(lines) + "\n"


def regrets(summaries: Sequence[Summary]) -> list[str]:
    """The lines of a table of regrets at each mark."""
    all_problems = _most_problems(summaries)
    return markdown_table(
        ("method", "runs", *_marks()),
        ((title_of(s.method), _runs(s, all_problems), *_with_intervals(s)) for s in summaries),
    )


def starting(runs: Sequence[Run]) -> list[str]:
    """Return the lines of a table of runs in which a start takes time, the shortest first."""
    rows = []
    for start_s, problem in sorted({(run.start_s, run.problem) for run in runs}):
        here = [run for run in runs if (run.start_s, run.problem) == (start_s, problem)]
        for method, mine in grouped(here).items():
            begun = [sum(run.trials.values()) - run.trials.get("PENDING", 0) for run in mine]
            seeds = len(mine)
            rows.append(
                (
                    problem,
                    f"{start_s:g}",
                    title_of(method),
                    str(seeds),
                    *map(figure, figures.regrets(mine, marks=_START_MARKS).mean(axis=0)),
                    f"{sum(run.starts for run in mine) / max(sum(begun), 1):.2f}",
                    f"{sum(run.starting for run in mine) / seeds:.0%}",
                )
            )
    marks = (f"{mark:.0%}" for mark in _START_MARKS)
    head = ("problem", "s per start", "method", "runs", *marks, "starts per trial", "starting")
    return markdown_table(head, rows)


def _most_problems(summaries: Sequence[Summary]) -> int:
    return max((s.problems for s in summaries), default=0)


def title_of(method: str) -> str:
    """A method's name in tables."""
    return METHODS[method].title if method in METHODS else method


def _runs(summary: Summary, all_problems: int) -> str:
    if summary.problems == all_problems:
        return str(summary.runs)
    return f"{summary.runs}, on {summary.problems} of {all_problems} problems"


def _marks() -> list[str]:
    return [f"{mark:.0%}" for mark in MARKS]


def _ranks(summary: Summary) -> list[str]:
    return ["-" if np.isnan(rank) else f"{rank:.1f}" for rank in summary.rank]


def figure(regret: float) -> str:
    """A regret; a dash if runs were broken off before."""
    return "-" if np.isnan(regret) else f"{regret:.3f}"


def _seconds(summary: Summary) -> list[str]:
    return [f"{s:.2g}" for s in (summary.mean_s, summary.median_s, summary.worst_s)]


def _with_intervals(summary: Summary) -> list[str]:
    cells = []
    for mean, low, high in zip(summary.final, summary.low, summary.high, strict=True):
        interval = f" ({low:.2f} to {high:.2f})" if low < high else ""  # one seed has none
        cells.append(f"{figure(mean)}{interval}")
    return cells


def prose(text: str, indent: str = "") -> str:
    """The text in lines of at most 105 columns; `indent` begins all but the first."""
    return textwrap.fill(
        text, 105, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
