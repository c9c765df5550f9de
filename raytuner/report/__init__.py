"""What a person reads of a study: plots, the model behind them, and one self-contained page."""

from raytuner.report.figures import Figures
from raytuner.report.model import Prediction, Surrogate
from raytuner.report.page import render

__all__ = ["Figures", "Prediction", "Surrogate", "render"]
