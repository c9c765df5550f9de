"""Run a search on a virtual clock: how would it behave on 64 workers, before they are rented?

Ray's own controller drives any Ray Tune searcher and scheduler. Its actors, its time and its
storage are simulated: an objective says what training would report and how long each unit of
resource would take. Nothing is trained, and no Ray cluster is started::

    from ray import tune
    from raytuner import ASHAScheduler, BoTorchSearch
    from raytuner.simulate import Cluster, Curve, Settings, simulate

    def objective(config):  # returns a configuration's learning curve
        reports = [{"loss": (config["x"] - 0.3) ** 2 + 1 / t} for t in range(1, 28)]
        return Curve(reports, seconds=60)

    simulation = simulate(
        objective, {"x": tune.uniform(0, 1)}, metric="loss", mode="min", num_samples=500,
        searcher=BoTorchSearch(seed=0), scheduler=ASHAScheduler(max_t=27),
        cluster=Cluster(workers=64, startup_s=2.0),
        max_failures=1, max_concurrent_trials=64, settings=Settings(charge="inline"), seed=0,
    )
    simulation.incumbent(), simulation.utilisation(), simulation.resource_spent, simulation.counts

`predict` does so for a recorded study or a `Workload`, and so does the command `raytuner simulate
STUDY --workers 64`: time, cost and utilisation on other numbers of workers.

What differs from a real study: each worker holds one trial, actors are not reused, and of events at
the same virtual time the one that was scheduled first comes first, where Ray draws lots.
"""

from raytuner.simulate.objective import Curve, Objective, Report, Workload
from raytuner.simulate.predict import SearchPrediction, predict
from raytuner.simulate.run import simulate
from raytuner.simulate.settings import Cluster, Settings
from raytuner.simulate.simulation import (
    EventKind,
    SimulatedTrial,
    Simulation,
    SimulationEvent,
    Step,
)

__all__ = [
    "Cluster",
    "Curve",
    "EventKind",
    "Objective",
    "Report",
    "SearchPrediction",
    "Settings",
    "SimulatedTrial",
    "Simulation",
    "SimulationEvent",
    "Step",
    "Workload",
    "predict",
    "simulate",
]
