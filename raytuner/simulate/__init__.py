"""Run a search on a virtual clock, for example to see how it would behave on 64 workers.

Ray's own controller drives any Ray Tune searcher and scheduler. Actors, time and storage are
simulated.

- `simulate` takes an objective: a function that returns the reports and the duration of a training.
- `predict` takes a recorded study or a `Workload`.
- `advise` recommends one of several numbers of workers.

Differences from a real study: each worker holds one trial, and actors are not reused. Events at the
same virtual time happen in the order in which they were scheduled; in Ray the order is random.
"""

from raytuner.simulate.advice import Advice, FleetPrediction, advise
from raytuner.simulate.inputs import Cluster, Curve, Objective, Report, Settings, Workload
from raytuner.simulate.predict import SearchPrediction, predict
from raytuner.simulate.run import simulate
from raytuner.simulate.simulation import (
    EventKind,
    SimulatedTrial,
    Simulation,
    SimulationEvent,
    Step,
)

__all__ = [
    "Advice",
    "Cluster",
    "Curve",
    "EventKind",
    "FleetPrediction",
    "Objective",
    "Report",
    "SearchPrediction",
    "Settings",
    "SimulatedTrial",
    "Simulation",
    "SimulationEvent",
    "Step",
    "Workload",
    "advise",
    "predict",
    "simulate",
]
