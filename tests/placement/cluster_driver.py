"""Programs with a cluster of their own: Ray's `Cluster` utility, nodes of logical GPUs.

Usage: cluster_driver.py COMMAND; what it found is JSON in the last line it prints, and its studies
are in the folder it runs in.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.cluster_utils import Cluster

import raytuner
import raytuner.errors
from raytuner.controller.leftovers import groups_of_actors
from raytuner.history import TrialState
from raytuner.placement import gpu_memory
from raytuner.study.budget import PRICE_LABEL

# Ray's workers cannot import the tests: they get the functions themselves.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]

MAX_T = 9
GRACE = 3
SPACE = {"x": tune.uniform(-1, 1)}


def start(**nodes: dict[str, float]) -> tuple[Any, dict[str, Any]]:
    """A head of two CPUs and other nodes, each with the resources it is given by its name."""
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 0})
    made = {
        name: cluster.add_node(num_cpus=has.pop("CPU"), num_gpus=has.pop("GPU", 0), resources=has)
        for name, has in nodes.items()
    }
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    cluster.wait_for_nodes()
    return cluster, made


def saving(config: dict[str, Any]) -> None:
    """Reports 1 to MAX_T with a checkpoint each time, and goes on from the last."""
    begin = 1
    if (checkpoint := tune.get_checkpoint()) is not None:
        with checkpoint.as_directory() as place:
            begin = int(Path(place, "t").read_text()) + 1
    node = ray.get_runtime_context().get_node_id()
    for t in range(begin, MAX_T + 1):
        time.sleep(0.8)
        with tempfile.TemporaryDirectory() as place:
            Path(place, "t").write_text(str(t))
            tune.report(
                {
                    "loss": config["x"] ** 2 + 1 / t,
                    "node": node,
                    "begin": begin,
                    "gpus": len(ray.get_gpu_ids()),
                    "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
                },
                checkpoint=tune.Checkpoint.from_directory(place),
            )


def search(**settings: Any) -> raytuner.Study:
    return raytuner.tune(
        settings.pop("trainable", saving),
        settings.pop("space", SPACE),
        metric="loss",
        mode="min",
        seed=0,
        storage_path=".",
        progress=False,
        **settings,
    )


class Watch(tune.Callback):
    """Reads from Ray's state where trials are placed, at each step: node and resources."""

    def __init__(self) -> None:
        self.at_once: list[list[tuple[str, tuple[tuple[str, float], ...]]]] = []

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        table = ray.util.placement_group_table()
        placed = [
            (node, tuple(sorted(group["bundles"][bundle].items())))
            for group in table.values()
            if group["state"] == "CREATED"
            for bundle, node in group["bundles_to_node_id"].items()
        ]
        if placed:
            self.at_once.append(placed)


# By the number in a configuration: what its trial asks for.
ASKED: list[dict[str, Any]] = [
    {"gpu": 0.5, "accelerator_type": "A100"},
    {"gpu": 1, "accelerator_type": "T4"},
    {"gpu": 0.25, "slot": 1},
    {"bundles": [{"cpu": 1}, {"gpu": 1}, {"gpu": 1}], "strategy": "STRICT_SPREAD"},
]


def brief(config: dict[str, Any]) -> None:
    for t in range(1, 4):
        time.sleep(0.4)
        tune.report({"loss": config["x"] ** 2 + 1 / t})


def placed() -> Any:
    """A study of requests of several kinds on nodes of two types; who lay where, read from Ray."""
    _, nodes = start(
        a100={"CPU": 4, "GPU": 2, "accelerator_type:A100": 1, "slot": 8},
        t4={"CPU": 4, "GPU": 1, "accelerator_type:T4": 1},
    )
    name_of = {node.node_id: name for name, node in nodes.items()}
    watch = Watch()
    study = search(
        name="placed",
        space={"kind": tune.choice(range(len(ASKED))), "x": SPACE["x"]},
        points_to_evaluate=[
            {"kind": kind, "x": n / 10} for kind in range(len(ASKED)) for n in range(2)
        ],
        num_samples=2 * len(ASKED),
        resources=lambda config: ASKED[config["kind"]],
        callbacks=[watch],
        trainable=brief,
    )
    return {
        "room": raytuner.check({"gpu": 0.5}).slots,
        "states": sorted({trial.state.value for trial in study.trials}),
        "at_once": max(map(len, watch.at_once)),
        "gpus_at_once": max(
            sum(dict(bundle).get("GPU", 0) for _, bundle in step) for step in watch.at_once
        ),
        "placed": sorted(
            {
                (name_of.get(node, "head"), json.dumps(dict(bundle)))
                for step in watch.at_once
                for node, bundle in step
            }
        ),
    }


class Where(tune.Callback):
    """Writes down where each trial is."""

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
    ) -> None:
        Path("where").write_text(f"{result['node']} {result['training_iteration']}")


def killed() -> Any:
    """A study of which a node is killed while a trial that has passed the rung runs on it."""
    cluster, nodes = start(one={"CPU": 2, "GPU": 2}, other={"CPU": 2, "GPU": 2})
    of_id = {node.node_id: node for node in nodes.values()}
    gone: list[str] = []

    def kill() -> None:
        while not gone:
            time.sleep(0.1)
            text = Path("where").read_text() if Path("where").exists() else ""
            node, _, t = text.partition(" ")
            if t and GRACE < int(t) < MAX_T - 2:
                gone.append(node)
                cluster.remove_node(of_id[node], allow_graceful=False)

    threading.Thread(target=kill, daemon=True).start()
    study = search(
        name="killed",
        num_samples=6,
        max_t=MAX_T,
        grace_period=GRACE,
        scheduler="asha",
        resources={"cpu": 0.5, "gpu": 1},
        callbacks=[Where()],
    )
    results = tune.ExperimentAnalysis(str(study.path)).results
    return {
        "lost": study.history.get_meta("nodes_lost", {}),
        "began": {trial_id: result["begin"] for trial_id, result in results.items()},
        "ended_there": [i for i, result in results.items() if result["node"] in gone],
        "pending": len(study.history.snapshot().pending),
        "alive": len(raytuner.check().cluster.nodes),
    }


def hungry(config: dict[str, Any]) -> None:
    """Takes more than its share at x > 0, and more than any GPU has at x > 0.9."""
    request = tune.get_context().get_trial_resources().required_resources
    begin = 1 if tune.get_checkpoint() is None else 2
    for t in range(begin, 4):
        if t == 2 and config["x"] > (0 if request["GPU"] < 1 else 0.9):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if t == 2 and config["x"] < -0.9:
            raise ValueError("no memory of the right answer")
        with tempfile.TemporaryDirectory() as place:
            tune.report(
                {"loss": config["x"], "begin": begin, "share": request["GPU"]},
                checkpoint=tune.Checkpoint.from_directory(place),
            )
        time.sleep(0.5)


def memory() -> Any:
    """A study whose trials get the share of a GPU that their memory takes."""
    ray.init("local", num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False)
    reads = iter([1e9, 3e9, 2e9])
    gpu_memory.nvidia_smi = lambda: (next(reads, 2e9), 10e9)  # in the trial's process
    study = search(
        name="memory",
        num_samples=5,
        resources={"cpu": 0.5, "gpu": "fit"},
        trainable=hungry,
        points_to_evaluate=[{"x": x} for x in (-0.5, 0.5, 0.95, -0.95, -0.2)],
    )
    results = tune.ExperimentAnalysis(str(study.path)).results
    return {
        "resources": study.history.get_meta("settings")["resources"],
        "out_of_memory": study.history.get_meta("out_of_memory"),
        "numbers": {trial.trial_id: trial.number for trial in study.trials},
        "last": {i: [result["share"], result["begin"]] for i, result in results.items()},
    }


def with_trainer(config: dict[str, Any]) -> None:
    """A training on two processes that Ray Train places by itself."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration import ray_train

    report: Any = ray_train.TuneReportCallback  # Ray's types do not fit one another here

    def loop(given: dict[str, Any]) -> None:
        import ray.train
        import torch.distributed

        for epoch in range(1, 4):
            both = torch.ones(1)
            torch.distributed.all_reduce(both)  # both workers are there
            ray.train.report(
                {"loss": given["x"] ** 2 + 1 / epoch, "epoch": epoch, "of": both.item()}
            )
            time.sleep(1)

    TorchTrainer(
        loop,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5}),
        run_config=RunConfig(
            name=str(tune.get_context().get_trial_id()),
            storage_path=config["folder"],
            callbacks=[report()],
        ),
    ).fit()


class Busiest(tune.Callback):
    """How many trials ran at the same time."""

    most = 0

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.most = max(self.most, sum(trial.status == "RUNNING" for trial in trials))


def trainers() -> Any:
    """A study whose trials make trainers: five fit by themselves, two with their workers."""
    ray.init("local", num_cpus=5, num_gpus=0, include_dashboard=False, log_to_driver=False)
    busiest = Busiest()
    study = search(
        name="trainers",
        space={**SPACE, "folder": str(Path("trains").resolve())},
        num_samples=6,
        max_t=3,
        scheduler="asha",
        time_attr="epoch",
        resources={"cpu": 1, "trainer": {"workers": 2, "cpu": 0.5}},
        trainable=with_trainer,
        callbacks=[busiest],
    )
    results = tune.ExperimentAnalysis(str(study.path)).results
    available: Callable[[], dict[str, float]] = ray.available_resources
    deadline = time.monotonic() + 10  # Ray's count is late
    while available().get("CPU", 0) < 5 and time.monotonic() < deadline:
        time.sleep(0.1)
    return {
        "at_once": busiest.most,
        "workers": sorted({result["of"] for result in results.values()}),
        "free": available()["CPU"],
        "left": len(groups_of_actors()),
    }


def on_each_worker(config: dict[str, Any]) -> None:
    """Trains on two workers with a checkpoint each epoch. One worker is killed once."""
    import signal

    import ray.train
    import torch.distributed
    from ray.train import Checkpoint

    first = 1
    if (checkpoint := ray.train.get_checkpoint()) is not None:
        with checkpoint.as_directory() as folder:
            first = int(Path(folder, "epoch").read_text()) + 1
    rank = ray.train.get_context().get_world_rank()
    for epoch in range(first, MAX_T + 1):
        both = torch.ones(1)
        torch.distributed.all_reduce(both)
        time.sleep(1)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "epoch").write_text(str(epoch))
            ray.train.report(
                {
                    "loss": config["x"] ** 2 + 1 / epoch,
                    "epoch": epoch,
                    "first": first,
                    "workers": both.item(),
                    "node": ray.get_runtime_context().get_node_id(),
                },
                checkpoint=Checkpoint.from_directory(folder) if rank == 0 else None,
            )
        if epoch == GRACE and rank == 1 and not (killed := Path(config["killed"])).exists():
            killed.write_text(str(epoch))
            os.kill(os.getpid(), signal.SIGKILL)


class LoseNode(tune.Callback):
    """Kills the node of a trial's rank 0 once a trial was retried and this one is beyond GRACE.

    If there is one trial and its rank 0 is on the head, any node.
    """

    def __init__(self, cluster: Any, nodes: Any) -> None:
        self._cluster, self._nodes = cluster, {node.node_id: node for node in nodes}
        self._retried = False
        self.gone: list[str] = []

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles callbacks, and a cluster cannot be pickled

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
    ) -> None:
        self._retried |= result["first"] > 1
        node = self._nodes.get(result["node"])
        if node is None and len(trials) == 1:
            node = next(iter(self._nodes.values()))
        if node and self._retried and not self.gone and GRACE < result["epoch"] < MAX_T:
            self.gone.append(node.node_id)
            self._cluster.remove_node(node, allow_graceful=False)


def trainers_lost(workers: Any = 2, cpus: float = 2, trials: int = 4) -> Any:
    """Freeze-thaw over trainers with two workers each. A worker is killed, and a node is lost."""
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    cluster, nodes = start(one={"CPU": cpus}, other={"CPU": cpus})
    lose = LoseNode(cluster, nodes.values())
    trainer = TorchTrainer(
        on_each_worker,
        train_loop_config={"killed": str(Path("killed").resolve())},
        scaling_config=ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 0.9}),
    )
    study = search(
        name="trainers",
        num_samples=trials,
        max_t=MAX_T,
        scheduler="freeze-thaw",
        time_attr="epoch",
        trainable=trainer,
        callbacks=[lose],
    )
    results = [
        json.loads(line)
        for path in Path("trainers").glob("*/result.json")
        for line in path.read_text().splitlines()
    ]
    return {
        "gone": len(lose.gone),
        "nodes_lost": study.history.get_meta("nodes_lost", {}),
        "processes_killed": study.history.get_meta("processes_killed", {}),
        "workers": sorted({result["workers"] for result in results}),
        "epochs": [[r["trial_id"], r["epoch"], r["first"]] for r in results],
        "left": len(groups_of_actors()),
    }


class Nodes(tune.Callback):
    """Changes the nodes during a study, and logs what they cost by the times of the changes."""

    def __init__(self, cluster: Any, first: Any) -> None:
        self.usd, self._rate, self._at = 0.0, (1200 + 12_000) / 3600, time.monotonic()
        self._changes: list[Callable[[], Any]] = [
            lambda: self._note(6000, cluster.add_node(num_cpus=2, labels={PRICE_LABEL: "6000"})),
            lambda: self._note(-12_000, cluster.remove_node(first)),
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles callbacks, and a cluster cannot be pickled

    def _note(self, change: float = 0.0, _: Any = None) -> None:
        now = time.monotonic()
        self.usd += self._rate * (now - self._at)
        self._at, self._rate = now, self._rate + change / 3600

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._changes and time.monotonic() - self._at > 15:
            self._changes.pop(0)()

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        self._note()


def priced() -> Any:
    """A study that spends 200 USD, while a second worker joins and the first one leaves."""
    cluster: Any = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "labels": {PRICE_LABEL: "1200"}}
    )
    first = cluster.add_node(num_cpus=2, labels={PRICE_LABEL: "12000"})
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    cluster.wait_for_nodes()
    nodes = Nodes(cluster, first)
    study = search(name="priced", num_samples=-1, budget={"usd": 200}, callbacks=[nodes])
    reasons = {trial.reason for trial in study.trials if trial.state is TrialState.STOPPED_EARLY}
    return {
        "spent": study.history.get_meta("spent")["usd"],
        "log": nodes.usd,
        "states": sorted({trial.state.value for trial in study.trials}),
        "reasons": sorted(reasons),
        "finished": not study.interrupted,
    }


def main() -> None:
    commands: dict[str, Callable[[], Any]] = {
        "placed": placed,
        "killed": killed,
        "memory": memory,
        "trainers": trainers,
        "priced": priced,
        "trainers_lost": trainers_lost,
        "elastic": lambda: trainers_lost((1, 4), cpus=1, trials=1),
    }
    print(json.dumps(commands[sys.argv[1]]()))
    sys.stdout.flush()
    os._exit(0)  # the nodes are this process' children: they end with it


if __name__ == "__main__":
    main()
