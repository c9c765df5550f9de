"""`raytuner demo`."""

from __future__ import annotations

import click

from raytuner.cli.common import exit_as, quieten_ray, setting_options
from raytuner.errors import SettingError
from raytuner.folders import Folder


@click.command()
@click.option("--compare", is_flag=True, help="Give Ray's own random search the same time, too.")
@click.option(
    "--time-budget-s",
    type=click.FloatRange(0, min_open=True),
    default=90.0,
    show_default=True,
    help="Seconds for the search.",
)
@click.option(
    "--num-samples",
    type=int,
    default=60,
    show_default=True,
    help="Trials at the most; -1 for as many as there is time for.",
)
@setting_options(["seed", "storage_path"])
def demo(
    compare: bool,
    time_budget_s: float,
    num_samples: int,
    seed: int | None,
    storage_path: Folder | None,
) -> None:
    """Tune a network that reads handwritten digits, in about two minutes on two cores."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise SettingError(
            "the demo needs scikit-learn, for its digits: pip install 'raytuner[demo]'"
        ) from None
    from rich.console import Console

    from raytuner.demo.run import run_demo

    quieten_ray()
    study = run_demo(
        Console(),
        compare=compare,
        seed=0 if seed is None else seed,
        time_budget_s=time_budget_s,
        num_samples=num_samples,
        storage_path=storage_path,
    )
    exit_as(study)
