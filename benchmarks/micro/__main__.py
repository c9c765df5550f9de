"""``python -m benchmarks.micro``: seconds a proposal, as ratios."""

from __future__ import annotations

import os

# Before NumPy and torch come in: with threads, two cores measure how these get in each other's way.
os.environ["OMP_NUM_THREADS"] = "1"

import sys
from importlib.metadata import version

import click

from benchmarks.micro.proposals import Timing, measure, optuna_gp, ours
from benchmarks.race.runs import this_machine
from benchmarks.race.table import markdown_table

_HEAD = ("d", "observations", "raytuner: first, median, worst s", "Optuna GPSampler", "ratio")


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    return [int(number) for number in value.split(",")]


@click.command()
@click.option("--observations", default="50,200,1000", callback=_numbers, show_default=True)
@click.option("--dimensions", default="8,20", callback=_numbers, show_default=True)
@click.option("--proposals", default=10, type=click.IntRange(1), show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(observations: list[int], dimensions: list[int], proposals: int, seed: int) -> None:
    """Time proposals of raytuner and of Optuna's GPSampler, one after the other in one process.

    Each proposal comes after one more observation. The ratio is of the medians: below 1, raytuner
    is the faster.
    """
    measure(ours, 2, 10, 1, seed)  # imports and caches
    measure(optuna_gp, 2, 10, 1, seed)
    rows = []
    for d in dimensions:
        for n in observations:
            mine = measure(ours, d, n, proposals, seed)
            theirs = measure(optuna_gp, d, n, proposals, seed)
            ratio = f"{mine.median / theirs.median:.2f}"
            rows.append((str(d), str(n), _words(mine), _words(theirs), ratio))
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    click.echo("\n".join(markdown_table(_HEAD, rows)))
    packages = ", ".join(f"{name} {version(name)}" for name in ("raytuner", "optuna", "torch"))
    click.echo(f"\n{this_machine()}; {packages}; {proposals} proposals each, seed {seed}.")


def _words(timing: Timing) -> str:
    return f"{timing.first:.2f}, {timing.median:.2f}, {timing.worst:.2f}"


if __name__ == "__main__":
    main()
