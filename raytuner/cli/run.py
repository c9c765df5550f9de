"""`raytuner run`, `resume`, `extend` and `confirm`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from raytuner.cli.common import FOLDER, conclude, load, quieten_ray, search_options
from raytuner.cli.loading import load_function, load_space
from raytuner.cli.study_file import read_study
from raytuner.errors import SettingError, TrainableError
from raytuner.folders import Folder

if TYPE_CHECKING:
    from raytuner.study import Study


@click.command()
@click.argument("what", metavar="STUDY.toml | MODULE:FUNCTION")
@click.option(
    "--space",
    "space_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file that describes the search space.",
)
@click.option("--metric", help="What the function reports, to be optimised.")
@click.option("--mode", type=click.Choice(["min", "max"]))
@click.option(
    "--num-samples", type=int, help="Number of trials; -1 for as many as a budget allows."
)
@click.option("--max-t", type=float, help="Reports of a full training; turns early stopping on.")
@click.option("--grace-period", type=float, help="No trial stops before this.  [default: 1]")
@click.option(
    "--reduction-factor",
    type=int,
    help="About one trial in so many goes on at each rung.  [default: 3]",
)
@click.option("--scheduler", help="asha, promotion, freeze-thaw, ... (docs/search.md)")
@click.option("--strategy", help="bayes, evolution, random, grid, ... (docs/search.md)")
@click.option("--time-budget-s", type=float, help="Seconds for the search.")
@click.option("--gpu-hours", type=float, help="GPU-hours for the search.")
@click.option(
    "--stop-after-failures",
    type=int,
    help="Stop once this many trials failed for one cause and none succeeded; 0: never.  [default:"
    " 5]",
)
@click.option("--max-silence-s", type=float, help="Seconds after which a silent trial is ended.")
@click.option(
    "--on-silence",
    type=click.Choice(["retry", "fail", "warn"]),
    help="What becomes of it.  [default: retry]",
)
@click.option("--curve", "curves", multiple=True, help="Further metric whose values are all kept.")
@click.option("--cpus", type=float, help="CPUs of one trial.  [default: 1]")
@click.option("--gpus", type=float, help="GPUs of one trial, such as 0.5.  [default: 0]")
@click.option("--max-concurrent", type=int, help="Trials at a time.  [default: as many as fit]")
@click.option("--name", help="Name of the results' own folder.  [default: function and time]")
@click.option("--earlier", multiple=True, type=FOLDER, help="Folder of a study to start from.")
@search_options
def run(
    what: str,
    space_file: Path | None,
    cpus: float | None,
    gpus: float | None,
    earlier: tuple[Folder, ...],
    **options: Any,
) -> None:
    """Tune a training function of your own.

    STUDY.toml holds the whole study: training function, search space, metric, budget and the rest.
    Options given beside it take precedence.

    MODULE:FUNCTION is imported from the current directory or from what is installed; train:fit is
    the function fit in train.py. It takes a configuration, a dict, and calls
    ray.tune.report({METRIC: ...}) after each unit of training. --space, --metric, --mode and a
    budget are needed then.
    """
    settings: dict[str, Any] = {"trainable": what}
    if what.endswith(".toml"):
        settings = read_study(Path(what))
    settings |= {key: value for key, value in options.items() if value not in (None, ())}
    if earlier:
        settings["earlier"] = list(earlier)
    if "trainable" not in settings:
        raise SettingError(f'{what} names no training function; add trainable = "module:function"')
    trainable = load_function(settings.pop("trainable"))
    if space_file is not None:
        settings["param_space"] = load_space(space_file)
    for name, option in (("param_space", "--space"), ("metric", "--metric"), ("mode", "--mode")):
        if name not in settings:
            key = "space" if name == "param_space" else name
            raise SettingError(
                f"there is no {key}: give {option}, or {key} in a study's file"
                + _misplaced(name, settings.get("param_space"))
            )
    if "num_samples" not in settings:
        if not {"time_budget_s", "gpu_hours"} & settings.keys():
            raise SettingError(
                "there is no budget: give --num-samples, --time-budget-s or --gpu-hours, or"
                " [budget] in a study's file"
            )
        settings["num_samples"] = -1
    settings["resources"] = resources_of(settings.get("resources"), cpus, gpus)

    import raytuner

    quieten_ray()
    conclude(raytuner.tune(trainable, settings.pop("param_space"), **settings))


def _misplaced(name: str, space: Any) -> str:
    """Return a hint if a setting stands among the hyperparameters, else an empty text."""
    if name not in getattr(space, "template", {}):
        return ""
    return f". The file has {name} in [space]: put it above the first [table]"


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--trainable", metavar="MODULE:FUNCTION", help="The training function, if it moved.")
def resume(folder: Folder, trainable: str | None) -> None:
    """Go on with an interrupted study.

    Trials that ran go on from their last checkpoints; what was left to do is done.
    """
    study = load(folder)
    if not (study.interrupted or study.running):
        raise SettingError(
            f"{folder} ran to its end; `raytuner extend {folder} --num-samples N` adds trials"
        )
    quieten_ray()
    conclude(study.resume(_function_of(study, trainable)))


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--num-samples", type=int, help="So many more trials.")
@click.option("--max-t", type=float, help="A longer full training; the best are trained again.")
@click.option(
    "--space",
    "space_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file of the search space to go on in, wider or narrower.",
)
@click.option("--time-budget-s", type=float, help="Seconds for these trials.")
@click.option("--gpu-hours", type=float, help="GPU-hours for these trials.")
@click.option("--stop-after-failures", type=int, help="As for run; 0: never.  [default: as before]")
@click.option("--max-concurrent", type=int, help="Trials at a time.  [default: as before]")
@click.option("--trainable", metavar="MODULE:FUNCTION", help="The training function, if it moved.")
def extend(
    folder: Folder,
    num_samples: int | None,
    max_t: float | None,
    space_file: Path | None,
    time_budget_s: float | None,
    gpu_hours: float | None,
    stop_after_failures: int | None,
    max_concurrent: int | None,
    trainable: str | None,
) -> None:
    """Add trials or time to a study that has ended.

    All trials so far are learned from, and early stopping compares with them.

    With a larger --max-t, trials that had reached the old one count as stopped there. The best of
    them, at most half of the new trials, are tried again from their start.

    --space has the same hyperparameters as the study's. Trials that lie outside of it stay in the
    record, but new ones are proposed without them.
    """
    if num_samples is None and time_budget_s is None and gpu_hours is None:
        raise SettingError("extend by what? Give --num-samples, --time-budget-s or --gpu-hours")
    space = None if space_file is None else load_space(space_file)
    study = load(folder)
    if study.interrupted and study.can_resume:
        raise SettingError(f"{folder} was interrupted; `raytuner resume {folder}` comes first")
    quieten_ray()
    conclude(
        study.extend(
            -1 if num_samples is None else num_samples,
            _function_of(study, trainable),
            max_t=max_t,
            param_space=space,
            time_budget_s=time_budget_s,
            gpu_hours=gpu_hours,
            stop_after_failures=stop_after_failures,
            max_concurrent=max_concurrent,
        )
    )


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--top", "k", type=int, default=3, show_default=True, help="So many of the best.")
@click.option("--repeats", type=int, default=3, show_default=True, help="Trainings of each.")
@click.option("--seed-key", help="Key that the training takes its seed from.")
@click.option("--seed", type=int, help="Seed of these seeds.")
@click.option("--max-concurrent", type=int, help="Trainings at a time.  [default: as many as fit]")
@click.option("--trainable", metavar="MODULE:FUNCTION", help="The training function, if it moved.")
def confirm(folder: Folder, trainable: str | None, **options: Any) -> None:
    """Train the best few again, so that the winner is not the luckiest."""
    study = load(folder)
    quieten_ray()
    study.confirm(trainable=_function_of(study, trainable), **options)
    conclude(study)


def _function_of(study: Study, given: str | None) -> Callable[..., Any]:
    """The training function of a study, by the name in its record unless one is given."""
    name = given or study.history.get_meta("trainable")
    if name is None:
        raise TrainableError(
            "the record does not say where the training function is to be found; name it with"
            " --trainable module:function"
        )
    try:
        return load_function(name)
    except TrainableError as error:
        runs = study.history.get_meta("runs", [])
        hint = f". The study was run from {runs[-1]['folder']}: go there" if runs else ""
        raise TrainableError(f"{error}{hint}, or name it with --trainable") from error


def resources_of(
    known: dict[str, Any] | None, cpus: float | None, gpus: float | None
) -> dict[str, Any] | None:
    """What a trial asks for: what a study's file says, with the options in its place.

    Raises:
        SettingError: The file asks for several bundles, and options would change one.
    """
    given = {key: n for key, n in (("cpu", cpus), ("gpu", gpus)) if n is not None}
    if not given:
        return known
    if "bundles" in (known or {}):
        raise SettingError(
            "the study's file asks for several bundles; --cpus and --gpus are for a single one:"
            " change the file"
        )
    return {"cpu": 1, **(known or {}), **given}
