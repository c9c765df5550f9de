"""Run a search on a virtual clock: how would it behave on 64 workers, before they are rented?

Ray's own controller drives any Ray Tune searcher and scheduler; its actors, time and storage are
simulated. `simulate` takes an objective that says what training would report and how long it would
take, `predict` a recorded study or a `Workload`. `advise` recommends one of several numbers of
workers.

What differs from a real study: each worker holds one trial, actors are not reused, and of events at
the same virtual time the one that was scheduled first comes first, where Ray draws lots.
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
