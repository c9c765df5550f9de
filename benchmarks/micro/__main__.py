"""``python -m benchmarks.micro``: run the cases, keep the figures, print the table."""

from __future__ import annotations

import os

# Before NumPy and torch come in: with threads, two cores measure how these get in each other's way.
os.environ["OMP_NUM_THREADS"] = "1"

import json
from pathlib import Path
from typing import Any

import click
import pytest

from benchmarks.micro import table
from benchmarks.micro.proposals import MAKE, OURS, Search
from benchmarks.race.runs import this_machine

_FILE = "bench_proposals.py"


class Cases:
    """The pytest plugin that says what is measured, and what of it is kept.

    Args:
        dimensions: Hyperparameters.
        observations: Points known at the start.
        proposals: How many are timed after the first; with thousands of observations fewer.
        peer_up_to: Observations up to which Optuna is measured too.
        out: The file of figures.
    """

    def __init__(
        self,
        dimensions: list[int],
        observations: list[int],
        proposals: int,
        peer_up_to: int,
        out: Path,
    ) -> None:
        self._dimensions = dimensions
        self._observations = observations
        self._proposals = proposals
        self._peer_up_to = peer_up_to
        self._out = out

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Each searcher on each case, the searchers of a case one after the other."""
        cases = [
            (d, n, name, self._count(n))
            for n in self._observations
            for d in self._dimensions
            for name in MAKE
            if name == OURS or n <= self._peer_up_to
        ]
        metafunc.parametrize(("dimensions", "observations", "name", "proposals"), cases)

    def _count(self, observations: int) -> int:
        return max(1, min(self._proposals, 5_000 // observations))

    def pytest_benchmark_update_json(
        self, config: Any, benchmarks: Any, output_json: dict[str, Any]
    ) -> None:
        """Keep the figures: pytest's own file says much more, of the machine too."""
        found = [_figures(entry) for entry in output_json["benchmarks"]]
        kept = {"machine": this_machine(), "versions": table.versions(), "cases": found}
        self._out.parent.mkdir(parents=True, exist_ok=True)
        self._out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def _figures(entry: dict[str, Any]) -> dict[str, Any]:
    stats, more = entry["stats"], entry["extra_info"]
    seconds = {"median_s": stats["median"], "worst_s": stats["max"], **more}
    return {
        **entry["params"],
        **{key: None if value is None else float(f"{value:.4g}") for key, value in seconds.items()},
    }


def _numbers(context: click.Context, parameter: click.Parameter, value: str) -> list[int]:
    return [int(number) for number in value.split(",")]


@click.command()
@click.option(
    "--observations", default="50,200,1000,5000,10000", callback=_numbers, show_default=True
)
@click.option("--dimensions", default="8,20", callback=_numbers, show_default=True)
@click.option("--proposals", default=10, type=click.IntRange(1), show_default=True)
@click.option(
    "--peer-up-to",
    default=1000,
    type=click.IntRange(0),
    show_default=True,
    help="Observations up to which Optuna is measured too: its time grows with their cube.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("benchmarks/results/micro.json"),
    show_default=True,
    help="File of the figures.",
)
def main(
    observations: list[int], dimensions: list[int], proposals: int, peer_up_to: int, out: Path
) -> None:
    """Measure proposals of raytuner and of Optuna's GPSampler, one after the other in one process.

    Each proposal comes after one more observation. Seconds are the processor's.
    """
    for make in MAKE.values():  # imports and caches
        Search(make, 2, 10, seed=0).suggest()
    bench = Path(__file__).with_name(_FILE)
    arguments = [
        str(bench), "-q", "-s", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "timeout=0",
        "--benchmark-timer=time.process_time", "--benchmark-warmup=off",
        f"--benchmark-json={os.devnull}",
    ]  # fmt: skip
    code = pytest.main(
        arguments, plugins=[Cases(dimensions, observations, proposals, peer_up_to, out)]
    )
    if code != 0:
        raise SystemExit(int(code))
    click.echo(table.as_markdown(out))


if __name__ == "__main__":
    main()
