"""What several commands share: exit codes, options, how a study's end becomes an exit code."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from raytuner.folders import Folder, folder_of, is_uri

if TYPE_CHECKING:
    from raytuner.study import Study

_Command = TypeVar("_Command", bound=Callable[..., Any])

NOTHING_USABLE = 1
BAD_INPUT = 2
INTERRUPTED = 130


class FolderType(click.ParamType):  # type: ignore[type-arg]  # of newer versions only
    """A folder of a file system, or one behind a URI."""

    name = "directory"

    def __init__(self, *, exists: bool) -> None:
        self._local = click.Path(exists=exists, file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The folder that a person named."""
        if is_uri(value):
            return folder_of(value)
        return self._local.convert(value, param, ctx)


FOLDER = FolderType(exists=True)
"""The type of an argument that names a study's folder."""


def quieten_ray() -> None:
    """The summary counts failures and says why; Ray would print a traceback for each as well."""
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


def search_options(command: _Command) -> _Command:
    """The options that every search has."""
    for option in (
        click.option("--seed", type=int, help="Seed of the search."),
        click.option(
            "--storage-path",
            type=FolderType(exists=False),
            help="Folder that the results' own folder is made in, or its URI, such as"
            " s3://bucket/runs.  [default: ~/raytuner_results]",
        ),
    ):
        command = option(command)
    return command


def load(folder: Folder) -> Study:
    """The study in a folder.

    Raises:
        HistoryError: There is none.
    """
    import raytuner

    return raytuner.load(folder)


def conclude(study: Study) -> None:
    """Print how a study ended, and end with the exit code that it calls for."""
    from rich.console import Console

    from raytuner.study.summary import summary

    Console().print(summary(study))
    exit_as(study)


def exit_as(study: Study) -> None:
    """End with the exit code that a study calls for."""
    if study.interrupted:
        raise SystemExit(INTERRUPTED)
    if study.history.best() is None:
        raise SystemExit(NOTHING_USABLE)
