"""Options and exit codes that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any, TypeVar

import click

from raytuner.folders import folder_of, is_uri
from raytuner.study.parsing import kinds
from raytuner.study.settings import SETTINGS, TEXTS, Use, parsed

_Command = TypeVar("_Command", bound=Callable[..., Any])

NOTHING_USABLE = 1
BAD_INPUT = 2
INTERRUPTED = 130


class FolderType(click.Path):
    """A local folder or the URI of a folder."""

    def __init__(self, *, exists: bool) -> None:
        super().__init__(exists=exists, file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the folder of a path or URI."""
        return folder_of(value) if is_uri(value) else super().convert(value, param, ctx)


FOLDER = FolderType(exists=True)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def setting_options(
    names: Sequence[str], *, defaults: bool = False
) -> Callable[[_Command], _Command]:
    """Give a command options for settings of a study.

    Args:
        names: The settings. A setting without `Use.OPTION` gets no option.
        defaults: Show the defaults of the settings.
    """

    def decorate(command: _Command) -> _Command:
        for name in reversed(names):
            setting = SETTINGS[name]
            text, kind = TEXTS.get(name, ""), kinds(str(setting.type))[:1]
            if Use.OPTION not in setting.metadata["use"]:
                continue
            if defaults and setting.default not in (None, (), MISSING):
                text += f"  [default: {setting.default}]"
            is_list = kind == (list,)
            type_: Any = str if is_list or setting.metadata["parse"] else kind[0]
            if "Folder" in str(setting.type):
                type_ = FolderType(exists=is_list)
            option = f"--{name.replace('_', '-')}"
            command = click.option(option, type=type_, multiple=is_list, help=text)(command)
        return command

    return decorate


def given_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that the options of a command give.

    Raises:
        SettingError: A value cannot be parsed.
    """
    return {
        name: parsed(name, value, f"--{name.replace('_', '-')}")
        for name, value in options.items()
        if value not in (None, ())
    }
