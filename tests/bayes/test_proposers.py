import pytest
from proposer_conformance import Make, ProposerConformance

from raytuner.bayes import BayesProposer, SobolProposer


class TestSobolProposer(ProposerConformance):
    @pytest.fixture
    def make(self) -> Make:
        return SobolProposer

    ends_in = None  # results play no part


class TestBayesProposer(ProposerConformance):
    @pytest.fixture
    def make(self) -> Make:
        return lambda space, seed: BayesProposer(space, seed, n_initial=4)
