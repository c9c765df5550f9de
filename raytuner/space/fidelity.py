"""Hyperparameters that say how much of the real thing a trial is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raytuner.errors import SpaceError
from raytuner.space.choices import is_number
from raytuner.space.domains import Categorical, Domain, Normal, Ordinal, is_monotone


@dataclass(frozen=True)
class Fidelity:
    """A domain that is a fidelity; see :func:`fidelity`.

    Attributes:
        domain: What it may be, from cheap to dear.
    """

    domain: Any


def fidelity(domain: Any, /) -> Fidelity:
    """A hyperparameter that is no choice but a cost: the last of its values is the real thing.

    A smaller network, fewer tokens, a part of the data. Cheap trials say something about dear ones,
    and the answer is among those at full fidelity: at the upper end of a range, or at the last of
    the values of a choice. It is there in every configuration; what else varies is searched.

    Args:
        domain: A range (:class:`Float`, :class:`Integer`), or a list of values from cheap to dear:
            an :class:`Ordinal`, or numbers that increase or decrease.

    Raises:
        SpaceError: Anything else. Raised when the space is made, which names the key.

    Example:
        >>> from raytuner.space import Float, Integer, Space
        >>> space = Space({"dropout": Float(0, 1), "width": fidelity(Integer(16, 256))})
        >>> import numpy as np
        >>> space.decode(space.in_full(np.array([[0.5, 0.1]])))
        [{'dropout': 0.5, 'width': 256}]
    """
    return Fidelity(domain)


def ordered(domain: Any, name: str) -> Domain:
    """The domain of a fidelity, as one with an order.

    Args:
        domain: What was marked.
        name: Of the hyperparameter.

    Raises:
        SpaceError: It has no order or no upper end, or is no domain.
    """
    if isinstance(domain, Categorical):
        values = list(domain.choices)
        if not (all(is_number(v) for v in values) and is_monotone(values)):
            raise SpaceError(
                f"{name}: a fidelity goes from cheap to dear, and the choices {values!r} have no"
                f" order; if that is the order meant, write raytuner.space.Ordinal({values!r})"
            )
        return Ordinal(values)
    if isinstance(domain, Normal):
        raise SpaceError(
            f"{name}: a fidelity ends at the full one, and {domain!r} has no upper end; give a"
            " range or a list of values"
        )
    if not isinstance(domain, Domain):
        raise SpaceError(
            f"{name}: fidelity({domain!r}) must be of one hyperparameter that is always there: a"
            " range, or a list of values from cheap to dear; not of a group, a constant or"
            " something under conditions"
        )
    return domain
