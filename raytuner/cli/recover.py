"""`raytuner recover`."""

from __future__ import annotations

from pathlib import Path

import click

from raytuner.cli.common import FOLDER, setting_options, space_option
from raytuner.cli.loading import load_space


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    metavar="NEW",
    help="A new folder to write the record to.  [default: FOLDER; the damaged file is kept there]",
)
@space_option
@setting_options(["metric", "mode"])
def recover(
    folder: Path, to: Path | None, space_file: Path | None, metric: str | None, mode: str | None
) -> None:
    """Save what can be saved of a study whose record is damaged or gone.

    Ray's own files complete what is left of the record. Stop a running study first. Give the search
    space, the metric and the mode if nothing else says them any more.
    """
    from raytuner.report import text
    from raytuner.study import recover

    space = None if space_file is None else load_space(space_file)
    found = recover(folder, to, param_space=space, metric=metric, mode=mode)
    for line in found.lines():
        click.echo(text.printable(line))
