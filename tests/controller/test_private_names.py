"""Names that Ray does not promise to keep: only the boundary has them, and each is still there."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import tune
from ray._common.utils import get_ray_address_file
from ray._private import ray_constants
from ray._private.services import find_bootstrap_address
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.train._internal.storage import StorageContext
from ray.tune import Callback, PlacementGroupFactory
from ray.tune.execution.tune_controller import TrialRunnerWrapper, TuneController
from ray.tune.experiment import Trial
from ray.tune.search import BasicVariantGenerator, Searcher

import raytuner
from raytuner.controller import cluster_state
from raytuner.controller.cluster_state import ClusterState, free_resources, reported_node_types
from raytuner.controller.handle import ControllerHandle
from raytuner.controller.leftovers import FreeLeftovers, groups_of_actors
from raytuner.controller.retries import ResilientTrial, kill, make_resilient
from raytuner.controller.search_layers import count_in, count_out
from raytuner.controller.trials import ActiveTrials, give_checkpoint
from raytuner.controller.tuner import (
    callbacks_from_environment,
    param_space_of_tuner,
    request_of_function,
)

PACKAGE = Path(raytuner.__file__).parent
STACK = "the call stack"
_STACK_NAMES = {"currentframe", "_getframe", "f_locals", "f_back"}
_PRIVATE = re.compile(r"_[a-z]\w*")


def private_names(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each use of what Ray does not promise to keep."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            own |= {node.attr} if _is_own(node.value) else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ray":
            parts = [*str(node.module).split("."), *(alias.name for alias in node.names)]
            yield from ((node.lineno, part) for part in parts if part[0] == "_" or part == "impl")
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("ray.")]
            parts = [part for name in names for part in name.split(".")]
            yield from ((node.lineno, part) for part in parts if part[0] == "_" or part == "impl")
        elif isinstance(node, ast.Attribute):
            is_set = isinstance(node.ctx, ast.Store)
            if node.attr in _STACK_NAMES:
                yield node.lineno, STACK
            elif node.attr == "__class__" and is_set:
                yield node.lineno, "__class__"
            elif not _is_own(node.value) and _is_rays(node.attr) and node.attr not in own:
                yield node.lineno, node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
            name = ast.unparse(node.args[1]).strip("'")
            if _is_rays(name):
                yield node.lineno, name


def _is_own(value: ast.expr) -> bool:
    """Whether an attribute is one of `self`, `cls` or `super()`."""
    if isinstance(value, ast.Call):
        value = value.func
    return isinstance(value, ast.Name) and value.id in ("self", "cls", "super")


_SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for path in [*(Path(tune.__file__).parent).rglob("*.py"), Path(ray.__file__)]
    if "tests" not in path.parts
)
# Without those of named tuples and of scikit-learn.
_RAYS = set(re.findall(r"\b_[a-z]\w*", _SOURCES)) - {"_asdict", "_fields", "_parameter_constraints"}


def _is_rays(name: str) -> bool:
    """Whether Ray has such a private name: scikit-learn and scipy have others."""
    return _PRIVATE.fullmatch(name) is not None and name in _RAYS


USES = {
    (path.relative_to(PACKAGE).as_posix(), line, name)
    for path in PACKAGE.rglob("*.py")
    for line, name in private_names(path)
}


def test_only_the_boundary_uses_them() -> None:
    others = {use for use in USES if not use[0].startswith("controller/")}
    assert {path for path, *_ in others} <= {"simulate/ray_controller.py"}, sorted(others)


def test_each_has_a_comment_that_says_why() -> None:
    for path, line, name in USES:
        if path.startswith("controller/") and name != STACK:
            lines = (PACKAGE / path).read_text(encoding="utf-8").splitlines()
            above = [text.strip() for text in lines[max(line - 4, 0) : line]]
            assert any(text.startswith("# Private: ") for text in above), (path, line, name)


# -- each of them, as it is used -------------------------------------------------------------------


def tuner_internal(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Search(Searcher):
        def __getstate__(self) -> dict[str, Any]:
            seen.append(param_space_of_tuner())
            return {}

    space = {"data": object()}
    tune.Tuner(
        lambda config: None,
        param_space=space,
        tune_config=tune.TuneConfig(search_alg=Search()),
        run_config=tune.RunConfig(storage_path=str(tmp_path)),
    )
    assert seen
    assert all(given["data"] is space["data"] for given in seen)
    assert param_space_of_tuner() is None


def environment_callbacks(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TUNE_CALLBACKS", "ray.tune.Callback")
        assert [type(one) for one in callbacks_from_environment()] == [Callback]
    assert callbacks_from_environment() == []


def resources_of_a_function(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        pass

    assert request_of_function(train) is None
    asked = tune.with_resources(train, {"cpu": 2})
    assert request_of_function(asked) == PlacementGroupFactory([{"CPU": 2}])
    asked = tune.with_resources(train, lambda config: PlacementGroupFactory([{"CPU": 1}]))
    assert request_of_function(asked) is None


def wrapped_controller(tmp_path: Path) -> None:
    caps: list[int] = []
    bare = SimpleNamespace(search_alg=None, update_max_pending_trials=caps.append)
    wrapper: Any = TrialRunnerWrapper(bare, None)  # type: ignore[arg-type]
    assert wrapper._tune_controller is bare
    ActiveTrials().set_cap(wrapper, 0)
    assert caps == [1]
    parameters = inspect.signature(TuneController.update_max_pending_trials).parameters
    assert list(parameters) == ["self", "max_pending_trials"]


def file_of_the_last_cluster(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(tmp_path))
        file = Path(get_ray_address_file(None))
        file.parent.mkdir(parents=True)
        file.write_text("127.0.0.1:7")
        assert find_bootstrap_address(None) == "127.0.0.1:7"


def live_trials_of_random_search(tmp_path: Path) -> None:
    generator: Any = BasicVariantGenerator(max_concurrent=1)
    count_in(generator, "a")
    assert generator._live_trials == {"a"}
    count_out(generator, "a")
    assert not generator._live_trials
    source = inspect.getsource(BasicVariantGenerator.next_trial)
    assert "len(self._live_trials) >= self.max_concurrent" in source


def class_of_a_trial(tmp_path: Path) -> None:
    trial = Trial("train", config={}, stub=True)
    make_resilient(trial)
    assert isinstance(trial, ResilientTrial)
    source = inspect.getsource(TuneController._process_trial_failure)
    places = [source.index(part) for part in ("handle_error(", "should_recover(", "_try_recover(")]
    assert places == sorted(places)


def process_of_a_trial(tmp_path: Path) -> None:
    killed: list[Any] = []
    trial: Any = Trial("train", config={}, stub=True)
    assert "self.temporary_state.ray_actor = ray_actor" in inspect.getsource(Trial.set_ray_actor)
    trial.temporary_state.ray_actor = "process"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "kill", killed.append)
        kill(trial, "a test", retry=True)
    assert killed == ["process"]


def call_stack(tmp_path: Path) -> None:
    assert "force" in inspect.signature(TuneController.checkpoint).parameters
    for name in ("update_max_pending_trials", "get_trials", "get_live_trials", "search_alg"):
        assert hasattr(TuneController, name)
    handle = ControllerHandle()
    handle.find(lambda: None)
    assert not handle.is_known  # nobody asks


def checkpoint_of_a_trial(tmp_path: Path) -> None:
    trial = Trial("train", config={}, stub=True, storage=StorageContext(str(tmp_path), "study"))
    trial.init_local_path()  # type: ignore[no-untyped-call]
    storage: Any = trial.storage
    name = "checkpoint_000003"
    give_checkpoint(trial, {"checkpoint_dir_name": name})
    assert trial.checkpoint is None  # it is not there
    Path(storage.trial_fs_path, name).mkdir(parents=True)
    give_checkpoint(trial, {"checkpoint_dir_name": name, "training_iteration": 3})
    assert trial.checkpoint is not None
    assert trial.checkpoint.path.endswith(name)
    assert storage.current_checkpoint_index == 3


def cluster_in_private_state(tmp_path: Path) -> None:
    assert [0 <= free["CPU"] <= 2 for free in free_resources()] == [True]
    assert reported_node_types() == ()
    groups_that_an_actor_leaves()


def groups_that_an_actor_leaves() -> None:
    class Maker:
        def make(self) -> None:
            self.group = ray.util.placement_group([{"CPU": 0.01}])
            assert self.group.wait(30)

    maker: Any = ray.remote(num_cpus=0)(Maker).remote()
    before = groups_of_actors()
    freeing = FreeLeftovers()
    ray.get(maker.make.remote())
    freeing.on_step_end(0, [])
    (made,) = [group for group in groups_of_actors() if group not in before]
    assert not made[1]  # its creator lives
    ray.kill(maker)
    freeing.on_experiment_end([])
    assert groups_of_actors() == before


def status_of_the_autoscaler(tmp_path: Path) -> None:
    assert cluster_state.read_cluster().node_types == ()  # a local cluster has no autoscaler
    assert ray_constants.DEBUG_AUTOSCALING_STATUS == "__autoscaling_status"
    report = {"autoscaler_report": {"active_nodes": {"head": 1}}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster_state, "_internal_kv_get", lambda key: json.dumps(report))
        patch.setattr(cluster_state, "_ON_HEAD", tmp_path / "none.yaml")
        found = cluster_state.read_cluster()
    assert found == ClusterState(found.nodes, None)


def actors_of_a_controller(tmp_path: Path) -> None:
    assert TuneController(search_alg=None)._actor_manager.num_live_actors == 0


def actor_of_a_trial(tmp_path: Path) -> None:
    controller: Any = TuneController(search_alg=None)
    assert controller._trial_to_actor == {}
    waiting = TrackedActor(1)
    assert not controller._actor_manager.is_actor_started(waiting)
    source = inspect.getsource(TuneController._schedule_trial_actor)
    assert "self._trial_to_actor[trial] = tracked_actor" in source
    assert not hasattr(controller, "clock")  # only a simulated one has


WITHOUT_CLUSTER: dict[str, Callable[[Path], None]] = {
    "impl": tuner_internal,
    "_initialize_env_callbacks": environment_callbacks,
    "_resources": resources_of_a_function,
    "_tune_controller": wrapped_controller,
    "_common": file_of_the_last_cluster,
    "_live_trials": live_trials_of_random_search,
    "__class__": class_of_a_trial,
    "temporary_state": process_of_a_trial,
    STACK: call_stack,
}
ON_CLUSTER: dict[str, Callable[[Path], None]] = {
    "_internal": checkpoint_of_a_trial,
    "_TrainingResult": checkpoint_of_a_trial,
    "_private": cluster_in_private_state,
    "_internal_kv_get": status_of_the_autoscaler,
    "_actor_manager": actors_of_a_controller,
    "_trial_to_actor": actor_of_a_trial,
}


def test_each_is_tested() -> None:
    used = {name for path, _, name in USES if path.startswith("controller/")}
    assert used | {"temporary_state"} == {*WITHOUT_CLUSTER, *ON_CLUSTER}


@pytest.mark.parametrize("name", WITHOUT_CLUSTER)
def test_ray_has(name: str, tmp_path: Path) -> None:
    WITHOUT_CLUSTER[name](tmp_path)


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("name", ON_CLUSTER)
def test_ray_has_on_a_cluster(name: str, tmp_path: Path) -> None:
    ON_CLUSTER[name](tmp_path)
