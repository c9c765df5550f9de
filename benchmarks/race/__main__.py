"""``python -m benchmarks.race``: run what the results lack, and print the table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.families import FAMILIES, benchmark
from benchmarks.race.figures import summaries
from benchmarks.race.methods import METHODS
from benchmarks.race.plan import FULL, QUICK
from benchmarks.race.runs import STARTS, Store
from benchmarks.race.table import as_markdown
from benchmarks.race.workers import run_all


def names(context: click.Context, parameter: click.Parameter, value: str | None) -> list[str]:
    """Of an option that names several, with commas between."""
    return [name.strip() for name in value.split(",") if name.strip()] if value else []


@click.command()
@click.option("--quick", "plan", flag_value="quick", help="Ten minutes on two idle cores.")
@click.option("--full", "plan", flag_value="full", default=True, help="Everything (the default).")
@click.option(
    "--benchmark",
    "family",
    type=click.Choice(FAMILIES),
    default="lcbench",
    show_default=True,
    help="The family of problems.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of the family's data. Default: RAYTUNER_YAHPO_DATA or RAYTUNER_TASKSET_DATA.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("benchmarks/results"),
    show_default=True,
    help="Folder in which runs are kept.",
)
@click.option("--methods", callback=names, help="Names with commas between; see --list.")
@click.option(
    "--instances",
    callback=names,
    help='Names with commas between, such as OpenML task ids; "development" or "test".',
)
@click.option("--workers", type=click.IntRange(1), help="Trials at the same time.")
@click.option("--budget", type=float, help="Mean full trainings a worker.")
@click.option("--seeds", type=click.IntRange(1), help="Seeds, from 0.")
@click.option(
    "--until",
    type=click.FloatRange(0, 1, min_open=True),
    help="Break runs off after this share of the budget; runs that got further are kept.",
)
@click.option(
    "--start-s",
    type=click.FloatRange(0),
    help="Virtual seconds of each start or resume of a trial. Default: 0.",
)
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 2), help="Processes.")
@click.option("--list", "only_list", is_flag=True, help="List the methods, and run none.")
def main(
    plan: str,
    family: str,
    data: Path | None,
    results: Path,
    methods: Sequence[str],
    instances: Sequence[str],
    workers: int | None,
    budget: float | None,
    seeds: int | None,
    until: float | None,
    start_s: float | None,
    jobs: int,
    only_list: bool,
) -> None:
    """Race raytuner against its peers on a virtual clock.

    Each run is kept as it ends and is not run again. A method whose packages are not installed is
    named and left out: run it from an environment that has them, into the same results.
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise click.UsageError(f"unknown methods {', '.join(unknown)}; known: {', '.join(METHODS)}")
    if only_list:
        for method in METHODS.values():
            click.echo(f"{method.name:24} {method.title}; {method.missing() or 'installed'}")
        return
    chosen = (QUICK if plan == "quick" else FULL).changed(
        methods=methods,
        instances=instances,
        workers=workers,
        budget=budget,
        seeds=seeds,
        until=until,
        start_s=start_s,
    )
    try:
        wanted = chosen.tasks(benchmark(family, data))
    except (KeyError, ValueError) as error:
        raise click.UsageError(str(error.args[0])) from error
    # In a folder of their own, so that no table of free starts has them.
    store = Store(results / STARTS if chosen.start_s else results)
    absent = {name: why for name in chosen.methods if (why := METHODS[name].missing())}
    left_out = run_all(wanted, absent, store, jobs)
    runs = [run for run in store.runs() if run.key in wanted]
    click.echo(as_markdown(summaries(runs), left_out))


if __name__ == "__main__":
    main()
