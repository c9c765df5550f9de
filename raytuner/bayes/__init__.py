"""The Bayesian engine, with an ask/tell interface. It proposes configurations from the record."""

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
