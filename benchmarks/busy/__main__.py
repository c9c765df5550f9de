"""``python -m benchmarks.busy``: whether slots wait, and for how long hooks hold Ray's loop."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

from contextlib import nullcontext
from itertools import product
from pathlib import Path

import click

from benchmarks.busy import hooks, short, slots, virtual


@click.group()
def main() -> None:
    """Measurements for benchmarks/BUSY.md, each as rows of a Markdown table."""


@main.command("slots")
@click.argument("names", nargs=-1, type=click.Choice(list(slots.SEARCHERS)), required=True)
@click.option("--slots", "n", default=16, show_default=True)
@click.option("--trials", default=480, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="That a trial sleeps.")
@click.option("--reuse-actors", is_flag=True)
@click.option("--limit", is_flag=True, help="Set max_concurrent_trials to the slots.")
def busy(
    names: list[str], n: int, trials: int, seconds: float, reuse_actors: bool, limit: bool
) -> None:
    """Share of the slots' time in which trials train, on a real Ray cluster."""
    for name in names:
        result = slots.measure(
            slots.SEARCHERS[name](),
            slots=n,
            trials=trials,
            seconds=seconds,
            reuse_actors=reuse_actors,
            limit=limit,
        )
        said = ", ".join(f"{count} {kind}" for kind, count in result.counts.items())
        click.echo(
            f"| {name}{', limited' if limit else ''} | {'yes' if reuse_actors else 'no'}"
            f" | {result.share:.1%} | {result.filled_s:.0f} | {result.window_s:.0f}"
            f" | {result.processes} of {trials}"
            f" | {result.best:.4f} | {said} |"
        )


@main.command("hooks")
@click.option("--observations", default=1000, show_default=True, help="Trials that have ended.")
@click.option("--slots", default=64, show_default=True, help="Trials that are live.")
@click.option("--events", default=2000, show_default=True)
@click.option("--picture", type=click.Path(path_type=Path), help="File of a histogram.")
def hold(observations: int, slots: int, events: int, picture: Path | None) -> None:
    """Milliseconds for which each hook holds Ray's loop."""
    hooks.main(observations, slots, events, picture)


@main.command("virtual")
@click.option("--workers", default=1000, show_default=True)
@click.option("--trials", default=3000, show_default=True)
@click.option("--inside", is_flag=True, help="Compute inside suggest, charged to the loop.")
def simulated(workers: int, trials: int, inside: bool) -> None:
    """Utilisation on the virtual clock, until the last trial has started."""
    simulation, seconds, counts = virtual.run(workers, trials, not inside)
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    last = max(trial.started_at for trial in simulation.trials if trial.started_at is not None)
    best = min(trial.value for trial in simulation.trials if trial.value is not None)
    click.echo(
        f"| {'inside suggest' if inside else 'background'} | {workers} | {trials}"
        f" | {simulation.utilisation(end_s=last):.1%} | {simulation.end_s:.0f} | {best:.3f}"
        f" | {said} | {seconds:.0f} |"
    )


@main.command("short")
@click.option("--seconds", "lengths", multiple=True, default=[0.01], help="That a trial sleeps.")
@click.option("--slots", "widths", multiple=True, default=[2, 16], show_default=True)
@click.option("--trials", default=30, show_default=True)
@click.option("--seeds", default=5, show_default=True)
@click.option("--virtual", "is_virtual", is_flag=True, help="On the virtual clock, without Ray.")
def short_trials(
    lengths: list[float], widths: list[int], trials: int, seeds: int, is_virtual: bool
) -> None:
    """Regret at equal numbers of short trials, with a process beside them and without one."""
    with nullcontext() if is_virtual else short.ray_cluster():
        for seconds, n, background in product(lengths, widths, (True, False)):
            cell = short.Cell(seconds, n, trials, background)
            run = cell.simulated if is_virtual else cell.on_ray
            click.echo(short.row(cell, [run(seed) for seed in range(seeds)]))


if __name__ == "__main__":
    main()
