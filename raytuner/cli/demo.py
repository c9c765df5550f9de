"""`raytuner demo`."""

from __future__ import annotations

from typing import Any

import click

from raytuner.cli.common import exit_as, given_settings, quieten_ray, setting_options
from raytuner.errors import SettingError


@click.command()
@click.option("--compare", is_flag=True, help="Give Ray's own random search the same time, too.")
@setting_options(["time_budget_s", "num_samples", "seed", "storage_path"])
def demo(compare: bool, **options: Any) -> None:
    """Tune a network that reads handwritten digits, in about two minutes on two cores.

    The search takes 90 seconds or 60 trials if no option says otherwise.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise SettingError(
            "the demo needs scikit-learn, for its digits: pip install 'raytuner[demo]'"
        ) from None
    from rich.console import Console

    from raytuner.demo.run import run_demo

    quieten_ray()
    settings: dict[str, Any] = {"time_budget_s": 90.0, "num_samples": 60}
    settings |= {"seed": 0, "storage_path": None}
    settings |= given_settings(options)
    exit_as(run_demo(Console(), compare=compare, **settings))
