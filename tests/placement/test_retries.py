"""What a trial is to blame for, and what not; how its share of a GPU is found."""

from __future__ import annotations

import pytest
import torch
from ray.exceptions import ActorUnavailableError, RayActorError, RayTaskError
from ray.tune import PlacementGroupFactory

from raytuner.errors import PlacementError, SettingError
from raytuner.history import History
from raytuner.placement.gpu_memory import Probe, nvidia_smi, wants_fit, with_gpus
from raytuner.placement.retries import alone, is_disk_full, is_loss, is_out_of_memory, shares_gpu
from raytuner.space import Float, Space
from raytuner.study.fit import first_config, fitted


def raised(error: Exception) -> RayTaskError:
    """What Ray makes of an error of a training."""
    text = f"{type(error).__module__}.{type(error).__name__}: {error}"
    return RayTaskError("train", text, error)  # type: ignore[no-untyped-call]


def test_a_lost_node_is_no_failure() -> None:
    died = RayActorError(error_msg="The actor died because its node has died. Node Id: 1")
    assert is_loss(died)
    assert is_loss(raised(died))  # a worker of the trial's own
    assert is_loss(RayActorError(preempted=True))
    assert is_loss(ActorUnavailableError("Socket closed", None))
    assert not is_loss(RayActorError(error_msg="The worker process has died: exit code 1"))
    assert not is_loss(raised(ValueError("my node has died")))
    assert not is_loss(None)


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), True),
        (RuntimeError("CUDA out of memory"), True),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"), True),
        (RuntimeError("shape mismatch"), False),
        (MemoryError("cannot allocate"), False),
    ],
)
def test_a_full_gpu_is_told_from_other_errors(error: Exception, is_one: bool) -> None:
    assert is_out_of_memory(raised(error)) == is_one
    assert not is_out_of_memory(error)


def test_a_full_disk_is_told_from_other_errors() -> None:
    assert is_disk_full(raised(OSError(28, "No space left on device", "checkpoint_000001")))
    assert is_disk_full(raised(OSError("[Errno 122] Error writing bytes: Disk quota exceeded")))
    assert not is_disk_full(raised(OSError(2, "No such file or directory", "data")))
    assert not is_disk_full(OSError(28, "No space left on device"))


def test_a_whole_gpu_for_each_part_of_one() -> None:
    shared = PlacementGroupFactory([{"CPU": 1}, {"GPU": 0.5}, {"GPU": 2}], "SPREAD")
    assert shares_gpu(shared)
    assert alone(shared) == PlacementGroupFactory([{"CPU": 1}, {"GPU": 1}, {"GPU": 2}], "SPREAD")
    empty_head = PlacementGroupFactory([{}, {"GPU": 0.25}])
    assert alone(empty_head) == PlacementGroupFactory([{}, {"GPU": 1}])
    for whole in (PlacementGroupFactory([{"GPU": 1}]), PlacementGroupFactory([{"CPU": 1}]), None):
        assert not shares_gpu(whole)


@pytest.mark.parametrize(
    ("peak", "trials"), [(10, 1), (9, 1), (4.4, 1), (4.3, 2), (2.8, 3), (1, 8), (0.1, 16), (0, 16)]
)
def test_as_many_fit_as_the_margin_allows(peak: float, trials: int) -> None:
    found = Probe(peak=peak, total=10, reports=2)
    assert found.trials == trials
    assert 1 - 0.002 <= found.share * trials <= 1  # as many as that, and not one more
    assert found.share * (trials + 1) > 1


def test_fit_is_a_word_for_a_number() -> None:
    assert wants_fit({"cpu": 1, "gpu": "fit"})
    assert not any(map(wants_fit, ({"gpu": 0.5}, {"cpu": "fit"}, None, [{"gpu": "fit"}])))
    assert with_gpus({"cpu": 1, "GPU": "fit"}, 0.25) == {"cpu": 1, "GPU": 0.25}


def test_what_it_is_found_with() -> None:
    space = Space({"x": Float(0, 1), "epochs": 3})
    assert first_config(space, [{"x": 0.5}], 0) == {"x": 0.5, "epochs": 3}
    assert first_config(space, None, 0) == first_config(space, [], 0)


@pytest.mark.usefixtures("ray_cluster")
def test_no_gpu_to_find_it_out_on() -> None:
    history = History(Space({"x": Float(0, 1)}), metric="loss", mode="min")
    with pytest.raises(PlacementError, match="has 0 GPU of 1 GPU"):
        fitted(lambda config: None, {"gpu": "fit"}, {"x": 0.5}, history)
    with pytest.raises(SettingError, match=r"'registered'.*give gpu a number"):
        fitted("registered", {"gpu": "fit"}, {"x": 0.5}, history)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a real GPU and nvidia-smi")
def test_the_memory_of_a_real_gpu() -> None:
    before, total = nvidia_smi()
    held = torch.zeros(2**30, dtype=torch.uint8, device="cuda")
    after, again = nvidia_smi()
    assert again == total == pytest.approx(torch.cuda.get_device_properties(0).total_memory, 0.05)
    assert 2**30 <= after - before < 3 * 2**30  # the tensor, and CUDA's context
    del held
