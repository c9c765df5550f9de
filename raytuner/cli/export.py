"""`raytuner export`: the trials for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from raytuner.cli.common import FOLDER, load
from raytuner.errors import SettingError
from raytuner.folders import Folder

_FORMATS = {".csv": "csv", ".parquet": "parquet", ".db": "optuna", ".sqlite3": "optuna"}


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "parquet", "optuna"]),
    help="What to write.  [default: by the name of OUTPUT]",
)
def export(folder: Folder, output: Path, form: str | None) -> None:
    """Write the trials of a study to OUTPUT.

    CSV (.csv) and Parquet (.parquet) hold a row a trial. An Optuna storage (.db) holds learning
    curves too, and `optuna-dashboard sqlite:///OUTPUT` opens it.
    """
    form = form or _FORMATS.get(output.suffix.lower())
    if form is None:
        raise SettingError(
            f"{output} does not say in which format to write: end it in .csv, .parquet or .db, or"
            " give --format"
        )
    study = load(folder)
    if not output.parent.is_dir():
        raise SettingError(f"there is no folder {output.parent} to write {output.name} to")
    try:
        if form == "optuna":
            from raytuner.study.optuna_storage import write_storage

            write_storage(study, output)
        else:
            from raytuner.study.table import write_table

            write_table(study, output, form)
    except OSError as error:
        raise SettingError(f"cannot write {output}: {error.strerror or error}") from error
    click.echo(f"{len(study.history)} trials written to {output}", err=True)
