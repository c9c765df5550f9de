"""``python -m benchmarks.race.page``: the results page out of the stored runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from benchmarks.features.table import as_section
from benchmarks.micro import table as micro_table
from benchmarks.race.figures import (
    MARKS,
    Summary,
    covering,
    grouped,
    summaries,
    time_to_reach,
)
from benchmarks.race.methods import METHODS
from benchmarks.race.plot import draw
from benchmarks.race.runs import STARTS, Run, Store
from benchmarks.race.table import (
    as_markdown,
    figure,
    markdown_table,
    starting,
    title_of,
)
from benchmarks.yahpo import LCBENCH

OURS = "ours"
MICRO = "micro.json"
CANDIDATES = ("ours+forecasts", "ours+asha", "ours", "random+ray-asha")
DEFAULT_RACE = (8, 12.0)  # workers, and mean full trainings each
DEFAULT_MARKS = (0.10, 0.20, 0.50, 1.00)
# Of the plot in the README: raytuner's default, and what users most often have or come from.
README_METHODS = ("ours+forecasts", "ax", "optuna-tpe", "random+ray-asha")
FEATURES = "features"
REASONS = "not_run.json"

_HEAD = """\
# The race

raytuner against its peers, each on the virtual clock of `raytuner.simulate`. This page is written
by `python -m benchmarks.race.page` from the stored runs; the commands in
[README.md](README.md) make the runs that are missing.

A regret of 0 is the best value that a full training can reach (`references.json`: found by many
local searches, or the best of a table), 1 is the median of random configurations trained in full.
Regrets above 1 count as 1, and so does having no fully trained trial yet. Every problem weighs
the same. Intervals: 95 % bootstrap over seeds, the problems kept. Ranks: over the contests that
all methods with runs on every problem have run. Proposing costs no virtual time; its seconds of
the processor are beside, with BLAS on one thread. Starting and resuming a trial cost none either,
except under "Costs of starting". Every method has the same workers and the same budget. By the
seed, most methods begin with the same configurations on all problems: at the first marks a figure
rests on as many draws as there are seeds. A method that stops most trials after an epoch proposes
up to 4,400 in a run: where each proposal takes a good part of a second, runs were broken off as
planned (`--until`), and what comes after that has a dash. Ray's HEBOSearch proposes for all
workers at once and waits until they all have ended; "unbatched" is told of more workers than there
are, so that none waits.

Elsewhere: whether slots wait for the searcher, and Ray's loop for its hooks, in [BUSY.md](BUSY.md);
whether forecasts of trials come true, in [FORECASTS.md](FORECASTS.md); ways to take trials that
still run into account, in [PENDING.md](PENDING.md); what is lost when something
dies, in [FAULTS.md](FAULTS.md); the driver's memory and time over many trials, in
[LOAD.md](LOAD.md).
"""

_ABOUT_DEFAULT = """\
## The default of `max_t`

What `raytuner.tune(..., max_t=...)` does without a scheduler is chosen by this table: the mean
regrets of the best fully trained trial at 10, 20, 50 and 100 % of the budget, with 8 workers and 12
mean full trainings each. In each family the means are over the problems that all methods with a
figure have run. Freeze-thaw is no candidate, because it needs checkpoints. In brackets: runs. A
dash: not run yet.
"""

_ABOUT_STARTS = """\
## Costs of starting

Each start and each resume of a trial takes some virtual seconds, in which its worker does nothing
else. Ray takes about two; the mean full training takes 263 s on 3945 and 116 s on 189865, so that
13.15 and 5.79 s are 5 % of it. These are development instances, one seed each. The last columns
are the starts and resumes for each trial, and the share of the workers' time that they took.

```sh
python -m benchmarks.race --instances 3945 --seeds 1 --until 0.5 --start-s 13.15 \\
    --methods ours,ours+forecasts,ours+asha,ours+freeze-thaw,random+ray-asha
```
"""

_ABOUT = {
    "lcbench": "LCBench by YAHPO Gym's surrogate: networks for tables, epochs 1 to 52, of which the"
    " first is before any training.",
    "rbv2_rpart": "Decision trees by YAHPO Gym's surrogate, on a mixed space. The resource is the"
    " share of the data, in 27 steps that take equal times.",
    "iaml_glmnet": "Elastic nets by YAHPO Gym's surrogate: two hyperparameters. The resource is the"
    " share of the data, in 27 steps that take equal times.",
    "taskset": "TaskSet: recorded trainings of recurrent networks for texts, 51 reports each. A"
    " configuration has the curve of the nearest of 1,000; some diverge.",
    "real": "Small models of scikit-learn and torch that are really trained, 27 reports each; the"
    " seconds of an epoch are computed from the configuration.",
}


def page(results: Path, plots: Path) -> str:
    """The page.

    Args:
        results: Folder of the runs; of what ``python -m benchmarks.micro`` kept in `MICRO`; of a
            folder `STARTS` of runs in which starts take time; of a folder `FEATURES` of runs of
            ``python -m benchmarks.features``; and of `REASONS`, by hand: methods that were not run,
            and why.
        plots: Folder of the plots, beside which the page is to lie.
    """
    runs = Store(results).runs()
    parts = [_HEAD, *_default(runs), *(_section(race, plots) for race in _races(runs))]
    starts = Store(results / STARTS).runs()
    if starts:
        parts += [_ABOUT_STARTS, *starting(starts), ""]
    features = Store(results / FEATURES).runs()
    if features:
        parts.append(as_section(features))
    if (results / MICRO).is_file():
        table = micro_table.as_markdown(results / MICRO)
        parts += ["## Seconds and memory of a proposal", "", table]
    given = results / REASONS
    parts.append(_absent(runs, json.loads(given.read_text("utf-8")) if given.is_file() else {}))
    parts.append(_origin([*runs, *features]))
    return "\n".join(parts)


def _default(runs: Sequence[Run]) -> list[str]:
    """The methods that could be the default, over all families."""
    cells: dict[str, dict[str, str]] = {method: {} for method in CANDIDATES}
    for race in _races(runs):
        if (race[0].workers, race[0].budget) != DEFAULT_RACE:
            continue
        mine = [run for run in race if run.method in CANDIDATES]
        ran = [{run.problem for run in runs} for runs in grouped(mine).values()]
        for one in summaries([run for run in mine if all(run.problem in p for p in ran)]):
            marks = [figure(one.final[MARKS.index(mark)]) for mark in DEFAULT_MARKS]
            cells[one.method][race[0].benchmark] = f"{' / '.join(marks)} ({one.runs})"
    families = sorted({family for found in cells.values() for family in found})
    if not families:
        return []
    rows = [(title_of(m), *(cells[m].get(f, "-") for f in families)) for m in CANDIDATES]
    return [_ABOUT_DEFAULT, *markdown_table(("method", *families), rows), ""]


def _races(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs of each benchmark with one number of workers and one budget."""
    races: dict[tuple[str, int, float], list[Run]] = {}
    for run in runs:
        races.setdefault((run.benchmark, run.workers, run.budget), []).append(run)
    return [races[name] for name in sorted(races)]


def _section(runs: Sequence[Run], plots: Path) -> str:
    """The race on one benchmark with one number of workers and one budget."""
    benchmark, workers, budget = runs[0].benchmark, runs[0].workers, runs[0].budget
    name = f"{benchmark}-{workers}-workers-{budget:g}-trainings.svg"
    by_method = grouped(runs)
    draw(covering(by_method), plots / name)
    if (benchmark, workers, budget) == ("lcbench", *DEFAULT_RACE):
        chosen = {name: by_method[name] for name in README_METHODS if name in by_method}
        draw(covering(chosen), plots / "readme.svg")
    table = summaries(runs)
    problems = sorted({run.problem for run in runs})
    return "\n".join(
        [
            f"## {benchmark}, {workers} workers, {budget:g} mean full trainings each",
            "",
            _ABOUT.get(benchmark, ""),
            "",
            f"Problems: {', '.join(map(_described, problems))}. Seeds: from 0; as many as there are"
            f" runs, over {len(problems)} problems.",
            "",
            f"![Regret over the budget]({plots.name}/{name})",
            "",
            as_markdown(table),
            *_reaching(runs, table),
        ]
    )


def _described(problem: str) -> str:
    instance = problem.partition("/")[2]
    return f"{instance} (development)" if instance in LCBENCH.development else instance


def _reaching(runs: Sequence[Run], table: Sequence[Summary]) -> list[str]:
    """When each method of ours is as good as each other method is at the end."""
    by_method = grouped(runs)
    ours = [s.method for s in table if s.method.startswith(OURS)]
    if not ours:
        return []
    rows = []
    for other in (s.method for s in table if not s.method.startswith(OURS)):
        cells = []
        for method in ours:
            mine, theirs = _shared(by_method[method], by_method[other])
            share = time_to_reach(mine, theirs) if mine else None
            cells.append(_share(share))
        rows.append((title_of(other), *cells))
    return [
        "Share of the budget after which the mean regret is as low as the other method's at the"
        " end, on the contests both ran:",
        "",
        *markdown_table(("the other method", *map(title_of, ours)), rows),
        "",
    ]


def _share(share: float | None) -> str:
    if share is None:
        return "not reached"
    return "-" if math.isnan(share) else f"{share:.0%}"


def _shared(mine: Sequence[Run], theirs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    contests = {(r.problem, r.seed) for r in mine} & {(r.problem, r.seed) for r in theirs}
    both = [[r for r in runs if (r.problem, r.seed) in contests] for runs in (mine, theirs)]
    return both[0], both[1]


def _absent(runs: Sequence[Run], reasons: Mapping[str, str]) -> str:
    have = {run.method for run in runs}
    lines = [
        f"- {method.title} (`{method.name}`): {reasons.get(method.name, 'not run yet')}"
        for method in METHODS.values()
        if method.name not in have
    ]
    lines += [f"- `{name}`: {why}" for name, why in reasons.items() if name not in METHODS]
    return "\n".join(["## Not run", "", *(lines or ["Nothing: every method has runs."]), ""])


def _origin(runs: Sequence[Run]) -> str:
    machines = sorted({run.machine for run in runs})
    versions: dict[str, set[str]] = {}
    for run in runs:
        for name, version in run.versions.items():
            if name == "raytuner" and not run.method.startswith(OURS):
                continue  # of a peer's run it says little
            versions.setdefault(name, set()).add(version)
    seconds = sum(run.wall_s for run in runs)
    return "\n".join(
        [
            "## Where this comes from",
            "",
            f"{len(runs)} runs, {seconds / 3600:.1f} hours of one process. Machine:"
            f" {'; '.join(machines)}.",
            "",
            "Versions: " + ", ".join(f"{n} {' and '.join(sorted(versions[n]))}" for n in versions),
            "",
        ]
    )


@click.command()
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("benchmarks/results"),
    show_default=True,
    help="Folder of the runs.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("benchmarks/RESULTS.md"),
    show_default=True,
    help="The page; its plots go to a folder plots/ beside it.",
)
def main(results: Path, out: Path) -> None:
    """Write the results page."""
    if not Store(results).runs():
        raise click.UsageError(f"there are no runs in {results}")
    plots = out.parent / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    out.write_text(page(results, plots), encoding="utf-8")
    click.echo(out)


if __name__ == "__main__":
    main()
