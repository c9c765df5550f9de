"""What a record shows in the place of objects that only Python has."""

from __future__ import annotations

from typing import Any


class StandIn:
    """Stands for a choice or constant that a file cannot hold, such as a class or a function.

    Two of them are the same only if they are one object: objects that differ may look alike. In the
    place of a constraint it holds: the record's configurations kept it.

    Args:
        text: The ``repr`` of the object.

    Example:
        >>> StandIn("<class 'torch.nn.ReLU'>")
        <class 'torch.nn.ReLU'>
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text

    def __call__(self, config: Any) -> bool:
        """As a constraint: it holds."""
        return True


def with_stand_ins(spec: Any) -> Any:
    """The spec of a space (:mod:`raytuner.space.spec`) in which each object has its stand-in."""
    if isinstance(spec, dict):
        if spec.get("type") == "object":
            return StandIn(str(spec.get("repr")))
        return {key: with_stand_ins(value) for key, value in spec.items()}
    if isinstance(spec, list):
        return [with_stand_ins(item) for item in spec]
    return spec
