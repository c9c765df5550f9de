"""Ray Tune searchers: thin adapters between Ray's callbacks, the record and a proposer."""

from raytuner.search.botorch_search import BoTorchSearch
from raytuner.search.tune_space import space_from_tune

__all__ = ["BoTorchSearch", "space_from_tune"]
