"""The figures as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.features.methods import METHODS
from benchmarks.features.problem import FeatureProblem
from benchmarks.race.figures import grouped, intervals, regrets
from benchmarks.race.runs import Run
from benchmarks.race.table import markdown_table

MARKS = (0.25, 0.50, 1.00)  # shares of the evaluations


@dataclass(frozen=True)
class Row:
    """What a method comes to on a problem: its mean loss at each mark, with an interval, in words.

    Attributes:
        method: Its name.
        seeds: Runs.
        last: Mean loss at the end.
        losses: At each of `MARKS`, with the 95 % bootstrap interval over seeds.
        seconds: Of the searcher, for each trial.
    """

    method: str
    seeds: int
    last: float
    losses: tuple[str, ...]
    seconds: float


def as_markdown(
    runs: Sequence[Run], problems: Sequence[FeatureProblem], left_out: Iterable[str] = ()
) -> str:
    """A table of all problems at the end, one of each problem at each mark, and what is missing."""
    tables = {
        problem.name: rows([run for run in runs if run.problem == problem.name])
        for problem in problems
    }
    lines = [
        "Mean loss at the end, lower is better: 0 is as good as can be, 1 is no answer yet (what"
        " each loss is, is said below; the best of a row in bold; more than 1 counts as 1):",
        "",
        *_overview(problems, tables),
    ]
    for problem in problems:
        lines += ["", *_section(problem, tables[problem.name])]
    left_out = list(left_out)
    if left_out:
        lines += ["", "Not run:", "", *(f"- {line}" for line in left_out)]
    return "\n".join(lines) + "\n"


def rows(runs: Sequence[Run]) -> list[Row]:
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


def _overview(problems: Sequence[FeatureProblem], tables: Mapping[str, Sequence[Row]]) -> list[str]:
    have = {row.method for table in tables.values() for row in table}
    shown = [method for method in METHODS.values() if method.name in have]
    lines = []
    for problem in problems:
        last = {row.method: row.last for row in tables[problem.name]}
        best = min(last.values(), default=0.0)
        cells = [_bold(last.get(method.name), best) for method in shown]
        lines.append((problem.feature, _short(problem), *cells))
    return markdown_table(("feature", "problem", *(method.title for method in shown)), lines)


def _bold(value: float | None, best: float) -> str:
    if value is None:
        return "-"
    return f"**{value:.3f}**" if value == best else f"{value:.3f}"


def _short(problem: FeatureProblem) -> str:
    return problem.name.partition("/")[2]


def _section(problem: FeatureProblem, table: Sequence[Row]) -> list[str]:
    head = ("method", "seeds", *(f"{mark:.0%}" for mark in MARKS), "s a trial")
    return [
        f"### {_short(problem)}: {problem.feature}",
        "",
        f"{problem.about} {problem.evaluations} evaluations, {problem.pending} trials at a time.",
        "",
        *markdown_table(
            head,
            (
                (METHODS[r.method].title, str(r.seeds), *r.losses, f"{r.seconds:.2g}")
                for r in table
                if r.method in METHODS
            ),
        ),
    ]
