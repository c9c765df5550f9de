"""The one call: compose searcher, scheduler and Ray's Tuner; run, load and resume a study."""

from raytuner.study.folds import cross_validate
from raytuner.study.recovery import Recovered, recover
from raytuner.study.study import Study, load
from raytuner.study.tuning import tune

__all__ = ["Recovered", "Study", "cross_validate", "load", "recover", "tune"]
