"""The Bayesian ask/tell engine: what to try next, given the record so far."""

from raytuner.bayes.bayes import BayesProposer
from raytuner.bayes.design import SobolProposer
from raytuner.bayes.forecast import Forecast, Forecaster, Outlook
from raytuner.bayes.proposer import Proposal, Proposer
from raytuner.bayes.surrogate import best_by_model

__all__ = [
    "BayesProposer",
    "Forecast",
    "Forecaster",
    "Outlook",
    "Proposal",
    "Proposer",
    "SobolProposer",
    "best_by_model",
]
