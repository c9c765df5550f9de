"""`raytuner demo`, `check`, `run`, `resume`, `extend` and `confirm`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import raytuner
from raytuner.cli.common import (
    FILE,
    FOLDER,
    INTERRUPTED,
    NOTHING_USABLE,
    given_settings,
    setting_options,
)
from raytuner.cli.loading import load_function, load_space, read_study, search_here
from raytuner.errors import SettingError
from raytuner.folders import Folder
from raytuner.study.settings import SETTINGS, Use, names

if TYPE_CHECKING:
    from raytuner.study.study import Study


def _function(
    ctx: click.Context, param: click.Parameter, name: str | None
) -> Callable[..., Any] | None:
    search_here()  # needed also for the function that the record names
    return None if name is None else load_function(name)


space_option = click.option(
    "--space", "space_file", type=FILE, help="TOML file that describes the search space."
)
trainable_option = click.option(
    "--trainable",
    metavar="MODULE:FUNCTION",
    callback=_function,
    help="The training function, if it has moved.",
)
cpus_option = click.option("--cpus", type=float, help="CPUs of one trial.")
gpus_option = click.option("--gpus", type=float, help="GPUs of one trial, such as 0.5.")


@click.command()
@click.option("--compare", is_flag=True, help="Compare with random search and Ray's ASHA.")
@setting_options(["time_budget_s", "num_samples", "seed", "storage_path"])
def demo(compare: bool, **options: Any) -> None:
    """Tune a network that reads handwritten digits, in about two minutes on two cores.

    By default, the search ends after 90 seconds or 60 trials.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise SettingError(
            "the demo needs scikit-learn for its data: pip install 'raytuner[demo]'"
        ) from None
    from rich.console import Console

    from raytuner.demo.run import run_demo

    exit_as(run_demo(Console(), compare=compare, **given_settings(options)))


@click.command()
@click.argument("study", required=False, metavar="[STUDY.toml]", type=FILE)
@cpus_option
@gpus_option
@click.option(
    "--cluster",
    "cluster_file",
    type=FILE,
    help="The cluster file of `ray up`. Nodes that the autoscaler could add then count too.",
)
def check(
    study: Path | None, cpus: float | None, gpus: float | None, cluster_file: Path | None
) -> None:
    """Check how many trials fit on the cluster at once.

    Checks the cluster that RAY_ADDRESS names, or this machine. The resources of a trial come from
    STUDY.toml or from --cpus and --gpus. Default: one CPU. The exit code is 2 if no node can ever
    hold a trial, including nodes that the autoscaler could add.
    """
    from raytuner.placement import check

    settings: dict[str, Any] = {} if study is None else read_study(study)
    found = check(resources_of(settings.get("resources"), cpus, gpus), cluster_file=cluster_file)
    for line in found.lines():
        click.echo(line)
    found.require()


@click.command()
@click.argument("what", metavar="STUDY.toml | MODULE:FUNCTION")
@space_option
@cpus_option
@gpus_option
@setting_options(list(SETTINGS), defaults=True)
def run(
    what: str, space_file: Path | None, cpus: float | None, gpus: float | None, **options: Any
) -> None:
    """Tune your own training function.

    STUDY.toml defines the study: training function, search space, metric, number of trials and
    other settings, named like the options. Options take precedence.

    MODULE:FUNCTION is imported from the current directory or from installed packages; train:fit is
    the function fit in train.py. The function takes a configuration (a dict), and calls
    ray.tune.report({METRIC: ...}) after each unit of training. This form needs --space, --metric,
    --mode and a budget.
    """
    settings: dict[str, Any] = {"trainable": what}
    if what.endswith(".toml"):
        settings = read_study(Path(what))
    settings |= given_settings(options)
    if "trainable" not in settings:
        raise SettingError(f'{what} names no training function; add trainable = "module:function"')
    trainable = load_function(settings.pop("trainable"))
    if space_file is not None:
        settings["param_space"] = load_space(space_file)
    for name, key in (("param_space", "space"), ("metric", "metric"), ("mode", "mode")):
        if name not in settings:
            raise SettingError(
                f"there is no {key}; give --{key}, or set {key} in the study's file, above its"
                " first [table]"
            )
    if "num_samples" not in settings:
        if not {"time_budget_s", "budget"} & settings.keys():
            raise SettingError(
                "there is no budget; give --num-samples, --time-budget-s or --budget, or set one"
                " of them in the study's file"
            )
        settings["num_samples"] = -1
    settings["resources"] = resources_of(settings.get("resources"), cpus, gpus)

    conclude(raytuner.tune(trainable, settings.pop("param_space"), **settings))


@click.command()
@click.argument("folder", type=FOLDER)
@trainable_option
def resume(folder: Folder, trainable: Callable[..., Any] | None) -> None:
    """Continue an interrupted study.

    Unfinished trials continue from their last checkpoints. Then the remaining trials run.
    """
    study = raytuner.load(folder)
    if not (study.interrupted or study.running):
        raise SettingError(
            f"{folder} has finished; `raytuner extend {folder} --num-samples N` adds trials"
        )
    conclude(study.resume(trainable))


@click.command()
@click.argument("folder", type=FOLDER)
@space_option
@setting_options(["num_samples", *names(Use.CHANGE)])
@trainable_option
def extend(folder: Folder, space_file: Path | None, **options: Any) -> None:
    """Add trials or time to a study that has ended.

    The search learns from all earlier trials, and early stopping compares with them. Other settings
    stay as they were.

    A larger --max-t turns the trials that reached the old one into trials that were stopped there.
    The best of them are tried again from the start: at most half of the new trials.

    --space must have the same hyperparameters as the study's space. Trials outside it stay in the
    record, but the search does not learn from them.
    """
    trainable = options.pop("trainable")
    settings = given_settings(options)
    if not {"num_samples", "time_budget_s", "budget"} & settings.keys():
        raise SettingError("give a budget: --num-samples, --time-budget-s or --budget")
    if space_file is not None:
        settings["param_space"] = load_space(space_file)
    from raytuner.study.run import can_resume

    study = raytuner.load(folder)
    if study.interrupted and can_resume(study.path):
        raise SettingError(f"{folder} was interrupted; run `raytuner resume {folder}` first")
    conclude(study.extend(trainable=trainable, **settings))


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--top", "k", type=int, default=3, show_default=True, help="Number of trials.")
@click.option("--repeats", type=int, default=3, show_default=True, help="Trainings of each trial.")
@click.option("--seed-key", help="Key in the configuration from which the training takes its seed.")
@click.option("--seed", type=int, help="Seed for drawing these seeds.")
@setting_options(["max_concurrent_trials"])
@trainable_option
def confirm(folder: Folder, **options: Any) -> None:
    """Train the best trials again, to find out which of them were only lucky."""
    study = raytuner.load(folder)
    study.confirm(**options)
    conclude(study)


def resources_of(
    known: dict[str, Any] | None, cpus: float | None, gpus: float | None
) -> dict[str, Any] | None:
    """Return the resources of a trial: those of the study's file, changed by the options.

    Raises:
        SettingError: The file asks for several bundles, and options would change one.
    """
    given = {key: n for key, n in (("cpu", cpus), ("gpu", gpus)) if n is not None}
    if not given:
        return known
    if "bundles" in (known or {}):
        raise SettingError(
            "the study's file asks for several bundles, so --cpus and --gpus cannot be used; change"
            " the file"
        )
    return {"cpu": 1, **(known or {}), **given}


def conclude(study: Study) -> None:
    """Print the summary of a study and exit with its exit code."""
    from rich.console import Console

    from raytuner.study.summary import summary

    Console().print(summary(study))
    exit_as(study)


def exit_as(study: Study) -> None:
    """Exit with the exit code of a study."""
    if study.interrupted:
        raise SystemExit(INTERRUPTED)
    if study.history.best is None:
        raise SystemExit(NOTHING_USABLE)
