"""Resource requests of trials, checked before any trial waits for one."""

from __future__ import annotations

import functools
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune import PlacementGroupFactory

from raytuner.controller.capacity import Bundle
from raytuner.errors import SettingError

Resources = (
    Mapping[str, Any]
    | Sequence[Mapping[str, Any]]
    | PlacementGroupFactory
    | Callable[[dict[str, Any]], Any]
)
"""The forms in which a user may give a request.

A function takes the configuration and returns one of the other forms.
"""

STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")

_ACCELERATOR = "accelerator_type:"
_TYPE_SHARE = 0.001  # each node has 1 of its accelerator's type: this asks for the type alone
_NAMES = {"cpu": "CPU", "gpu": "GPU", "cpus": "CPU", "gpus": "GPU"}
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt])(i?)b?", re.IGNORECASE)


@dataclass(frozen=True)
class ResourceRequest:
    """The resources that one trial requests.

    Args:
        bundles: The bundles, each on one node. The trial's own process runs in the first, which may
            be empty if there are others. No amount is 0.
        strategy: How Ray places several bundles: "PACK", "SPREAD", "STRICT_PACK" or
            "STRICT_SPREAD".
        trainer: A bundle for each worker of a Ray Train trainer in the training function. The
            trainer reserves them itself once the trial runs. They count when trials are placed, so
            that trials do not use up the resources of other trials' workers.

    Examples:
        >>> print(ResourceRequest.of({"cpu": 2, "gpu": 0.5, "accelerator_type": "A100"}))
        2 CPU, 0.5 GPU A100
        >>> print(ResourceRequest.of([{"cpu": 1}, {"gpu": 1}, {"gpu": 1}]))
        1 CPU + 2 x (1 GPU), PACK
        >>> print(ResourceRequest.of({"cpu": 1, "trainer": {"workers": 4, "gpu": 1}}))
        1 CPU; its trainer for 4 x (1 GPU)
        >>> ResourceRequest.of({"gpu": 1.5})
        Traceback (most recent call last):
        ...
        raytuner.errors.SettingError: resources['gpu'] is 1.5; a trial gets a part of one GPU ...
    """

    bundles: tuple[Bundle, ...]
    strategy: str = "PACK"
    trainer: tuple[Bundle, ...] = ()

    @classmethod
    def of(cls, resources: Resources, where: str = "resources") -> ResourceRequest:
        """Return the request for a user's resources.

        Args:
            resources: A dict of amounts by name: `cpu`, `gpu`, `memory` (bytes, or text such as
                "8GiB"), `accelerator_type` (Ray's name, such as "A100") and custom resources.
                `trainer` is a dict with the number of `workers` and the resources of each worker.
                Several bundles are a list of such dicts, or
                `{"bundles": [...], "strategy": "SPREAD"}`. Ray's `PlacementGroupFactory` also
                works.
            where: The name of the resources in errors.

        Raises:
            SettingError: The resources are invalid, or Ray could not place them.
        """
        if isinstance(resources, PlacementGroupFactory):
            head: list[dict[str, float]] = [{}] if resources.head_bundle_is_empty else []
            bundles = [*head, *resources.bundles]
            return cls(_bundles(bundles, where), _strategy(resources.strategy, where))
        if isinstance(resources, list | tuple):
            return cls(_bundles(resources, where))
        if not isinstance(resources, Mapping):
            raise SettingError(
                f"{where} is {resources!r} ({type(resources).__name__}); it must be a dict such as"
                " {'cpu': 2, 'gpu': 0.5}, a list of such dicts, a PlacementGroupFactory or a"
                " function of the configuration"
            )
        if "bundles" not in resources:
            own = {key: amount for key, amount in resources.items() if key != "trainer"}
            trainer = _workers(resources["trainer"], where) if "trainer" in resources else ()
            return cls(_bundles([own], where), trainer=trainer)
        if unknown := sorted(resources.keys() - {"bundles", "strategy"}):
            raise SettingError(
                f"{where} has {unknown} next to 'bundles'; move it into the bundle that needs it"
            )
        strategy = _strategy(resources.get("strategy", "PACK"), where)
        return cls(_bundles(resources["bundles"], where), strategy)

    @property
    def all_bundles(self) -> tuple[Bundle, ...]:
        """The bundles and those of the trainer's workers."""
        return *self.bundles, *self.trainer

    def to_ray(self) -> PlacementGroupFactory:
        """Return the request as Ray Tune takes it."""
        return PlacementGroupFactory([dict(bundle) for bundle in self.bundles], self.strategy)

    def __str__(self) -> str:
        texts = [describe(bundle) for bundle in self.bundles if bundle]
        counts = {text: texts.count(text) for text in texts}  # each text once, in their order
        request = " + ".join(text if n == 1 else f"{n} x ({text})" for text, n in counts.items())
        if self.trainer:
            request += f"; its trainer for {len(self.trainer)} x ({describe(self.trainer[0])})"
        return request if len(texts) == 1 else f"{request}, {self.strategy}"


def for_ray(resources: Resources) -> PlacementGroupFactory | Callable[[dict[str, Any]], Any]:
    """Return what a user has written, checked, as `ray.tune.with_resources` takes it.

    What a function of the configuration returns is checked when Ray calls it.

    Raises:
        SettingError: The resources cannot be read, or Ray could not place them.
    """
    if isinstance(resources, PlacementGroupFactory):
        ResourceRequest.of(resources)
        return resources  # it may have more of Ray's options
    if callable(resources):
        return functools.partial(_of_configuration, resources)
    return ResourceRequest.of(resources).to_ray()


def recorded(resources: Resources | None) -> Any:
    """Return the resources as values that JSON holds, if these say all of them."""
    is_rays = isinstance(resources, PlacementGroupFactory)  # which is callable, too
    if resources is None or (callable(resources) and not is_rays):
        return resources
    request = ResourceRequest.of(resources)
    if is_rays and resources != request.to_ray():
        return resources
    first, *others = map(_recorded, request.bundles)
    if request.trainer:
        workers = {"workers": len(request.trainer), **_recorded(request.trainer[0])}
        return {**first, "trainer": workers}
    return {"bundles": [first, *others], "strategy": request.strategy} if others else first


def _recorded(bundle: Bundle) -> dict[str, float]:
    names = {"CPU": "cpu", "GPU": "gpu"}
    return {names.get(name, name): int(n) if n == int(n) else n for name, n in bundle.items()}


def describe(amounts: Bundle) -> str:
    """Return the resources of a bundle or node as text.

    Examples:
        >>> describe({"memory": 32 * 2**30, "CPU": 8.0, "GPU": 1.0, "accelerator_type:T4": 1.0})
        '8 CPU, 1 GPU T4, 32 GiB memory'
    """
    names = [n for n in dict.fromkeys(("CPU", "GPU", "memory", *amounts)) if n in amounts]
    texts = {n: describe_amount(n, amounts[n]) for n in names if not accelerator_of(n)}
    if types := "/".join(filter(None, map(accelerator_of, names))):
        texts["GPU"] = f"{texts['GPU']} {types}" if "GPU" in texts else types
    return ", ".join(texts.values()) or "nothing"


def describe_amount(name: str, amount: float) -> str:
    """Return an amount of a resource as text.

    Examples:
        >>> describe_amount("GPU", 0.5), describe_amount("memory", 8 * 2**30)
        ('0.5 GPU', '8 GiB memory')
    """
    if name == "memory":
        for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
            if amount >= 1024**power:
                return f"{amount / 1024**power:.4g} {unit} {name}"
        return f"{amount:g} bytes {name}"
    return f"{amount:g} {name}"


def accelerator_of(name: str) -> str:
    """Return the type of accelerator that a resource stands for; empty for any other resource."""
    return name.removeprefix(_ACCELERATOR) if name.startswith(_ACCELERATOR) else ""


def _of_configuration(
    function: Callable[[dict[str, Any]], Any], config: dict[str, Any]
) -> PlacementGroupFactory:
    """Return the request that a user's function of the configuration returns, checked."""
    found = function(config)
    where = f"resources, {getattr(function, '__name__', type(function).__name__)}(config),"
    request = ResourceRequest.of(found, where)
    if request.trainer:
        raise SettingError(
            f"{where} have a trainer, which limits how many trials run at the same time; give the"
            " same trainer for all configurations, or leave it out and set max_concurrent_trials"
        )
    return found if isinstance(found, PlacementGroupFactory) else request.to_ray()


def _strategy(written: Any, where: str) -> str:
    if written not in STRATEGIES:
        raise SettingError(
            f"the strategy of {where} is {written!r}; it must be one of {', '.join(STRATEGIES)}"
        )
    return str(written)


def _bundles(written: Any, where: str) -> tuple[Bundle, ...]:
    if not isinstance(written, list | tuple) or not all(isinstance(b, Mapping) for b in written):
        raise SettingError(
            f"the bundles of {where} are {written!r}; they must be a list of dicts such as"
            " [{'cpu': 1}, {'gpu': 1}]"
        )
    names = [where] if len(written) == 1 else [f"{where}[{n}]" for n in range(len(written))]
    bundles = tuple(_bundle(each, name) for each, name in zip(written, names, strict=True))
    if not any(bundles):
        raise SettingError(
            f"{where} requests nothing, so any number of trials would fit on a cluster; give an"
            " amount, such as {'cpu': 1}"
        )
    if not all(bundles[1:]):
        empty = names[bundles.index({}, 1)]
        raise SettingError(f"{empty} requests nothing; only the first bundle may be empty")
    return bundles


def _bundle(written: Mapping[str, Any], where: str) -> dict[str, float]:
    """Return one bundle by Ray's names, without what is 0."""
    bundle: dict[str, float] = {}
    for key, amount in written.items():
        place = f"{where}[{key!r}]"
        name, number = _NAMES.get(str(key).lower(), str(key)), amount
        if name == "accelerator_type":
            name, number = f"{_ACCELERATOR}{amount}", _TYPE_SHARE
        elif name == "memory" and isinstance(amount, str):
            number = _bytes(amount, place)
        if name in bundle:
            raise SettingError(f"{where} names {name} twice; give it once")
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not is_number or not 0 <= number <= sys.float_info.max:
            raise SettingError(f"{place} is {amount!r}; it must be a number >= 0")
        if name == "GPU" and number > 1 and number != int(number):
            raise SettingError(
                f"{place} is {amount!r}; a trial gets a part of one GPU (0 to 1) or a whole number"
                " of them"
            )
        if number:
            bundle[name] = float(math.floor(number) if name == "memory" else number)
    return bundle


def _bytes(written: str, place: str) -> float:
    found = _SIZE.fullmatch(written.strip())
    if found is None:
        raise SettingError(f"{place} is {written!r}; write bytes, or text like '8GiB' or '500MB'")
    return float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].lower()]


def _workers(written: Any, where: str) -> tuple[Bundle, ...]:
    """Return a bundle for each of a trainer's workers."""
    place = f"{where}['trainer']"
    count = written.get("workers") if isinstance(written, Mapping) else None
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise SettingError(
            f"{place} is {written!r}; it must have the number of workers and the resources of each,"
            " such as {'workers': 2, 'gpu': 1}"
        )
    each = _bundle({key: n for key, n in written.items() if key != "workers"}, place)
    if not each:
        raise SettingError(f"{place} requests nothing for its workers; give an amount")
    return (each,) * count
