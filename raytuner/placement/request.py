"""What one trial needs of a cluster: one way to say it, checked before anything waits for it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ray.tune import PlacementGroupFactory

from raytuner.controller.packing import Bundle, summed
from raytuner.errors import SettingError

# What a person may write: a dict, several of them for a trial on several processes, Ray's own
# PlacementGroupFactory, a Request, or a function of the configuration that returns one of these.
Resources = (
    Mapping[str, Any]
    | Sequence[Mapping[str, Any]]
    | PlacementGroupFactory
    | Callable[[dict[str, Any]], Any]
    | Any
)

STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")

ACCELERATOR = "accelerator_type:"
# Each node has 1 of its accelerator's type, so that so small a share asks for the type alone.
_TYPE_SHARE = 0.001
_TOO_MUCH = 1e18  # of anything
_MOST_WORKERS = 10_000  # of one trial
_GRAIN = 0.0001  # Ray counts resources in these; less is nothing
_NAMES = {"cpu": "CPU", "gpu": "GPU", "cpus": "CPU", "gpus": "GPU"}
_BINARY = {"k": 1, "m": 2, "g": 3, "t": 4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt])(i?)b?", re.IGNORECASE)


@dataclass(frozen=True)
class Request:
    """What one trial asks for.

    Args:
        bundles: Each lies on one node; the trial's own process runs in the first, which may be
            empty where others are not. No amount is 0.
        strategy: How Ray lays several bundles on nodes: "PACK", "SPREAD", "STRICT_PACK" or
            "STRICT_SPREAD".
        trainer: What the workers of a trainer of Ray Train's take, which the training function
            makes: the trainer reserves it by itself, once the trial runs. It counts where trials
            are, so that no trial holds what another's workers wait for.

    Example:
        >>> print(Request.of({"cpu": 2, "gpu": 0.5, "accelerator_type": "A100"}))
        2 CPU, 0.5 GPU, on A100
        >>> print(Request.of([{"cpu": 1}, {"gpu": 1}, {"gpu": 1}]))
        1 CPU + 2 x (1 GPU), PACK
        >>> print(Request.of({"cpu": 1, "trainer": {"workers": 4, "gpu": 1}}))
        1 CPU; its trainer for 4 x (1 GPU)
        >>> Request.of({"gpu": 1.5})
        Traceback (most recent call last):
        ...
        raytuner.errors.SettingError: resources['gpu'] is 1.5; a trial gets a part of one GPU ...
    """

    bundles: tuple[Bundle, ...]
    strategy: str = "PACK"
    trainer: tuple[Bundle, ...] = ()

    @classmethod
    def of(cls, resources: Resources, where: str = "resources") -> Request:
        """A request from what a person wrote.

        Args:
            resources: A dict of amounts by name: ``cpu``, ``gpu``, ``memory`` (bytes, or text such
                as "8GiB"), ``accelerator_type`` (Ray's name of one, such as "A100") and custom
                resources; what is not named is not asked for. ``trainer`` is a dict of ``workers``,
                their number, and what each of them needs. Several bundles are a list of such dicts,
                or ``{"bundles": [...], "strategy": "SPREAD"}``. A ``PlacementGroupFactory``
                or a request.
            where: What the resources are called in an error.

        Raises:
            SettingError: What Ray could not place, or cannot be read.
        """
        if isinstance(resources, Request):
            return resources
        if isinstance(resources, PlacementGroupFactory):
            head: list[dict[str, float]] = [{}] if resources.head_bundle_is_empty else []
            return cls._checked([*head, *resources.bundles], resources.strategy, where)
        if isinstance(resources, Mapping) and "bundles" in resources:
            if unknown := resources.keys() - {"bundles", "strategy"}:
                raise SettingError(
                    f"{where} has {', '.join(sorted(map(repr, unknown)))} beside 'bundles'; put it"
                    " into the bundle that is to have it"
                )
            return cls._checked(resources["bundles"], resources.get("strategy", "PACK"), where)
        if isinstance(resources, Mapping):
            own = {key: amount for key, amount in resources.items() if key != "trainer"}
            trainer = _workers(resources["trainer"], where) if "trainer" in resources else ()
            return replace(cls._checked([own], "PACK", where), trainer=trainer)
        if isinstance(resources, Sequence) and not isinstance(resources, str | bytes):
            return cls._checked(resources, "PACK", where)
        raise SettingError(
            f"{where} is {resources!r} ({type(resources).__name__}); it must be a dict such as"
            " {'cpu': 2, 'gpu': 0.5}, a list of such dicts, a PlacementGroupFactory or a function"
            " of the configuration"
        )

    @classmethod
    def _checked(cls, bundles: Any, strategy: Any, where: str) -> Request:
        if strategy not in STRATEGIES:
            raise SettingError(
                f"the strategy of {where} is {strategy!r}; it must be one of"
                f" {', '.join(STRATEGIES)}"
            )
        if (
            not isinstance(bundles, Sequence)
            or isinstance(bundles, str | bytes)
            or not all(isinstance(bundle, Mapping) for bundle in bundles)
        ):
            raise SettingError(
                f"the bundles of {where} are {bundles!r}; they must be a list of dicts such as"
                " [{'cpu': 1}, {'gpu': 1}]"
            )
        named = [where] if len(bundles) == 1 else [f"{where}[{n}]" for n in range(len(bundles))]
        read = [_bundle(b, name) for b, name in zip(bundles, named, strict=True)]
        for bundle, name in zip(read[1:], named[1:], strict=True):
            if not bundle:
                raise SettingError(f"{name} asks for nothing; only the first bundle may be empty")
        if not any(read):
            raise SettingError(
                f"{where} asks for nothing, of which a cluster holds any number of trials; name an"
                " amount, such as {'cpu': 1}"
            )
        return cls(tuple(MappingProxyType(bundle) for bundle in read), strategy)

    def __reduce__(self) -> tuple[Any, ...]:
        return Request.of, (self.as_dict(),)  # a mapping proxy cannot be pickled

    @property
    def total(self) -> dict[str, float]:
        """All of it together, by Ray's names."""
        return summed((*self.bundles, *self.trainer))

    def to_ray(self) -> PlacementGroupFactory:
        """The request as Ray Tune takes it."""
        return PlacementGroupFactory([dict(bundle) for bundle in self.bundles], self.strategy)

    def as_dict(self) -> dict[str, Any]:
        """The request as :meth:`of` reads it, of values that JSON holds."""
        bundles = [_written(bundle) for bundle in self.bundles]
        if self.trainer:
            workers = {"workers": len(self.trainer), **_written(self.trainer[0])}
            return {**bundles[0], "trainer": workers}
        return bundles[0] if len(bundles) == 1 else {"bundles": bundles, "strategy": self.strategy}

    def __str__(self) -> str:
        parts: list[str] = []
        said = [_said(bundle) for bundle in self.bundles if bundle]
        for text in dict.fromkeys(said):  # in this order, each once
            times = said.count(text)
            parts.append(text if times == 1 else f"{times} x ({text})")
        several = len(said) > 1
        if self.trainer:
            parts[-1] += f"; its trainer for {len(self.trainer)} x ({_said(self.trainer[0])})"
        return " + ".join(parts) + (f", {self.strategy}" if several else "")


def for_ray(resources: Resources) -> PlacementGroupFactory | PerConfiguration:
    """What a person wrote, checked, as ``ray.tune.with_resources`` takes it.

    Raises:
        SettingError: What Ray could not place, or cannot be read.
    """
    if isinstance(resources, PlacementGroupFactory):
        Request.of(resources)
        return resources  # as it is: it may carry more options of Ray's
    if callable(resources):
        return PerConfiguration(resources)
    return Request.of(resources).to_ray()


class PerConfiguration:
    """A request that depends on the configuration.

    Args:
        function: From a configuration, a dict, to what :meth:`Request.of` reads.
    """

    def __init__(self, function: Callable[[dict[str, Any]], Any]) -> None:
        self._function = function
        self._name = getattr(function, "__name__", type(function).__name__)

    def __call__(self, config: dict[str, Any]) -> PlacementGroupFactory:
        """The request of a configuration.

        Raises:
            SettingError: What the function returned is no request that Ray could place.
        """
        found = self._function(config)
        where = f"resources, {self._name}(config),"
        request = Request.of(found, where)
        if request.trainer:
            raise SettingError(
                f"{where} have a trainer; give the same for all configurations, since it bounds how"
                " many trials run at a time, or leave it out and set"
                " max_concurrent_trials"
            )
        return found if isinstance(found, PlacementGroupFactory) else request.to_ray()


def recorded(resources: Resources | None) -> Any:
    """The resources as a record can hold them; a function as it is."""
    is_rays = isinstance(resources, PlacementGroupFactory)  # which can be called, too
    if resources is None or (callable(resources) and not is_rays):
        return resources
    request = Request.of(resources)
    return resources if is_rays and resources != request.to_ray() else request.as_dict()


def _bundle(written: Mapping[str, Any], where: str) -> dict[str, float]:
    """One bundle by Ray's names, without what is 0."""
    bundle: dict[str, float] = {}
    for key, amount in written.items():
        place = f"{where}[{key!r}]"
        if not isinstance(key, str) or not key:
            raise SettingError(f"{where} has the name {key!r}; a resource's name is text")
        if key == "custom_resources" and isinstance(amount, Mapping):  # Ray's own way to say it
            bundle |= _bundle(amount, place)
            continue
        if key == "accelerator_type":
            if not isinstance(amount, str) or not amount:
                raise SettingError(
                    f"{place} is {amount!r}; it must be Ray's name of an accelerator, such as"
                    " 'A100' or 'T4' (ray.util.accelerators)"
                )
            bundle[f"{ACCELERATOR}{amount}"] = _TYPE_SHARE
            continue
        name = _NAMES.get(key.lower(), key)
        if name in bundle:
            raise SettingError(f"{where} names {name} twice; give it once")
        number = _bytes(amount, place) if name == "memory" else _number(amount, place)
        if name == "GPU" and number > 1 and number != int(number):
            raise SettingError(
                f"{place} is {amount!r}; a trial gets a part of one GPU (0 to 1) or a whole number"
                " of them"
            )
        if 0 < number < _GRAIN:
            raise SettingError(f"{place} is {amount!r}; Ray takes less than {_GRAIN:g} for nothing")
        if number:
            bundle[name] = number
    return bundle


def _workers(written: Any, where: str) -> tuple[Bundle, ...]:
    """What a trainer's workers take, a bundle each."""
    place = f"{where}['trainer']"
    if not isinstance(written, Mapping) or "workers" not in written:
        raise SettingError(
            f"{place} is {written!r}; it must say how many workers there are and what each needs,"
            " such as {'workers': 2, 'gpu': 1}"
        )
    count = written["workers"]
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MOST_WORKERS:
        raise SettingError(
            f"{place}['workers'] is {count!r}; it must be a whole number from 1 to {_MOST_WORKERS}"
        )
    each = _bundle({key: n for key, n in written.items() if key != "workers"}, place)
    if not each:
        raise SettingError(f"{place} asks for nothing for its workers; name an amount")
    return (MappingProxyType(each),) * count


def _number(amount: Any, place: str) -> float:
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        raise SettingError(f"{place} is {amount!r}; it must be a number >= 0")
    if not 0 <= amount < _TOO_MUCH:
        raise SettingError(f"{place} is {amount!r}; it must be a number >= 0")
    return float(amount)


def _bytes(amount: Any, place: str) -> float:
    """Bytes from a number or from text such as "8GiB"."""
    if not isinstance(amount, str):
        return _number(amount, place)
    found = _SIZE.fullmatch(amount.strip())
    if found is None:
        raise SettingError(f"{place} is {amount!r}; write bytes, or such as '8GiB' or '500MB'")
    base = 1024 if found[3] else 1000
    return math.floor(_number(float(found[1]) * base ** _BINARY[found[2].lower()], place))


def _written(bundle: Bundle) -> dict[str, Any]:
    names = {"CPU": "cpu", "GPU": "gpu"}
    return {names.get(name, name): int(n) if n == int(n) else n for name, n in bundle.items()}


def _said(bundle: Bundle) -> str:
    """A bundle in words."""
    parts = [amount_of(name, n) for name, n in bundle.items() if not name.startswith(ACCELERATOR)]
    types = [name.removeprefix(ACCELERATOR) for name in bundle if name.startswith(ACCELERATOR)]
    return ", ".join([*parts, *(f"on {name}" for name in types)])


def amount_of(name: str, amount: float) -> str:
    """An amount of a resource in words.

    >>> amount_of("GPU", 0.5), amount_of("memory", 8 * 2**30)
    ('0.5 GPU', '8 GiB memory')
    """
    if name in ("memory", "object_store_memory"):
        for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
            if amount >= 1024**power:
                return f"{amount / 1024**power:.4g} {unit} {name}"
        return f"{amount:g} bytes {name}"
    if name.startswith(ACCELERATOR):
        return f"accelerator {name.removeprefix(ACCELERATOR)}"
    return f"{amount:g} {name}"
