"""Ray Tune's spaces, translated: the same supports and laws as Tune's own draws."""

from __future__ import annotations

import copy
import math
from collections import Counter, namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import ray
from hypothesis import given, settings
from hypothesis import strategies as st
from naming import named
from ray import tune as ray_tune
from ray.tune.impl.placeholder import create_resolvers_map, inject_placeholders
from ray.tune.search import sample
from scipy import stats

from raytuner.errors import SpaceError
from raytuner.search.tune_space import fidelity, has_domains, space_from_tune, when
from raytuner.space import Categorical, Domain, Float, Integer, Normal, Ordinal

tune: Any = ray_tune  # Ray's annotations forbid some of what it accepts, and must refuse

DRAWS = 20_000


def with_sampler(domain: Any, sampler: Any) -> Any:
    domain.set_sampler(sampler, allow_override=True)
    return domain


def translated(domain: Any) -> Domain:
    """The domain that `domain` becomes, also where it has a single value."""
    space = space_from_tune({"x": domain, "other": tune.uniform(0, 1)})
    leaf = space.template["x"]
    assert isinstance(leaf, Domain)
    return leaf


def tune_draws(domain: Any, n: int = DRAWS) -> list[Any]:
    drawn = domain.sample(size=n, random_state=np.random.default_rng(7))
    return [domain.cast(value) for value in drawn]  # as Ray does with a single draw


def as_written(values: list[Any]) -> list[Any]:
    """Tune's draws without the rounding error of `k * q`: 0.3 for 0.30000000000000004."""
    return [round(v, 12) if isinstance(v, float) else v for v in values]


def counts(values: list[Any]) -> Counter[tuple[type, Any]]:
    """How often each value occurs; 1, 1.0 and True apart."""
    return Counter((type(value), value) for value in values)


def our_draws(domain: Domain, n: int = DRAWS) -> list[Any]:
    return domain.from_units(np.random.default_rng(11).random(n))


def levels(domain: Domain) -> list[Any]:
    return domain.from_units(domain.level_units())


CONTINUOUS: list[Callable[[], Any]] = [
    lambda: tune.uniform(-3, 7),
    lambda: tune.loguniform(1e-5, 1e-1),
    lambda: tune.randn(),
    lambda: tune.randn(10, 3),
]

# An older Ray rounds quantised draws so that the ends of a range are half as likely as here.
rounds_like_us = pytest.mark.skipif(
    tuple(map(int, ray.__version__.split(".")[:2])) < (2, 60), reason="Ray rounds differently"
)

DISCRETE: list[Callable[[], Any]] = [
    lambda: tune.quniform(0, 1, 0.1),
    lambda: tune.quniform(-1.5, 2, 0.5),
    lambda: tune.qloguniform(0.1, 2, 0.1),
    lambda: tune.randint(0, 2),
    lambda: tune.randint(-3, 9),
    lambda: tune.randint(1, 1e1),
    lambda: tune.qrandint(1, 10, 3),
    lambda: tune.qrandint(1, 10, 1),
    lambda: tune.qrandint(2, 20, 2.0),
    lambda: tune.lograndint(1, 2),
    lambda: tune.lograndint(3, 30),
    lambda: tune.qlograndint(1, 10, 3),
    lambda: tune.qlograndint(2, 12, 1),
    lambda: tune.choice(["a", "b", "c"]),
    lambda: tune.choice([1, 2.5, 4]),
]


@pytest.mark.parametrize("make", CONTINUOUS)
def test_continuous_laws_are_the_same(make: Callable[[], Any]) -> None:
    domain = translated(make())
    theirs = np.array(tune_draws(make()))
    u = domain.to_units(list(theirs))
    # Their draws through our distribution function are uniform, and ours are like theirs.
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert stats.ks_2samp(theirs, our_draws(domain)).pvalue > 1e-3
    assert all(domain.contains(x) for x in theirs)


@rounds_like_us
@pytest.mark.parametrize("make", DISCRETE)
def test_discrete_supports_and_laws_are_the_same(make: Callable[[], Any]) -> None:
    domain = translated(make())
    support = levels(domain)
    theirs, ours = counts(as_written(tune_draws(make()))), counts(our_draws(domain))
    assert set(theirs) == set(ours) == set(counts(support))
    # The widths of the decoder's steps, to 1e-5, are the probabilities.
    widths = counts(domain.from_units((np.arange(100_000) + 0.5) / 100_000))
    for drawn in (theirs, ours):
        expected = [widths[key] / 100_000 * DRAWS for key in drawn]
        assert len(drawn) == 1 or stats.chisquare(list(drawn.values()), expected).pvalue > 1e-3


def test_qrandn_has_the_same_law() -> None:
    domain = translated(tune.qrandn(1, 2, 0.5))
    theirs, ours = Counter(tune_draws(tune.qrandn(1, 2, 0.5))), Counter(our_draws(domain))
    assert all(domain.contains(x) for x in theirs)
    common = [x for x in theirs if theirs[x] + ours[x] > 20]
    table = [[drawn[x] for x in common] for drawn in (theirs, ours)]
    assert stats.chi2_contingency(table).pvalue > 1e-3
    u = domain.to_units(sorted(set(theirs)))
    assert (np.diff(u) > 0).all()


small = st.integers(-30, 30)


@rounds_like_us
@settings(max_examples=30)
@given(small, st.integers(1, 12), st.integers(1, 7))
def test_supports_of_integers(low: int, size: int, q: int) -> None:
    made = [tune.randint(low, low + size)]
    if low > 0:
        made.append(tune.lograndint(low, low + size))
    first, last = -(-low // q), (low + size) // q
    if first <= last and (q > 1 or size > 1):
        made.append(tune.qrandint(low, low + size, q))
        if low > 0:
            made.append(tune.qlograndint(low, low + size, q))
    for domain in made:
        ours = levels(translated(copy.deepcopy(domain)))
        assert set(counts(tune_draws(domain, 3000))) == set(counts(ours))


@rounds_like_us
@settings(max_examples=30)
@given(small, st.integers(0, 12), st.sampled_from([0.1, 0.25, 1e-3, 3.0, 7]))
def test_supports_of_quantised_floats(first: int, size: int, q: float) -> None:
    low, high = as_written([first * q, (first + size) * q])
    made = [tune.quniform(low, high, q)]
    if first > 0:
        made.append(tune.qloguniform(low, high, q))
    for domain in made:
        ours = levels(translated(copy.deepcopy(domain)))
        assert set(counts(as_written(tune_draws(domain, 3000)))) == set(counts(ours))


def test_tunes_own_draws_are_contained_at_the_bounds() -> None:
    for low, high in ((1e-4, 1e-1), (3e-7, 0.7), (1e-300, 1e300)):
        domain = translated(tune.loguniform(low, high))
        for end in (low, high):
            assert domain.contains(float(np.exp(np.log(end))))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (tune.uniform(0, 1), Float(0, 1)),
        (tune.uniform(2, 2), Float(2, 2)),
        (tune.quniform(0, 1, 0.1), Float(0, 1, step=0.1)),
        (tune.loguniform(1e-4, 1), Float(1e-4, 1, log=True)),
        (tune.qloguniform(0.1, 1, 0.1), Float(0.1, 1, log=True, step=0.1)),
        (tune.randn(1, 2), Normal(1, 2)),
        (tune.qrandn(1, 2, 0.5), Normal(1, 2, step=0.5)),
        (tune.randint(1, 9), Integer(1, 8)),
        (tune.randint(5, 6), Integer(5, 5)),
        (tune.randint(0, 2**53), Integer(0, 2**53 - 1)),
        (tune.qrandint(1, 10, 3), Integer(1, 10, step=3)),
        (tune.qrandint(1, 10), Integer(1, 9)),
        (tune.lograndint(1, 9), Integer(1, 8, log=True)),
        (tune.qlograndint(1, 10, 3), Integer(1, 10, log=True, step=3)),
        (tune.choice(["a", "b"]), Categorical(["a", "b"])),
        (tune.choice([1, 2]), Categorical([1, 2])),
        (tune.choice([1, 2, 4]), Ordinal([1, 2, 4])),
        (tune.choice([4, 2, 1]), Ordinal([4, 2, 1])),
        (tune.choice([1, 4, 2]), Categorical([1, 4, 2])),
        (tune.choice([False, 1, 2]), Categorical([False, 1, 2])),
        (tune.choice(range(3)), Ordinal([0, 1, 2])),
        (tune.choice([1, 2, math.inf]), Ordinal([1, 2, math.inf])),
        (tune.grid_search(["a", "b"]), Categorical(["a", "b"])),
        (tune.grid_search([0.1, 0.2, 0.3]), Ordinal([0.1, 0.2, 0.3])),
        (with_sampler(tune.choice(["a", "b"]), sample.Grid()), Categorical(["a", "b"])),
        (sample.Float(0, 1), Float(0, 1)),
        (Float(0, 1), Float(0, 1)),
    ],
    ids=named,
)
def test_translations(given: Any, expected: Domain) -> None:
    assert translated(given) == expected


def test_nested_spaces_and_constants() -> None:
    pair = namedtuple("pair", ["a", "b"])
    space = space_from_tune(
        {
            "net": {"layers": [tune.randint(1, 4), 5, (tune.uniform(0, 1), "x")]},
            "pair": pair(tune.uniform(0, 1), 1),
            "grid": {"grid_search": [1, 2], "more": 3},
            "const": {"a": None, "b": [1, 2]},
            "sizes": {7: tune.uniform(0, 1)},
        }
    )
    assert [c.name for c in space.columns] == [
        "net/layers/0",
        "net/layers/2/0",
        "pair/0",
        "sizes/7",
    ]
    [config] = space.decode(np.full((1, 4), 0.5))
    assert config == {
        "net": {"layers": [2, 5, (0.5, "x")]},
        "pair": (0.5, 1),
        "grid": {"grid_search": [1, 2], "more": 3},
        "const": {"a": None, "b": [1, 2]},
        "sizes": {7: 0.5},
    }


def test_the_given_space_is_left_as_it_was() -> None:
    given = {"a": tune.choice([1, 2, 3]), "b": [tune.uniform(0, 1)], "c": {"d": [1]}}
    before = repr({**given, "a": given["a"].categories})
    space_from_tune(given)
    assert repr({**given, "a": given["a"].categories}) == before


class Mine(sample.Float._Uniform):
    pass


class MyDomain(sample.Float):
    pass


def lograndint_from_zero() -> Any:
    domain = tune.lograndint(1, 5)
    domain.lower = 0
    return domain


FUNCTION = "received tune.sample_from, .* in the training function"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (tune.sample_from(lambda: 3), FUNCTION),
        (tune.choice([when(tune.uniform(0, 1), ok=1), 1]), "tune.choice; .* of a key in a dict"),
        (tune.grid_search([fidelity(tune.uniform(0, 1)), 1]), "a fidelity must exist in every"),
        (tune.choice([]), r"Categorical needs a list of one or more values, received \[\]"),
        (tune.choice([1, 1, 2]), "1 is listed twice; list each once"),
        (tune.grid_search([]), "one or more"),
        ({"grid_search": "abc"}, "tune.grid_search needs a list of values, received 'abc'"),
        ({"grid_search": 3}, "tune.grid_search needs a list of values, received 3"),
        (tune.uniform(3, 1), "low=3.0, high=1.0.*must not be above"),
        (sample.Float(True, 2), "low must be a finite number, .* True"),
        (sample.Float(None, 1), "low must be a finite number, received -inf"),
        (with_sampler(sample.Float(0, 1), Mine()), "Float with the unknown sampler Mine"),
        (with_sampler(sample.Float(0, 1), sample.Integer._Uniform()), "with the unknown sampler"),
        (tune.quniform(0, 1, 0.1).quantized(0.5), "unknown sampler Quantized"),
        (
            with_sampler(tune.choice([1, 2]), sample.Quantized(sample.Uniform(), 2)),
            "unknown sampler",
        ),
        (MyDomain(0, 1), "received MyDomain with the unknown sampler Float._Uniform"),
        (sample.Domain.__new__(MyDomain), "MyDomain"),
        (tune.randint(5, 5), "integers from 5 up to 5 without 5 itself: there are none"),
        (tune.qrandint(5, 5, 1), "integers from 5 up to 5"),
        (tune.randint(9, 5), "low=9, high=5.*must not be above"),
        (tune.randint(1, 5.5), "high must be a whole number, received 5.5"),
        (lograndint_from_zero(), "low=0.* low must be above 0, received 0"),
        (tune.qrandint(4, 5, 3), "no multiple of step=3"),
        (tune.qrandint(1, 9, 0), "step must be above 0, received 0"),
        (tune.qrandn(0, 1, -1), "step must be above 0, received -1"),
    ],
    ids=named,
)
def test_refused_with_its_key(given: Any, said: str) -> None:
    with pytest.raises(SpaceError, match=f"^net/x: .*{said}"):
        space_from_tune({"ok": tune.uniform(0, 1), "net": {"x": given}})
    with pytest.raises(SpaceError, match=f"^net/x/1/y: .*{said}"):  # among the values of a choice
        space_from_tune({"net": {"x": tune.choice([tune.uniform(0, 1), {"y": given}])}})


def test_refused_as_a_whole() -> None:
    with pytest.raises(SpaceError, match="a param_space must be a dict, received 3"):
        space_from_tune(3)  # type: ignore[arg-type]
    with pytest.raises(SpaceError, match=r"nothing varies in {'a': 1}"):
        space_from_tune({"a": 1})


class Dataset:
    """An object that Ray replaces by a reference."""


def as_a_searcher_sees_it(param_space: dict[str, Any]) -> Any:
    """What Ray's Tuner hands to a searcher, by Ray's own function."""
    resolvers = create_resolvers_map()  # type: ignore[no-untyped-call]
    return inject_placeholders(copy.deepcopy(param_space), resolvers)


def test_sample_from_is_recognised_behind_rays_placeholder() -> None:
    seen = as_a_searcher_sees_it(
        {"ok": tune.uniform(0, 1), "a": {"b": tune.sample_from(lambda: 3)}}
    )
    assert not isinstance(seen["a"]["b"], sample.Function)
    assert has_domains(seen["a"])
    with pytest.raises(SpaceError, match=f"^a/b: {FUNCTION}"):
        space_from_tune(seen)
    seen = as_a_searcher_sees_it({"a": tune.choice([tune.sample_from(lambda: 3), 1])})
    with pytest.raises(SpaceError, match=f"^a/0: {FUNCTION}"):
        space_from_tune(seen)


def test_objects_behind_rays_placeholders_are_constants_and_choices() -> None:
    seen = as_a_searcher_sees_it(
        {
            "data": Dataset(),
            "opt": tune.choice([Dataset(), "x"]),
            "grid": tune.grid_search([dict, 1]),
        }
    )
    space = space_from_tune(seen)
    assert [c.name for c in space.columns] == ["opt", "grid"]
    [config] = space.decode(np.zeros((1, 2)))
    assert config == {
        "data": seen["data"],
        "opt": seen["opt"].categories[0],
        "grid": seen["grid"]["grid_search"][0],
    }
    assert type(config["data"]) is tuple
    assert space.load(space.dump(config)) == config


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"a": 1, "b": [2, (3, "x")]}, False),
        ({}, False),
        (None, False),
        ({"a": ("x", "y")}, False),
        ({"a": (np.zeros(2), 1)}, False),
        ({"a": {"b": [1, (tune.uniform(0, 1),)]}}, True),
        ({"a": tune.grid_search([1])}, True),
        ({"a": Float(0, 1)}, True),
        ({"a": tune.sample_from(lambda: 3)}, True),
    ],
    ids=named,
)
def test_has_domains(node: Any, expected: bool) -> None:
    assert has_domains(node) is expected
