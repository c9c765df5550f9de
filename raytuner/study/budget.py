"""Budgets of a study in US dollars and GPU-hours."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from raytuner.controller.capacity import Bundle, summed
from raytuner.controller.cluster_state import Node, live_nodes
from raytuner.errors import RaytunerWarning, SettingError
from raytuner.history import History
from raytuner.report.text import SPENT, UNITS
from raytuner.study.stoppers import StudyStopper

PRICE_LABEL = "usd-per-hour"
"""Label of a node whose value is the node's price."""

_LOOK_S = 2.0  # between two looks at the nodes
_NOTE_S = 5.0  # between two notes in the record
_END_S = 10.0  # a study ends so many seconds early: its trials need them to stop


class Budget(StudyStopper):
    """Ends a study when it has spent its US dollars or GPU-hours.

    - Dollars: each node has a price, and costs it from the study's start, or from when it joins the
      cluster, until it leaves. Idle nodes and the head node cost their prices too.
    - GPU-hours: a running trial uses the GPUs that it and its trainer requested.

    The record keeps what was spent, so a resumed study gets only the rest. The time between two
    runs costs nothing.

    Args:
        search: As for `StudyStopper`.
        limits: The budgets by unit, "usd" and "gpu_hours". None: only count.
        prices: US dollars per hour of every node, or by node type. None: the label
            "usd-per-hour" of each node has its price.
        trainer: A bundle for each worker of a trial's trainer.

    Attributes:
        limits: The budgets.
        spent: What the study has spent, by unit.
    """

    def __init__(
        self,
        search: Any,
        limits: Mapping[str, float] | None,
        prices: float | Mapping[str, float] | None = None,
        trainer: Iterable[Bundle] = (),
    ) -> None:
        super().__init__(search)
        self.limits = dict(limits or {})
        self.spent: dict[str, float] = {}
        self._prices = prices
        self._has_prices = prices is not None or "usd" in self.limits
        self._dearest = max(prices.values(), default=0.0) if isinstance(prices, Mapping) else 0.0
        self._unknown: set[str] = set()  # types without a price that a warning has named
        self._of_trainer = summed(trainer).get("GPU", 0.0)
        self._rates: dict[str, float] = {}  # each hour
        self._running: dict[str, Any] = {}
        self._checked_at: float | None = None
        self._looked_at = self._noted_at = -math.inf

    def __getstate__(self) -> dict[str, Any]:
        # A restored study reads from the record what was spent.
        fresh: dict[str, Any] = {"_checked_at": None, "_running": {}, "_rates": {}, "why": ""}
        return {**self.__dict__, **fresh, "_looked_at": -math.inf, "_noted_at": -math.inf}

    @property
    def left_s(self) -> float | None:
        """Seconds until the study ends if it goes on as now; None if nothing says when."""
        left = [
            (limit - self.spent.get(unit, 0.0)) / self._rates[unit] * 3600 - _END_S
            for unit, limit in self.limits.items()
            if self._rates.get(unit)
        ]
        return max(min(left), 0.0) if left else None

    def require_prices(self) -> None:
        """Raise a SettingError if dollars are counted and a live node has no price."""
        for node in live_nodes() if self._has_prices else ():
            if self._price(node) is None:
                kind = f"of type {node.kind!r} " if node.kind else ""
                prices = f"{{{node.kind!r}: 1.2}}" if node.kind else "1.2 for all nodes"
                raise SettingError(
                    f"node {node.name} {kind}has no price (its label {PRICE_LABEL} is"
                    f" {node.labels.get(PRICE_LABEL)!r}); give its US dollars per hour, such as"
                    f" prices={prices}, or set the label to a number"
                )

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Count the GPUs of a trial from now on."""
        self._running[trial.trial_id] = trial

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Add what was spent since the last step."""
        now = time.monotonic()
        hours = 0.0 if self._checked_at is None else (now - self._checked_at) / 3600
        is_first, self._checked_at = self._checked_at is None, now
        running = {i: t for i, t in self._running.items() if t.status == t.RUNNING}
        self._running = running
        requests = [trial.placement_group_factory for trial in running.values()]
        gpus = sum(r.required_resources.get("GPU", 0.0) for r in requests if r is not None)
        self._rates["gpu_hours"] = gpus + self._of_trainer * len(running)
        self._spend(hours)
        if self._has_prices and now - self._looked_at >= _LOOK_S:
            self._looked_at = now
            self._rates["usd"] = sum(map(self._charged, live_nodes()))
        if is_first:
            self._begin()
        for unit, limit in self.limits.items():
            soon = self._rates.get(unit, 0.0) * _END_S / 3600
            if self.spent.get(unit, 0.0) + soon >= limit and not self.why:
                self._end(f"the budget of {limit:g} {UNITS[unit]} is used up")
        if now - self._noted_at >= _NOTE_S:
            self._noted_at = now
            self._search.history.set_meta(SPENT, self.spent)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Add the last seconds, and write what was spent to the record."""
        if self._checked_at is not None:
            self._spend((time.monotonic() - self._checked_at) / 3600)
            self._checked_at = None
            self._search.history.set_meta(SPENT, self.spent)

    def _begin(self) -> None:
        """Read from the record what was spent, and add the time until Ray's loop began."""
        history: History = self._search.history
        self.spent = dict(history.get_meta(SPENT, {}))
        if self._has_prices and (runs := history.get_meta("runs")):
            hours = max(time.time() - runs[-1]["at"], 0.0) / 3600
            self.spent["usd"] = self.spent.get("usd", 0.0) + hours * self._rates["usd"]

    def _spend(self, hours: float) -> None:
        for unit, rate in self._rates.items():
            self.spent[unit] = self.spent.get(unit, 0.0) + rate * hours

    def _price(self, node: Node) -> float | None:
        """US dollars per hour of a node; None if unknown."""
        if isinstance(self._prices, Mapping):
            if node.kind in self._prices:
                return float(self._prices[node.kind])
        elif self._prices is not None:
            return float(self._prices)
        try:
            price = float(node.labels.get(PRICE_LABEL, ""))
        except ValueError:
            return None
        return price if 0 <= price < math.inf else None

    def _charged(self, node: Node) -> float:
        """US dollars per hour that are charged for a node."""
        price = self._price(node)
        if price is not None:
            self._dearest = max(self._dearest, price)
            return price
        if node.kind not in self._unknown:
            self._unknown.add(node.kind)
            warnings.warn(
                f"node {node.name} of type {node.kind!r} has no price; the study is charged"
                f" {self._dearest:g} USD per hour for it, the highest known price; add its type to"
                f" `prices`, or set its label {PRICE_LABEL}",
                RaytunerWarning,
                stacklevel=2,
            )
        return self._dearest


def check_budget(budget: Any, prices: Any) -> None:
    """Raise a SettingError if a budget or prices are not valid."""
    if budget is not None:
        if not isinstance(budget, Mapping) or not budget or not budget.keys() <= UNITS.keys():
            raise SettingError(
                f'budget is {budget!r}; it must be a dict such as {{"usd": 200, "gpu_hours": 50}}'
            )
        for unit, limit in budget.items():
            if not _is_number(limit) or not 0 < limit < math.inf:
                raise SettingError(f"budget: {unit} is {limit!r}; it must be a number above 0")
    found = prices if isinstance(prices, Mapping) else {} if prices is None else {"": prices}
    for kind, price in found.items():
        if not _is_number(price) or not 0 <= price < math.inf:
            of = f"prices: {kind}" if kind else "prices"
            raise SettingError(f"{of} is {price!r}; it must be US dollars per hour, at least 0")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
