"""Failures that are not a trial's own fault, and the share of a GPU that it gets then."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
)
from ray.train._internal.storage import StorageContext
from ray.tune import PlacementGroupFactory
from ray.tune.experiment import Trial

from raytuner.controller.retries import (
    MAX_RETRIES,
    ResilientTrial,
    is_disk_full,
    is_killed,
    is_loss,
    is_out_of_memory,
    make_resilient,
    shares_gpu,
    take_retry,
    with_whole_gpus,
)
from raytuner.errors import PlacementError, SettingError
from raytuner.placement.gpu_memory import Probe, nvidia_smi, wants_fit, with_gpus
from raytuner.space import Float, Space
from raytuner.study.resources import first_config, fitted


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


def test_a_killed_process_is_told_from_other_errors() -> None:
    assert is_killed(ActorDiedError())  # a signal
    assert is_killed(OutOfMemoryError("Task was killed due to the node running low on memory"))  # type: ignore[no-untyped-call]
    assert not is_killed(RayActorError(error_msg="The actor died because its node has died."))
    assert not is_killed(ActorDiedError(raised(ValueError("in the set-up"))))
    assert not is_killed(raised(ValueError("in the training")))
    assert not is_killed(None)


@pytest.fixture
def trial(tmp_path: Path, ray_cluster: None) -> Trial:
    """One of Ray's own."""
    storage = StorageContext(str(tmp_path), "study")
    made = Trial("train", config={}, stub=True, storage=storage)
    made.init_local_path()  # type: ignore[no-untyped-call]
    return made


def test_a_killed_trial_goes_on_while_it_gets_further(trial: Trial) -> None:
    make_resilient(trial)
    assert isinstance(trial, ResilientTrial)

    def killed_after(iterations: int) -> tuple[str, int] | None:
        if iterations:
            trial.update_last_result({"training_iteration": iterations})  # type: ignore[no-untyped-call]
        trial.handle_error(ActorDiedError())
        goes_on = take_retry(trial)
        assert trial.should_recover() == (goes_on is not None)  # type: ignore[no-untyped-call]
        return goes_on

    assert killed_after(0) == ("processes_killed", 1)
    assert killed_after(3) == ("processes_killed", 2)
    assert take_retry(trial) is None  # each death counts once
    assert killed_after(5) == ("processes_killed", 3)
    assert killed_after(5) == ("processes_killed", 4)
    assert killed_after(6) == ("processes_killed", 5)
    assert killed_after(4) == ("processes_killed", 6)  # it had begun anew
    assert killed_after(6) is None  # for the third time


def test_a_trial_that_is_killed_again_and_again_has_failed(trial: Trial) -> None:
    make_resilient(trial)
    for iteration in range(1, MAX_RETRIES + 1):
        trial.update_last_result({"training_iteration": iteration})  # type: ignore[no-untyped-call]
        trial.handle_error(ActorDiedError())
        assert trial.run_metadata.num_failures == 0
    trial.update_last_result({"training_iteration": MAX_RETRIES + 1})  # type: ignore[no-untyped-call]
    trial.handle_error(ActorDiedError())
    assert trial.run_metadata.num_failures == 1


def test_somebody_elses_trial_is_left_with_whole_gpus() -> None:
    class Theirs(Trial):
        pass

    trial = Theirs("train", config={}, stub=True)
    make_resilient(trial)
    assert type(trial) is Theirs


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
    assert with_whole_gpus(shared) == PlacementGroupFactory(
        [{"CPU": 1}, {"GPU": 1}, {"GPU": 2}], "SPREAD"
    )
    empty_head = PlacementGroupFactory([{}, {"GPU": 0.25}])
    assert with_whole_gpus(empty_head) == PlacementGroupFactory([{}, {"GPU": 1}])
    for whole in (PlacementGroupFactory([{"GPU": 1}]), PlacementGroupFactory([{"CPU": 1}]), None):
        assert not shares_gpu(whole)


@pytest.mark.parametrize(
    ("peak", "trials"), [(10, 1), (9, 1), (4.4, 1), (4.3, 2), (2.8, 3), (1, 8), (0.1, 16), (0, 16)]
)
def test_as_many_fit_as_the_margin_allows(peak: float, trials: int) -> None:
    found = Probe(peak=peak, total=10)
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
    with pytest.raises(PlacementError, match="has 0 GPU of 1 GPU"):
        fitted(lambda config: None, {"gpu": "fit"}, {"x": 0.5})
    with pytest.raises(SettingError, match=r"'registered'.*give gpu a number"):
        fitted("registered", {"gpu": "fit"}, {"x": 0.5})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a real GPU and nvidia-smi")
def test_the_memory_of_a_real_gpu() -> None:
    before, total = nvidia_smi()
    held = torch.zeros(2**30, dtype=torch.uint8, device="cuda")
    after, again = nvidia_smi()
    assert again == total == pytest.approx(torch.cuda.get_device_properties(0).total_memory, 0.05)
    assert 2**30 <= after - before < 3 * 2**30  # the tensor, and CUDA's context
    del held
