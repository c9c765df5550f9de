"""``python -m benchmarks.features``: run what the results lack, and print the tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import click

from benchmarks.features.about import ABOUT
from benchmarks.features.methods import METHODS
from benchmarks.features.plan import SEEDS, plan
from benchmarks.features.problems import PROBLEMS
from benchmarks.features.table import as_section
from benchmarks.race.__main__ import names
from benchmarks.race.method import missing
from benchmarks.race.runs import Store
from benchmarks.race.workers import run_all


@click.command()
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("benchmarks/results/features"),
    show_default=True,
    help="Folder in which runs are kept.",
)
@click.option("--methods", callback=names, help="Names with commas between; see --list.")
@click.option("--problems", callback=names, help="Names with commas between; see --list.")
@click.option("--seeds", default=SEEDS, show_default=True, type=click.IntRange(1))
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 2), help="Processes.")
@click.option("--list", "only_list", is_flag=True, help="List methods and problems; run none.")
def main(
    results: Path,
    methods: Sequence[str],
    problems: Sequence[str],
    seeds: int,
    jobs: int,
    only_list: bool,
) -> None:
    """Show features of search spaces and objectives, each on a problem where it matters.

    Each run is kept as it ends and is not run again. A method whose packages are not installed is
    named and left out: run it from an environment that has them, into the same results.
    """
    _check("methods", methods, METHODS)
    _check("problems", problems, PROBLEMS)
    methods, problems = methods or list(METHODS), problems or list(PROBLEMS)
    if only_list:
        for name in methods:
            method = METHODS[name]
            click.echo(f"{name:24} {method.title}; {missing(method.modules) or 'installed'}")
        for name in problems:
            click.echo(f"{name:24} {ABOUT[name].feature}")
        return
    planned = plan(methods, problems, seeds)
    absent = {name: why for name in methods if (why := missing(METHODS[name].modules))}
    store = Store(results)
    failed = run_all(planned.tasks, absent, store, jobs)
    click.echo(as_section(store.runs(), [*planned.lacking, *failed]))


def _check(what: str, given: Sequence[str], known: Collection[str]) -> None:
    unknown = [name for name in given if name not in known]
    if unknown:
        raise click.UsageError(f"unknown {what} {', '.join(unknown)}; known: {', '.join(known)}")


if __name__ == "__main__":
    main()
