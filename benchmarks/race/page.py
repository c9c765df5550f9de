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
    prose,
    starting,
    title_of,
)
from benchmarks.yahpo import LCBENCH

OURS = "ours"
MICRO = "micro.json"
CANDIDATES = ("ours+forecasts", "ours+asha", "ours", "random+ray-asha")
DEFAULT_RACE = (8, 12.0)  # workers, and mean full trainings each
DEFAULT_MARKS = (0.10, 0.20, 0.50, 1.00)
# The README plots raytuner's default beside three searches that many people use.
README_METHODS = ("ours+forecasts", "ax", "optuna-tpe", "random+ray-asha")
FEATURES = "features"
REASONS = "not_run.json"

_HEAD = """\
# The race

raytuner and other libraries, each on the virtual clock of `raytuner.simulate`.
`python -m benchmarks.race.page` writes this page from the stored runs. The commands in
[README.md](README.md) make the runs.

**Regret.** 0 is the best value that a full training can reach. It is found by many local searches,
or is the best of a table (`references.json`). 1 is the median of random configurations trained in
full. Regrets above 1 count as 1. A search without a fully trained trial has a regret of 1. Every
problem has the same weight.

**Intervals and ranks.** Intervals are 95 % bootstrap intervals over seeds, with the problems fixed.
A contest is one problem with one seed. Ranks compare the methods that have runs on every problem,
on the contests that all of these methods have run. With the same seed, most methods begin with the
same configurations on all problems. So the first columns rest on only as many draws as there are
seeds.

**Time.** Every method has the same workers and the same budget. Proposals take no virtual time. The
tables show their processor seconds, with BLAS on one thread. Starts and resumes of trials take no
virtual time, except under "Costs of starting".

**Dashes.** A method that stops most trials after one epoch proposes up to 4,400 configurations in a
run. If each proposal takes a good part of a second, runs were stopped early, as planned
(`--until`). The columns after that have a dash.

**HEBO.** Ray's HEBOSearch proposes for all workers at once, and waits until all of them have
finished. "HEBO, unbatched" is given a larger number of workers than there are, so that none waits.

Other pages: [BUSY.md](BUSY.md) shows whether slots wait for the searcher and for how long its hooks
hold Ray's loop, [FORECASTS.md](FORECASTS.md) whether forecasts of trials come true,
[PENDING.md](PENDING.md) ways to account for pending trials, [FAULTS.md](FAULTS.md) what is lost
when something fails, and [LOAD.md](LOAD.md) the driver's memory and time over many trials.
"""

_ABOUT_DEFAULT = """\
## The default of `max_t`

This table decides what `raytuner.tune(..., max_t=...)` does without a scheduler. It shows the mean
regrets of the best fully trained trial at 10, 20, 50 and 100 % of the budget, with 8 workers and 12
mean full trainings each. The means of a family are over the problems that all methods with a figure
have run. Freeze-thaw is not a candidate, because it needs checkpoints. In brackets: the number of
runs. A dash: not run yet.
"""

_ABOUT_STARTS = """\
## Costs of starting

Each start and each resume of a trial takes some virtual seconds, and its worker does nothing
meanwhile. On Ray it is about two seconds. The mean full training takes 263 s on 3945 and 116 s on
189865, so 13.15 and 5.79 s are 5 % of it. These are development instances, with one seed each. The
last columns are the starts and resumes per trial, and the share of worker time that they took.

```sh
python -m benchmarks.race --instances 3945 --seeds 1 --until 0.5 --start-s 13.15 \\
    --methods ours,ours+forecasts,ours+asha,ours+freeze-thaw,random+ray-asha
```
"""

_ABOUT = {
    "lcbench": "LCBench, from YAHPO Gym's surrogate: networks on tabular data, epochs 1 to 52."
    " Epoch 1 is before any training.",
    "rbv2_rpart": "Decision trees, from YAHPO Gym's surrogate, on a mixed space. The resource is"
    " the share of the data, in 27 steps that take equal times.",
    "iaml_glmnet": "Elastic nets, from YAHPO Gym's surrogate, with two hyperparameters. The"
    " resource is the share of the data, in 27 steps that take equal times.",
    "taskset": "TaskSet: recorded trainings of recurrent networks on text, 51 reports each. A"
    " configuration has the curve of the nearest of 1,000 recorded ones. Some diverge.",
    "real": "Small models of scikit-learn and torch that are really trained, 27 reports each. The"
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
        chosen = {one: by_method[one] for one in README_METHODS if one in by_method}
        draw(covering(chosen), plots / "readme.svg")
    table = summaries(runs)
    problems = sorted({run.problem for run in runs})
    return "\n".join(
        [
            f"## {benchmark}, {workers} workers, {budget:g} mean full trainings each",
            "",
            prose(_ABOUT.get(benchmark, "")),
            "",
            prose(
                f"{len(problems)} problem{'s' if len(problems) > 1 else ''}:"
                f" {', '.join(map(_described, problems))}. One run per problem and seed, with seeds"
                " from 0."
            ),
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
        prose(
            "Share of the budget until the mean regret is as low as the other method's at the end,"
            " on the contests that both ran:"
        ),
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
        _item(f"{method.title} (`{method.name}`): {reasons.get(method.name, 'not run yet')}")
        for method in METHODS.values()
        if method.name not in have
    ]
    lines += [_item(f"`{name}`: {why}") for name, why in reasons.items() if name not in METHODS]
    return "\n".join(["## Not run", "", *(lines or ["Nothing: every method has runs."]), ""])


def _item(text: str) -> str:
    return prose(f"- {text}", indent="  ")


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
            prose(
                f"{len(runs)} runs, {seconds / 3600:.1f} hours of one process. Machine:"
                f" {'; '.join(machines)}."
            ),
            "",
            prose(
                "Versions: "
                + ", ".join(f"{n} {' and '.join(sorted(versions[n]))}" for n in versions)
            ),
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
