"""The schedulers that decide by rank: successive halving in one bracket or several."""

from __future__ import annotations

from raytuner.errors import SettingError
from raytuner.halving import Promotion, Stopping, SuccessiveHalving
from raytuner.schedulers.base import JudgingScheduler, Metric

_TYPES: dict[str, type[SuccessiveHalving]] = {"stopping": Stopping, "promotion": Promotion}


class RankScheduler(JudgingScheduler):
    """Successive halving as a Ray Tune scheduler; see `ASHAScheduler` for the arguments.

    Args:
        name: What the method is called in `debug_string`.
        brackets: See `raytuner.halving.SuccessiveHalving`.
    """

    def __init__(
        self,
        name: str,
        time_attr: str,
        metric: Metric | None,
        mode: Metric | None,
        max_t: float,
        grace_period: float,
        reduction_factor: int,
        brackets: int | None,
        type: str,
        seed: int | None,
    ) -> None:
        if type not in tuple(_TYPES):
            raise SettingError(f"type={type!r} is unknown; it must be 'stopping' or 'promotion'")
        self._halving = _TYPES[type](grace_period, max_t, reduction_factor, brackets, seed=seed)
        super().__init__(
            self._halving, name=f"{name} ({type})", time_attr=time_attr, metric=metric, mode=mode
        )

    @property
    def halving(self) -> SuccessiveHalving:
        """Rungs and verdicts, to read. With mode `"min"` its values and cut-offs are negated."""
        return self._halving
