"""The Bayesian ask/tell engine: what to try next, given the record so far."""

from raytuner.bayes.bayes import BayesProposer
from raytuner.bayes.forecast import Forecaster, Outlook, best_by_model
from raytuner.bayes.proposer import Proposal, Proposer, SobolProposer

__all__ = [
    "BayesProposer",
    "Forecaster",
    "Outlook",
    "Proposal",
    "Proposer",
    "SobolProposer",
    "best_by_model",
]
