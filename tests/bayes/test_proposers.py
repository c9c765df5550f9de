import pytest
from proposer_conformance import SPACES, Make, ProposerConformance, endings

from raytuner.bayes import BayesProposer, SobolProposer
from raytuner.history import TrialState
from raytuner.space import Space


class TestSobolProposer(ProposerConformance):
    @pytest.fixture
    def make(self) -> Make:
        return SobolProposer

    @pytest.fixture(params=endings(sorted(SPACES), every=None))
    def ended(self, request: pytest.FixtureRequest) -> tuple[Space, TrialState]:
        """Results play no part."""
        case: tuple[Space, TrialState] = request.param
        return case


class TestBayesProposer(ProposerConformance):
    @pytest.fixture
    def make(self) -> Make:
        return lambda space, seed: BayesProposer(space, seed, n_initial=4)
