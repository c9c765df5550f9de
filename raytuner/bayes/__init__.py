"""The Bayesian engine, ask and tell: what to try next, given the record so far."""

from raytuner.bayes.bayes import BayesProposer
from raytuner.bayes.forecast import Forecast, Forecaster, Outlook
from raytuner.bayes.proposer import Proposal, Proposer
from raytuner.bayes.recommend import best_by_model
from raytuner.bayes.sobol import SobolProposer

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
