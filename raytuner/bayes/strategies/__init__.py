"""Ways to search, all behind one protocol (:class:`raytuner.bayes.Proposer`), by name."""

from raytuner.bayes.strategies.registry import STRATEGIES, Strategy, check_goal, strategy

__all__ = ["STRATEGIES", "Strategy", "check_goal", "strategy"]
