"""Gives the reference the signature and the docstring that `raytuner.tune` has at run time."""

from __future__ import annotations

import inspect
from typing import Any

import griffe

import raytuner


class Arguments(griffe.Extension):
    """Gives `raytuner.tune` its signature and docstring."""

    def on_package(self, *, pkg: griffe.Module, **given: Any) -> None:
        """Replace what the source says."""
        function = pkg["study.tuning.tune"]
        function.docstring.value = inspect.getdoc(raytuner.tune)
        function.parameters = griffe.Parameters(
            *(
                griffe.Parameter(
                    name,
                    annotation=one.annotation,
                    kind=griffe.ParameterKind[one.kind.name.lower()],
                    default=None if one.default is one.empty else repr(one.default),
                )
                for name, one in inspect.signature(raytuner.tune).parameters.items()
            )
        )
        function.returns = "Study"
