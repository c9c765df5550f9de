"""`raytuner simulate`: a recorded study on other numbers of workers."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("study", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    multiple=True,
    required=True,
    help="Trials that run at the same time; give it again to compare.",
)
@click.option(
    "--price-per-hour", type=click.FloatRange(min=0), help="Price of one worker for an hour."
)
@click.option("--num-samples", type=click.IntRange(min=1), help="Trials.  [default: as recorded]")
@click.option(
    "--time-budget-s",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds after which the study ends.",
)
@click.option(
    "--max-concurrent",
    type=click.IntRange(min=1),
    help="Trials at a time and proposed ahead.  [default: one ahead]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the search.")
def simulate(
    study: Path,
    workers: tuple[int, ...],
    price_per_hour: float | None,
    num_samples: int | None,
    time_budget_s: float | None,
    max_concurrent: int | None,
    seed: int,
) -> None:
    """Predict the time, cost and utilisation of STUDY, a study's folder, on other workers.

    The search runs again on a virtual clock, with the curves and durations that were recorded;
    nothing is trained.
    """
    from rich.console import Console
    from rich.table import Table

    import raytuner
    from raytuner.simulate.predict import predict

    history = raytuner.load(study).history
    table = Table(box=None, header_style="bold")
    columns = ["workers", "time", "worker-hours", *(["cost"] if price_per_hour else [])]
    for column in [*columns, "utilisation", f"best {history.metric}"]:
        table.add_column(column, justify="right")
    for count in workers:
        found = predict(
            history,
            workers=count,
            price_per_hour=price_per_hour,
            num_samples=num_samples,
            time_budget_s=time_budget_s,
            max_concurrent=max_concurrent,
            seed=seed,
        )
        best = found.simulation.best
        value = None if best is None else best.value
        cost = [f"{found.cost:,.2f}"] if price_per_hour and found.cost is not None else []
        table.add_row(
            str(count),
            _duration(found.time_s),
            f"{found.worker_hours:,.2f}",
            *cost,
            f"{found.utilisation:.0%}",
            "-" if value is None else f"{value:.5g}",
        )
    console = Console()
    console.print(table)
    console.print(
        f"The recorded study took {_duration(found.recorded_s)}; a trial's start was taken to need"
        f" {found.startup_s:.1f} s. In the last row {found.borrowed} of"
        f" {found.own + found.borrowed} trials had a new configuration, and the curve of the"
        " nearest recorded one.",
        style="dim",
    )


def _duration(seconds: float) -> str:
    """Seconds as a person reads them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
