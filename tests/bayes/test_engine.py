"""What the parts of the engine promise."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.models import SingleTaskGP
from botorch.sampling.normal import SobolQMCNormalSampler
from gpytorch.mlls import ExactMarginalLogLikelihood
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from problems import BRANIN, MIXED, random_trials, watch_acquisitions

from raytuner.bayes import BayesProposer, SobolProposer, scale, surrogate
from raytuner.bayes.acquisition import (
    LogExpectedImprovement,
    PureExploration,
    log_improvement,
)
from raytuner.bayes.dataset import (
    MAX_ROWS,
    Dataset,
    dataset,
    most_informative,
    standardise,
    warp_worse_half,
)
from raytuner.bayes.kernel import ConfigurationKernel
from raytuner.bayes.maximise import maximise
from raytuner.bayes.proposer import ExclusionList
from raytuner.bayes.surrogate import FIT_ERRORS, Posterior, fit, hyperparameters, numerics
from raytuner.errors import RaytunerWarning, SettingError
from raytuner.history import History, Origin, TrialState
from raytuner.space import Categorical, Float, Integer, Ordinal, Space, when

finite = hnp.arrays(
    np.float64, st.integers(1, 40), elements=st.floats(-1e12, 1e12, allow_subnormal=False)
)


class TestOutcome:
    @given(finite)
    def test_warping_keeps_the_order_and_the_better_half(self, y: np.ndarray) -> None:
        warped = warp_worse_half(y)
        assert np.isfinite(warped).all()
        better = y >= np.median(y)
        assert np.array_equal(warped[better], y[better])
        order = np.argsort(y, kind="stable")
        assert (np.diff(warped[order]) >= 0).all()

    def test_one_awful_value_does_not_set_the_scale(self) -> None:
        y = np.append(np.linspace(0, 1, 20), -1e12)
        spread_of_the_good = np.ptp(standardise(warp_worse_half(y))[10:20])
        assert spread_of_the_good > 0.5
        assert np.ptp(standardise(y)[10:20]) < 1e-6

    @given(finite)
    @example(np.array([4.35589775e-161, 0.0]))
    def test_standardised(self, y: np.ndarray) -> None:
        z = standardise(y)
        assert np.isfinite(z).all()
        assert abs(z.mean()) < 1e-6 or np.ptp(y) == 0
        assert z.std() < 1 + 1e-6


def _record(states: dict[str, tuple[TrialState, dict[float, float]]]) -> History:
    history = History(Space({"x": Float(0, 1)}), metric="loss", mode="min", max_t=9)
    for number, (trial_id, (state, curve)) in enumerate(states.items()):
        history.add(trial_id, {"x": number / 10})
        for t, value in curve.items():
            history.report(trial_id, t, value)
        if not state.is_live:
            history.end(trial_id, state)
    return history


class TestDataset:
    def test_without_early_stopping_only_final_values_count(self) -> None:
        history = _record(
            {
                "a": (TrialState.COMPLETED, {1: 5.0, 9: 3.0}),
                "b": (TrialState.COMPLETED, {1: 4.0, 9: 1.0}),
                "c": (TrialState.RUNNING, {1: 0.5}),
            }
        )
        data = dataset(history.snapshot())
        assert not data.has_fidelity
        assert data.X.ravel().tolist() == [0.0, 0.1]
        assert data.y[1] > data.y[0]

    def test_a_stopped_value_stays_at_its_resource(self) -> None:
        history = _record(
            {
                "a": (TrialState.COMPLETED, {1: 5.0, 3: 4.0, 9: 3.0}),
                "b": (TrialState.STOPPED_EARLY, {1: 6.0, 3: 5.8}),
                "c": (TrialState.COMPLETED, {1: 5.5, 5: 4.5}),  # ended by itself: final
            }
        )
        data = dataset(history.snapshot())
        assert data.has_fidelity
        fidelity_of = {x: s.max() for x in (0.0, 0.1, 0.2) for s in [data.X[data.X[:, 0] == x, 1]]}
        assert fidelity_of[0.0] == fidelity_of[0.2] == 1.0
        assert fidelity_of[0.1] == pytest.approx(0.5)  # of the way from 1 to 9, by the logarithm

    def test_of_too_many_rows_the_best_stay_and_a_share_of_the_others(self) -> None:
        y = np.random.default_rng(0).normal(size=1000)
        kept = most_informative(y, 300)
        assert len(set(kept)) == 300
        assert set(np.argsort(-y)[:100]) <= set(kept)
        assert np.all(np.diff(kept) > 0)
        assert kept.min() < 20
        assert kept.max() > 980
        assert most_informative(y, 1000).tolist() == list(range(1000))

    def test_curves_count_on_request_before_any_trial_was_stopped(self) -> None:
        history = _record(
            {
                "a": (TrialState.COMPLETED, {1: 5.0, 9: 3.0}),
                "b": (TrialState.RUNNING, {1: 0.5}),
            }
        )
        data = dataset(history.snapshot(), curves=True)
        assert data.has_fidelity
        assert data.X.tolist() == [[0.0, 0.0], [0.0, 1.0], [0.1, 0.0]]

    def test_failed_trials_are_as_bad_as_the_worst(self) -> None:
        history = _record(
            {
                "a": (TrialState.COMPLETED, {9: 3.0}),
                "b": (TrialState.COMPLETED, {9: 1.0}),
                "c": (TrialState.FAILED, {1: 0.1}),
                "d": (TrialState.FAILED, {9: math.nan}),
            }
        )
        data = dataset(history.snapshot())
        assert len(data) == 4
        assert data.y[2] == data.y[3] == data.y.min()
        assert len(data.evaluated) == 2

    def test_long_curves_are_thinned_and_the_last_value_kept(self) -> None:
        curves = {
            str(i): (TrialState.STOPPED_EARLY, {float(t): 1.0 / t for t in range(1, 101)})
            for i in range(8)
        }
        data = dataset(_record(curves).snapshot())
        assert len(data) <= 8 * 8
        assert set(np.bincount((data.X[:, 0] * 10).round().astype(int))) == {len(data) // 8}

    def test_rows_are_bounded(self) -> None:
        rng = np.random.default_rng(0)
        history = History(Space({"x": Float(0, 1)}), metric="loss", mode="min", max_t=27)
        for i in range(MAX_ROWS // 2):
            history.add(str(i), {"x": float(rng.random())})
            for t in (1, 3, 9):
                history.report(str(i), t, float(rng.random()))
            history.end(str(i), TrialState.STOPPED_EARLY)
        data = dataset(history.snapshot())
        assert len(data) == MAX_ROWS
        assert len(data.evaluated) == MAX_ROWS // 2


class TestExclusionList:
    def test_unused_finds_the_last_one_left(self) -> None:
        space = Space({"a": Integer(0, 9), "b": Categorical(list("abc"))})
        every = space.sample(np.random.default_rng(0), 2000)
        points = np.unique(space.encode(every), axis=0)
        assert len(points) == 30
        excluded = ExclusionList(space, points[:-1])
        assert not excluded.exhausted
        assert np.array_equal(excluded.unused(np.random.default_rng(1), 5), points[-1:])
        excluded.add(points[:1])  # it is used already
        assert not excluded.exhausted
        longer = excluded.with_added(points[-1:])
        assert longer.exhausted
        assert not excluded.exhausted
        excluded.add(points[-1:])
        assert excluded.exhausted
        assert len(excluded.unused(np.random.default_rng(1), 5)) == 0

    def test_a_reset_forgets_what_is_not_in_the_record(self) -> None:
        space = Space({"x": Float(0, 1)})
        points = np.array([[0.1], [0.2], [0.3], [0.4]])

        def used(excluded: ExclusionList) -> list[bool]:
            return [not bool(excluded.new(point[None])[0]) for point in points]

        excluded = ExclusionList(space, points[:1])
        excluded.add(points[2:3])
        assert used(excluded) == [True, False, True, False]
        excluded.reset(points[:2])  # it has grown
        assert used(excluded) == [True, True, False, False]
        excluded.reset(points[1:3])  # it is another
        assert used(excluded) == [False, True, True, False]
        excluded.reset(points[3:])
        assert used(excluded) == [False, False, False, True]

    def test_repeats_within_a_batch_are_new_once(self) -> None:
        space = Space({"x": Float(0, 1)})
        excluded = ExclusionList(space, np.array([[0.5]]))
        assert excluded.new(np.array([[0.5], [0.2], [0.2]])).tolist() == [False, True, False]


class TestMaximise:
    @settings(max_examples=15)
    @given(st.integers(0, 2**31), st.floats(0.05, 0.95), st.integers(1, 12), st.integers(0, 3))
    def test_finds_the_top_of_a_mixed_hill(
        self, seed: int, lr: float, layers: int, act: int
    ) -> None:
        space = MIXED.space
        names = ["relu", "tanh", "gelu", "elu"]
        top = torch.tensor(space.encode([{"lr": 1.0, "layers": layers, "act": names[act]}])[0])
        top[0] = lr

        def hill(X: torch.Tensor) -> torch.Tensor:
            away = (X[..., 2] != top[2]).double()
            return -((X[..., :2] - top[:2]) ** 2).sum(-1) - away

        with numerics():
            (point,) = maximise(
                hill,
                space,
                np.empty((0, 3)),
                ExclusionList(space, np.empty((0, 3))),
                np.random.default_rng(seed),
            )
        (config,) = space.decode(point[None])
        assert config["layers"] == layers
        assert config["act"] == names[act]
        assert abs(point[0] - lr) < 1e-3

    def test_the_top_itself_may_be_used_up(self) -> None:
        space = Space({"n": Integer(0, 20)})
        excluded = ExclusionList(space, space.encode([{"n": 10}]))

        def hill(X: torch.Tensor) -> torch.Tensor:
            return -((X[..., 0] - float(space.encode([{"n": 10}])[0, 0])) ** 2)

        (point,) = maximise(hill, space, np.empty((0, 1)), excluded, np.random.default_rng(0))
        assert space.decode(point[None])[0]["n"] in (9, 11)

    @pytest.mark.parametrize("rule", ["x + y + z <= 1", lambda c: c["x"] + c["y"] + c["z"] <= 1])
    def test_finds_the_top_on_the_border_of_what_is_allowed(self, rule: Any) -> None:
        space = Space({name: Float(0, 1) for name in "xyz"}, [rule])
        target = torch.tensor([0.9, 0.6, 0.3], dtype=torch.double)  # the top is 0.8 / 3 below

        def hill(X: torch.Tensor) -> torch.Tensor:
            return -50 * ((X - target) ** 2).sum(-1)

        none = np.empty((0, 3))
        (point,) = maximise(hill, space, none, ExclusionList(space, none), np.random.default_rng(0))
        space.validate(space.decode(point[None])[0])
        assert np.abs(point - (target.numpy() - 0.8 / 3)).max() < 0.03

    def test_finds_the_best_levels_that_are_allowed(self) -> None:
        space = Space(
            {"layers": Integer(1, 8), "units": Ordinal([16, 32, 64, 128]), "x": Float(0, 1)},
            ["layers * units <= 256"],
        )

        def hill(X: torch.Tensor) -> torch.Tensor:
            return X[..., 0] + 3 * X[..., 1] - (X[..., 2] - 0.3) ** 2

        none = np.empty((0, 3))
        (point,) = maximise(hill, space, none, ExclusionList(space, none), np.random.default_rng(0))
        (config,) = space.decode(point[None])
        assert (config["layers"], config["units"]) == (2, 128)
        assert config["x"] == pytest.approx(0.3, abs=0.01)


class TestSobolUnderConstraints:
    def test_it_follows_the_sequence_whatever_was_left_out(self) -> None:
        space = Space({"x": Float(0, 1), "y": Float(0, 1)}, ["x + y <= 0.5"])
        history = History(space, metric="loss", mode="min")
        proposer = SobolProposer(space, 0)
        for i in range(60):
            if i % 20 == 0:
                proposer = SobolProposer(space, 0)  # the record says it all
            proposer.tell(history.snapshot())
            history.add(str(i), proposer.ask(1)[0].config)
        free = SobolProposer(Space(space.template), 0).draw(600)[0]
        assert np.allclose(history.points(), free[free.sum(axis=1) <= 0.5][:60])

    def test_a_huge_space_of_which_three_are_allowed_does_not_hang(self) -> None:
        space = Space({name: Integer(0, 99) for name in "abc"}, ["a + b + c <= 12", "a != 3"])
        proposer = SobolProposer(space, 0)
        found = proposer.ask(30)
        assert len({str(p.config) for p in found}) == 30


def _fitted_record(n: int = 14) -> History:
    return random_trials(BRANIN, n)


def _stopped_record() -> History:
    """Curves in a mixed space, most of them stopped at t = 1."""
    rng = np.random.default_rng(1)
    history = History(MIXED.space, metric="loss", mode="min", max_t=9)
    for i, config in enumerate(MIXED.space.sample(rng, 20)):
        history.add(str(i), config)
        stop = 9 if i % 4 == 0 else 1
        for t in range(1, stop + 1):
            history.report(str(i), t, MIXED.loss(config) + 1.0 / t)
        history.end(str(i), TrialState.COMPLETED if stop == 9 else TrialState.STOPPED_EARLY)
    return history


class TestConditions:
    SPACE = Space(
        {
            "kind": Categorical(["a", "b"]),
            "x": when(Float(0, 1), kind="a"),
            "level": when(Categorical(["u", "v", "w"]), kind="b"),
            "y": Float(0, 1),
        }
    )

    def _kernel(self, configs: list[dict[str, Any]]) -> torch.Tensor:
        kernel = ConfigurationKernel(self.SPACE.columns, has_fidelity=False)
        X = torch.as_tensor(self.SPACE.encode(configs))
        with torch.no_grad():
            k: torch.Tensor = kernel.forward(X, X)
        return k

    def test_what_both_lack_is_not_compared(self) -> None:
        """Of two that lack x, neither its coordinate nor anything else about it counts."""
        kernel = ConfigurationKernel(self.SPACE.columns, has_fidelity=False)
        X = torch.as_tensor(self.SPACE.encode([{"kind": "b", "level": "v", "y": 0.1}] * 2))
        X[1, 1] = 0.9  # as a search for the best point may leave it
        assert float(kernel.forward(X[:1], X[1:])) == pytest.approx(1.0)

    def test_absence_is_as_far_from_any_value_as_the_ends_from_each_other(self) -> None:
        with_x = [{"kind": "a", "x": x, "y": 0.5} for x in (0.0, 0.3, 1.0)]
        lacks = [{"kind": "b", "level": level, "y": 0.5} for level in ("u", "v", "w")]
        k = self._kernel([*with_x, *lacks])
        across = k[:3, 3:]
        assert torch.allclose(across, across[0, 0].expand(3, 3))
        assert float(across[0, 0]) < float(k[0, 2]) < float(k[0, 1])

    def test_is_a_covariance(self) -> None:
        configs = self.SPACE.sample(np.random.default_rng(0), 60)
        assert float(torch.linalg.eigvalsh(self._kernel(configs)).min()) > -1e-9

    def test_proposals_fit_the_space_and_are_never_the_same(self) -> None:
        space = Space(
            {"a": Integer(0, 2), "b": when(Integer(0, 3), a=1), "c": when(Integer(0, 1), a=2)}
        )
        history = History(space, metric="loss", mode="min")
        proposer = BayesProposer(space, 0, n_initial=3)
        for i in range(7):  # all there are
            proposer.tell(history.snapshot())
            (proposal,) = proposer.ask(1)
            history.add(str(i), proposal.config, proposal.origin)
            history.report(str(i), 1, float(i % 3))
            history.end(str(i), TrialState.COMPLETED)
            space.validate(proposal.config)
        assert len({str(t.config) for t in history.trials}) == 7 == space.cardinality


class TestAcquisition:
    def test_a_pending_point_takes_the_gain_from_its_surroundings(self) -> None:
        data = dataset(_fitted_record().snapshot())
        none = np.empty((0, 2))
        with numerics():
            posterior = Posterior.of(fit(data, BRANIN.space.columns))
            alone = LogExpectedImprovement(posterior, data.evaluated, none, seed=0)
            (top,) = maximise(
                alone,
                BRANIN.space,
                none,
                ExclusionList(BRANIN.space, none),
                np.random.default_rng(0),
            )
            beside = LogExpectedImprovement(posterior, data.evaluated, top[None], seed=0)
            X = torch.as_tensor(top[None])
            assert float(beside(X).detach()) < float(alone(X).detach()) - 1.0
            again = LogExpectedImprovement(posterior, data.evaluated, none, seed=0)
            again.add_pending(top)
            assert float(again(X).detach()) == pytest.approx(float(beside(X).detach()))

    @pytest.mark.parametrize("p", [0, 3])
    def test_orders_points_as_botorchs_qlognei_does(self, p: int) -> None:
        for record in (_fitted_record(), _stopped_record()):
            data = dataset(record.snapshot())
            d = record.space.dim
            rng = np.random.default_rng(1)
            pending = record.space.snap(rng.random((p, d)))
            X = torch.as_tensor(record.space.snap(rng.random((40, d))))

            def full(points: np.ndarray, lift: bool = data.has_fidelity) -> torch.Tensor:
                return torch.as_tensor(
                    np.column_stack([points, np.ones(len(points))]) if lift else points
                )

            with numerics():
                model = fit(data, record.space.columns)
            with numerics(), torch.no_grad():
                ours = LogExpectedImprovement(Posterior.of(model), data.evaluated, pending, seed=0)(
                    X
                )
                its = qLogNoisyExpectedImprovement(
                    model,
                    X_baseline=full(data.evaluated),
                    X_pending=full(pending) if p else None,
                    sampler=SobolQMCNormalSampler(torch.Size([4096]), seed=0),
                    prune_baseline=False,
                )(full(X.numpy()).unsqueeze(-2))
            promising = its > its.max() - 4.0  # where its samples still see an improvement
            assert promising.sum() >= 3
            assert torch.allclose(ours[promising], its[promising], atol=0.35)
            assert float(ours[its.argmax()]) > float(ours.max()) - 0.3

    @pytest.mark.parametrize("curve", [0.0, 3.0])
    def test_chooses_as_botorchs_qlognei_where_many_could_be_the_best(self, curve: float) -> None:
        """Sixty values of one dimension, with more noise than there is to be seen."""
        X = torch.linspace(0, 1, 201, dtype=torch.double)[:, None]
        for seed in range(2, 6):
            rng = np.random.default_rng(seed)
            x, noise = rng.random(60), rng.normal(size=60)
            history = History(Space({"x": Float(0, 1)}), metric="loss", mode="min")
            for i, value in enumerate(noise + curve * (x - 0.4) ** 2):
                history.add(str(i), {"x": float(x[i])})
                history.report(str(i), 1, float(value))
                history.end(str(i), TrialState.COMPLETED)
            data = dataset(history.snapshot())
            with numerics():
                model = fit(data, history.space.columns)
            with numerics(), torch.no_grad():
                ours = LogExpectedImprovement(
                    Posterior.of(model), data.evaluated, np.empty((0, 1)), seed=0
                )(X)
                its = qLogNoisyExpectedImprovement(
                    model,
                    X_baseline=torch.as_tensor(data.evaluated),
                    sampler=SobolQMCNormalSampler(torch.Size([2048]), seed=0),
                    prune_baseline=False,
                )(X.unsqueeze(-2))
            assert float(its[ours.argmax()]) > float(its.max()) - 0.3

    def test_chooses_as_one_pending_point_after_the_other_would(self) -> None:
        for record in (_fitted_record(), _stopped_record()):
            data, space = dataset(record.snapshot()), record.space
            rng = np.random.default_rng(2)
            pending = space.snap(rng.random((2, space.dim)))
            candidates = np.unique(space.snap(rng.random((200, space.dim))), axis=0)
            with numerics():
                model = fit(data, space.columns)
            with numerics(), torch.no_grad():
                acquisition = LogExpectedImprovement(
                    Posterior.of(model), data.evaluated, pending, seed=0
                )
                chosen = acquisition.choose(candidates, 5)
                assert len(np.unique(chosen, axis=0)) == 5
                for i, point in enumerate(chosen):
                    values = acquisition(torch.as_tensor(candidates))
                    own = float(acquisition(torch.as_tensor(point[None])))
                    # The first by the same samples, the others by samples of their own.
                    assert own == pytest.approx(float(values.max()), abs=0.3 if i else 1e-9)
                    acquisition.add_pending(point)

    def test_chooses_no_more_than_there_is(self) -> None:
        data = dataset(_fitted_record().snapshot())
        candidates = np.random.default_rng(0).random((3, 2))
        with numerics():
            model = fit(data, BRANIN.space.columns)
            acquisition = LogExpectedImprovement(
                Posterior.of(model), data.evaluated, np.empty((0, 2)), seed=0
            )
        everything = acquisition.choose(candidates, 3)
        assert sorted(map(tuple, everything)) == sorted(map(tuple, candidates))

    @pytest.mark.parametrize("n", [6, 40])
    def test_a_batch_spreads(self, n: int) -> None:
        proposer = BayesProposer(BRANIN.space, 0)
        proposer.tell(_fitted_record().snapshot())
        proposals = proposer.ask(n)
        assert {p.origin for p in proposals} == {Origin.BAYES}
        points = BRANIN.space.encode([p.config for p in proposals])
        gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)
        assert gaps[np.triu_indices(n, 1)].min() > 0.01 * 6 / n


class TestLogImprovement:
    def test_agrees_with_an_integral(self) -> None:
        for u in (-6.0, -1.0, -0.999, 0.0, 2.0):
            x = torch.linspace(-u, -u + 40, 400_001, dtype=torch.double)
            density = torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)
            area = torch.trapezoid((x + u) * density, x)
            value = log_improvement(torch.tensor(u, dtype=torch.double))
            assert float(value) == pytest.approx(math.log(area), rel=1e-6)

    def test_is_smooth_and_increasing_far_out(self) -> None:
        u = torch.cat([-torch.logspace(-3, 12, 500), torch.linspace(-2, 30, 200)]).double()
        u = u.sort().values.requires_grad_()
        values = log_improvement(u)
        (gradient,) = torch.autograd.grad(values.sum(), u)
        assert (values.diff() >= 0).all()
        assert gradient.isfinite().all()
        assert (gradient > 0).all()


class TestSurrogate:
    def test_the_loss_is_gpytorchs(self) -> None:
        """The written-out loss against the library's, for each kind of structure."""
        for record in (_fitted_record(), _stopped_record()):
            data = dataset(record.snapshot())
            with numerics():
                model = surrogate.make_model(data, record.space.columns)
                model.train()
                mll = ExactMarginalLogLikelihood(model.likelihood, model)
                expected = -mll(model(*model.train_inputs), model.train_targets)
                gradients = torch.autograd.grad(expected, list(model.parameters()))
                loss, ours = surrogate._loss_and_gradients(model)
            assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
            for mine, its in zip(ours, gradients, strict=True):
                assert mine is not None
                assert torch.allclose(mine, its, rtol=1e-6, atol=1e-9)

    def test_categories_have_no_order(self) -> None:
        """A category between two good ones, by position, is not taken to be good."""
        space = Space({"c": Categorical(list("abc")), "x": Float(0, 1)})
        history = History(space, metric="score", mode="max")
        observed = [("ac"[i % 2], x, 1.0 + 0.1 * x) for i, x in enumerate(np.linspace(0, 1, 24))]
        for i, (c, x, score) in enumerate([*observed, ("b", 0.2, 0.0), ("b", 0.8, 0.0)]):
            history.add(str(i), {"c": c, "x": x})
            history.report(str(i), 1, score)
            history.end(str(i), TrialState.COMPLETED)
        data = dataset(history.snapshot())
        with numerics():
            model = fit(data, space.columns)
            X = torch.as_tensor(space.encode([{"c": c, "x": 0.5} for c in "abc"]))
            a, b, c_ = model.posterior(X).mean.ravel().tolist()
        assert b < min(a, c_) - 0.5

    def test_a_warm_fit_is_as_likely_as_a_cold_one(self) -> None:
        history = _fitted_record(20)
        data = dataset(history.snapshot())
        with numerics():
            cold = fit(data, BRANIN.space.columns)
            warm = fit(data, BRANIN.space.columns, hyperparameters(cold))
        assert np.allclose(hyperparameters(cold), hyperparameters(warm), rtol=0.2, atol=0.05)

    def test_many_rows_are_fitted_by_a_part_and_predicted_from_by_all(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows: list[int] = []
        real = surrogate._loss_and_gradients

        def counted(model: SingleTaskGP) -> Any:
            rows.append(len(model.train_targets))
            return real(model)

        monkeypatch.setattr(surrogate, "_loss_and_gradients", counted)
        data = dataset(_fitted_record(400).snapshot())
        with numerics():
            model = fit(data, BRANIN.space.columns)
            part = fit(data.take(np.arange(0, 400, 2)), BRANIN.space.columns)
            left_out = torch.as_tensor(data.X[1::2])
            errors = [
                (m.posterior(left_out).mean.squeeze(-1) - torch.as_tensor(data.y[1::2]))
                .abs()
                .mean()
                for m in (model, part)
            ]
        assert max(rows) == 300
        assert len(model.train_targets) == 400
        assert errors[0] < 0.5 * errors[1]

    def test_hyperparameters_of_another_structure_are_left_aside(self) -> None:
        data = dataset(_fitted_record().snapshot())
        with numerics():
            fit(data, BRANIN.space.columns, [1.0])

    def test_early_stopping_learns_across_resources(self) -> None:
        """Curves that keep their order let values at t = 1 tell the best at t = 9."""
        space = Space({"x": Float(0, 1)})
        away = []
        for seed in range(5):
            history = History(space, metric="loss", mode="min", max_t=9)
            for i, x in enumerate(np.random.default_rng(seed).random(24)):
                history.add(str(i), {"x": float(x)})
                stop = 9 if i % 4 == 0 else 1
                for t in range(1, stop + 1):
                    history.report(str(i), t, (x - 0.7) ** 2 + 1.0 / t)
                completed = stop == 9
                history.end(str(i), TrialState.COMPLETED if completed else TrialState.STOPPED_EARLY)
            proposer = BayesProposer(space, 0)
            proposer.tell(history.snapshot())
            (proposal,) = proposer.ask(1)
            assert proposal.origin is Origin.BAYES
            away.append(abs(proposal.config["x"] - 0.7))
        assert np.median(away) < 0.1


class TestBayesProposer:
    def test_starts_quasi_random_then_bayesian(self) -> None:
        proposer = BayesProposer(BRANIN.space, 0, n_initial=6)
        history = History(BRANIN.space, metric="loss", mode="min")
        origins = []
        for i in range(9):
            proposer.tell(history.snapshot())
            (proposal,) = proposer.ask(1)
            origins.append(proposal.origin)
            history.add(str(i), proposal.config)
            history.report(str(i), 1, BRANIN.loss(proposal.config))
            history.end(str(i), TrialState.COMPLETED)
        assert origins == [Origin.SOBOL] * 6 + [Origin.BAYES] * 3

    def test_a_fit_that_fails_says_so_and_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: object) -> None:
            raise FIT_ERRORS[0]("no optimum")

        proposer = BayesProposer(BRANIN.space, 0)
        proposer.tell(_fitted_record().snapshot())
        monkeypatch.setattr(surrogate.WarmFit, "__call__", fail)
        with pytest.warns(RaytunerWarning, match="no optimum"):
            proposals = proposer.ask(2)
        assert [p.origin for p in proposals] == [Origin.SOBOL] * 2

    def test_fits_hyperparameters_again_when_rows_grew_by_a_tenth(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fits: list[int] = []
        real = surrogate.fit

        def counted(data: Dataset, *rest: Any) -> SingleTaskGP:
            fits.append(len(data))
            return real(data, *rest)

        monkeypatch.setattr(surrogate, "fit", counted)
        monkeypatch.setattr(scale, "fit", counted)
        proposer = BayesProposer(BRANIN.space, 0)
        history = _fitted_record(48)
        for i in range(9):
            proposer.tell(history.snapshot())
            config = proposer.ask(1)[0].config
            history.add(f"next{i}", config)
            history.report(f"next{i}", 1, BRANIN.loss(config))
            history.end(f"next{i}", TrialState.COMPLETED)
        assert fits == [48, 48, 49, 50, 55]  # the first by values and by ranks

    def test_keeps_torch_and_the_users_threads_as_they_were(self) -> None:
        before = torch.get_num_threads()
        proposer = BayesProposer(BRANIN.space, 0)
        proposer.tell(_fitted_record().snapshot())
        state = torch.random.get_rng_state()
        proposer.ask(1)
        assert torch.get_num_threads() == before
        assert torch.equal(torch.random.get_rng_state(), state)
        assert torch.get_default_dtype() is torch.float32

    def test_no_warning_reaches_the_user(self) -> None:
        proposer = BayesProposer(MIXED.space, 0)
        history = History(MIXED.space, metric="loss", mode="min")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for i in range(12):
                proposer.tell(history.snapshot())
                (proposal,) = proposer.ask(1)
                history.add(str(i), proposal.config)
                history.report(str(i), 1, MIXED.loss(proposal.config))
                history.end(str(i), TrialState.COMPLETED)

    def test_n_initial_of_nothing_is_refused(self) -> None:
        with pytest.raises(SettingError, match="n_initial is 0"):
            BayesProposer(BRANIN.space, n_initial=0)


class TestPureExploration:
    def test_is_largest_where_a_configuration_may_be_the_best(
        self,
    ) -> None:
        data = dataset(_fitted_record().snapshot())
        with numerics():
            posterior = Posterior.of(fit(data, BRANIN.space.columns))
        X = torch.as_tensor(BRANIN.space.draw(np.random.default_rng(1), 300))
        with torch.no_grad():
            value = PureExploration(posterior, data.evaluated, np.empty((0, 2)), seed=0)(X)
            mean, sd = posterior.laws(X)
            best = posterior.laws(torch.as_tensor(data.evaluated))[0].max()
        may_be, is_worse = mean + 2 * sd > best, mean + 2 * sd < best - 0.1
        assert is_worse.any()
        assert may_be[value.argmax()]
        # Less than that of the posterior: the true values of the evaluated are sampled.
        assert (value <= sd.log() + 1e-6).all()
        assert (value < sd.log() - 0.3)[is_worse].all()

    def test_a_pending_configuration_is_not_explored_again(self) -> None:
        data = dataset(_fitted_record().snapshot())
        with numerics():
            posterior = Posterior.of(fit(data, BRANIN.space.columns))
        X = torch.as_tensor(BRANIN.space.draw(np.random.default_rng(1), 300))
        with torch.no_grad():
            acquisition = PureExploration(posterior, data.evaluated, np.empty((0, 2)), seed=0)
            first = int(acquisition(X).argmax())
            before = float(acquisition(X)[first])
            acquisition.add_pending(X[first].numpy())
            assert float(acquisition(X)[first]) < before - 1

    @pytest.fixture
    def made(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[type, int]]:
        """What each proposal maximises, and for how many configurations."""
        return watch_acquisitions(monkeypatch)

    @pytest.mark.parametrize(
        ("left", "explored"), [(None, [15, 23]), (100, [15, 23]), (12, [15])], ids=str
    )
    def test_every_eighth_proposal_explores_until_few_are_left(
        self, made: list[tuple[type, int]], left: int | None, explored: list[int]
    ) -> None:
        record = _fitted_record()
        proposer = BayesProposer(BRANIN.space, 0)
        first = len(record.trials)
        for place in range(first, 26):
            rest = None if left is None else left - (place - first)
            proposer.tell(replace(record.snapshot(), left=rest))
            (proposal,) = proposer.ask(1)
            record.add(str(place), proposal.config)
            record.report(str(place), 1, BRANIN.loss(proposal.config))
            record.end(str(place), TrialState.COMPLETED)
        found = [first + i for i, one in enumerate(made) if one == (PureExploration, 1)]
        assert found == explored

    def test_a_batch_has_its_share(self, made: list[tuple[type, int]]) -> None:
        proposer = BayesProposer(BRANIN.space, 0)
        proposer.tell(_fitted_record().snapshot())
        assert len(proposer.ask(32)) == 32
        assert made == [(LogExpectedImprovement, 28), (PureExploration, 4)]
