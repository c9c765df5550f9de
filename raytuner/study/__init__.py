"""The one call: compose searcher, scheduler and Ray's Tuner; run, load and resume a study."""

from raytuner.study.run import tune
from raytuner.study.study import Study, load

__all__ = ["Study", "load", "tune"]
