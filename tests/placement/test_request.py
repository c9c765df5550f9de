"""One way to say what a trial needs."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest
from ray import cloudpickle
from ray.tune import PlacementGroupFactory

from raytuner.errors import SettingError
from raytuner.placement.request import ResourceRequest, for_ray, recorded

SAME: dict[str, tuple[Any, list[dict[str, float]], str]] = {
    "a dict": ({"cpu": 2, "gpu": 0.5}, [{"CPU": 2, "GPU": 0.5}], "2 CPU, 0.5 GPU"),
    "Ray's names": ({"CPU": 1, "GPU": 2, "slot": 0.5}, [{"CPU": 1, "GPU": 2, "slot": 0.5}], "slot"),
    "nothing of some": ({"cpu": 1, "gpu": 0}, [{"CPU": 1}], "1 CPU"),
    "an accelerator": (
        {"gpu": 1, "accelerator_type": "A100"},
        [{"GPU": 1, "accelerator_type:A100": 0.001}],
        "1 GPU A100",
    ),
    "an accelerator as Ray has it": (
        {"gpu": 1, "accelerator_type:T4": 0.001},
        [{"GPU": 1, "accelerator_type:T4": 0.001}],
        "1 GPU T4",
    ),
    "memory": ({"memory": "1.5 GiB"}, [{"memory": 1.5 * 2**30}], "1.5 GiB memory"),
    "decimal memory": ({"memory": "500MB"}, [{"memory": 500e6}], "476.8 MiB memory"),
    "bytes": ({"memory": 2**20}, [{"memory": 2**20}], "1 MiB memory"),
    "several": (
        [{"cpu": 1}, {"gpu": 1}, {"gpu": 1}],
        [{"CPU": 1}, {"GPU": 1}, {"GPU": 1}],
        r"1 CPU \+ 2 x \(1 GPU\), PACK",
    ),
    "several, spread": (
        {"bundles": [{}, {"cpu": 2}, {"cpu": 2}], "strategy": "STRICT_SPREAD"},
        [{"CPU": 2}, {"CPU": 2}],
        r"2 x \(2 CPU\), STRICT_SPREAD",
    ),
    "a trainer": (
        {"cpu": 1, "trainer": {"workers": 4, "cpu": 2, "gpu": 1}},
        [{"CPU": 1}],  # the trainer reserves the rest
        r"1 CPU; its trainer for 4 x \(2 CPU, 1 GPU\)",
    ),
    "Ray's own": (
        PlacementGroupFactory([{"CPU": 1}, {"GPU": 1}], "SPREAD"),
        [{"CPU": 1}, {"GPU": 1}],
        r"1 CPU \+ 1 GPU, SPREAD",
    ),
}


@pytest.mark.parametrize(("written", "bundles", "said"), SAME.values(), ids=SAME)
def test_what_may_be_written(written: Any, bundles: list[dict[str, float]], said: str) -> None:
    request = ResourceRequest.of(written)
    assert request.to_ray().bundles == bundles
    assert re.search(said, str(request))
    # It reads what it writes to the record, and what it pickles.
    assert ResourceRequest.of(recorded(written)) == request == pickle.loads(pickle.dumps(request))
    assert ResourceRequest.of(request.to_ray()).bundles == request.bundles


WRONG: dict[str, tuple[Any, str]] = {
    "parts of two GPUs": ({"gpu": 1.5}, r"resources\['gpu'\] is 1.5; a trial gets a part of one"),
    "less than none": ({"cpu": -1}, r"resources\['cpu'\] is -1; it must be a number >= 0"),
    "no number": ({"cpu": "2"}, r"resources\['cpu'\] is '2'; it must be a number"),
    "true": ({"gpu": True}, r"resources\['gpu'\] is True; it must be a number"),
    "not a number": ({"gpu": float("nan")}, r"resources\['gpu'\] is nan"),
    "without end": ({"slot": float("inf")}, r"resources\['slot'\] is inf"),
    "twice": ({"gpu": 1, "GPU": 1}, "names GPU twice"),
    "no size": ({"memory": "much"}, r"resources\['memory'\] is 'much'; write bytes, or text"),
    "nothing of all": ({"cpu": 0}, "requests nothing"),
    "no bundles": ([], "requests nothing"),
    "an empty one": ([{"cpu": 1}, {}], r"resources\[1\] requests nothing; only the first"),
    "in a bundle": ([{"cpu": 1}, {"gpu": 2.5}], r"resources\[1\]\['gpu'\] is 2.5"),
    "no list": ({"bundles": 3}, "bundles of resources are 3"),
    "beside bundles": ({"bundles": [{"cpu": 1}], "gpu": 1}, r"has \['gpu'\] next to 'bundles'"),
    "strategy": ({"bundles": [{"cpu": 1}], "strategy": "TIGHT"}, "is 'TIGHT'; it must be one of"),
    "a trainer of no number": (
        {"cpu": 1, "trainer": {"gpu": 1}},
        "must have the number of workers",
    ),
    "no worker": (
        {"cpu": 1, "trainer": {"workers": 0, "gpu": 1}},
        "must have the number of workers",
    ),
    "half a worker": (
        {"cpu": 1, "trainer": {"workers": 0.5, "gpu": 1}},
        "must have the number of workers",
    ),
    "workers with nothing": ({"cpu": 1, "trainer": {"workers": 2}}, "nothing for its workers"),
    "in a trainer": (
        {"cpu": 1, "trainer": {"workers": 2, "gpu": 1.5}},
        r"\['trainer'\]\['gpu'\] is 1.5",
    ),
    "a number": (3, r"resources is 3 \(int\); it must be a dict"),
    "Ray's own": (PlacementGroupFactory([{"GPU": 1.5}]), r"resources\['GPU'\] is 1.5"),
}


@pytest.mark.parametrize(("written", "says"), WRONG.values(), ids=WRONG)
def test_what_may_not(written: Any, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        for_ray(written)


def test_a_factory_of_rays_is_taken_as_it_is() -> None:
    plain = PlacementGroupFactory([{"CPU": 1}, {"CPU": 2}], "SPREAD")
    named = PlacementGroupFactory([{"CPU": 1}], name="mine")
    assert for_ray(named) is named
    # The record holds a dict if that says all of the request, and otherwise Ray's object.
    assert recorded(plain) == {"bundles": [{"cpu": 1}, {"cpu": 2}], "strategy": "SPREAD"}
    assert recorded(named) is named
    assert recorded(None) is None


def test_no_trainer_by_configuration() -> None:
    asked = for_ray(lambda config: {"cpu": 1, "trainer": {"workers": 2, "cpu": 1}})
    with pytest.raises(SettingError, match=r"lambda.*have a trainer, which limits"):
        asked({})


@pytest.mark.parametrize("give", [dict, PlacementGroupFactory, list])
def test_a_function_of_the_configuration(give: Callable[[Any], Any]) -> None:
    def by_width(config: dict[str, Any]) -> Any:
        bundle = {"GPU": config["width"]}
        return give(bundle if give is dict else [bundle])

    asked = for_ray(by_width)
    asked = cloudpickle.loads(cloudpickle.dumps(asked))  # type: ignore[no-untyped-call]
    assert asked({"width": 2}).bundles == [{"GPU": 2}]
    with pytest.raises(SettingError, match=r"by_width\(config\).*'GPU'\] is 1.5"):
        asked({"width": 1.5})
