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
from ray.train import WorkerGroupError
from ray.train._internal.storage import StorageContext
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.tune import PlacementGroupFactory
from ray.tune.experiment import Trial

from raytuner.controller.retries import (
    MAX_RETRIES,
    ResilientTrial,
    cause_of,
    make_resilient,
    note_retry,
    shares_gpu,
    with_whole_gpus,
)
from raytuner.errors import PlacementError, SettingError
from raytuner.history import Goal, Table
from raytuner.placement.gpu_memory import Probe, nvidia_smi, wants_fit, with_gpus
from raytuner.space import Float, Space
from raytuner.study.resources import first_config, fitted


def raised(error: Exception) -> RayTaskError:
    """What Ray makes of an error of a training."""
    text = f"{type(error).__module__}.{type(error).__name__}: {error}"
    return RayTaskError("train", text, error)  # type: ignore[no-untyped-call]


def of_workers(*failures: Exception) -> RayTaskError:
    """Return the error that Ray Train raises for its workers; dead ones fail a health check."""
    by_rank = {
        rank: WorkerHealthCheckFailedError("A worker health check failed.", failure)
        if isinstance(failure, RayActorError)
        else failure
        for rank, failure in enumerate(failures)
    }
    return raised(WorkerGroupError("some worker failed", by_rank))


LOST, KILLED, FULL = "nodes_lost", "processes_killed", "disk_full"
NO_MEMORY = OutOfMemoryError("Task was killed: the node runs low on memory")  # type: ignore[no-untyped-call]
DIED = RayActorError(error_msg="The actor died because its node has died. Node Id: 1")
CAUSES: list[tuple[object, str | None]] = [
    (DIED, LOST),
    (raised(DIED), LOST),  # a worker of the trial's own
    (RayActorError(preempted=True), LOST),
    (ActorUnavailableError("Socket closed", None), LOST),
    (raised(ValueError("my node has died")), None),
    (RayActorError(error_msg="The worker process has died: exit code 1"), KILLED),
    (ActorDiedError(), KILLED),  # a signal
    (NO_MEMORY, KILLED),
    (ActorDiedError(raised(ValueError("in the set-up"))), None),
    (raised(ValueError("in the training")), None),
    (None, None),
    (raised(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried 20 GiB")), "out_of_memory"),
    (raised(RuntimeError("CUDA out of memory")), "out_of_memory"),
    (raised(RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying")), "out_of_memory"),
    (RuntimeError("CUDA out of memory"), None),
    (raised(RuntimeError("shape mismatch")), None),
    (raised(MemoryError("cannot allocate")), None),
    (raised(OSError(28, "No space left on device", "checkpoint_000001")), FULL),
    (raised(OSError("[Errno 122] Error writing bytes: Disk quota exceeded")), FULL),
    (raised(OSError(2, "No such file or directory", "data")), None),
    (OSError(28, "No space left on device"), None),
    (of_workers(RuntimeError("Connection reset by peer"), DIED), LOST),
    (of_workers(RuntimeError("Connection reset by peer"), ActorDiedError()), KILLED),
    (of_workers(ValueError("in the loop"), ValueError("in the loop")), None),
]


@pytest.mark.parametrize(("error", "cause"), CAUSES, ids=range(len(CAUSES)))
def test_errors_that_are_not_a_trials_own_are_told_from_others(
    error: object, cause: str | None
) -> None:
    assert cause_of(error) == cause


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

    history = Table(Goal.of("loss", "min"), "training_iteration", 9)

    def killed_after(iterations: int) -> int | None:
        if iterations:
            trial.update_last_result({"training_iteration": iterations})  # type: ignore[no-untyped-call]
        trial.handle_error(ActorDiedError())
        goes_on = trial.retried_for is not None
        assert trial.should_recover() == goes_on  # type: ignore[no-untyped-call]
        note_retry(trial, history)
        noted: int = history.get_meta("processes_killed")[trial.trial_id]
        return noted if goes_on else None

    assert killed_after(0) == 1
    assert killed_after(3) == 2
    note_retry(trial, history)  # each death counts once
    assert history.get_meta("processes_killed") == {trial.trial_id: 2}
    assert killed_after(5) == 3
    assert killed_after(5) == 4
    assert killed_after(6) == 5
    assert killed_after(4) == 6  # it had begun anew
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
