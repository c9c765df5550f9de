"""Other libraries' search spaces hold the same values as ours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from raytuner.errors import ConfigError, SpaceError
from raytuner.space import Domain, Space

units = st.floats(0, 1)
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=60)


def only(space: Space) -> Domain:
    [column] = space.columns
    return column.domain


def levels(space: Space) -> list[Any]:
    return only(space).from_units(only(space).level_units())


# -- Optuna -------------------------------------------------------------------------------------


@st.composite
def optuna_laws(draw: st.DrawFn) -> Any:
    law = pytest.importorskip("optuna.distributions", reason="Optuna is not installed")
    kind = draw(st.sampled_from(["float", "log", "step", "int", "intlog", "intstep", "choice"]))
    low = draw(st.integers(-50, 50))
    width = draw(st.integers(2, 60))
    match kind:
        case "float":
            return law.FloatDistribution(low / 8, (low + width) / 8)
        case "log":
            return law.FloatDistribution(10.0**-width, 10.0 ** (1 - width) * 3, log=True)
        case "step":
            step = draw(st.sampled_from([0.1, 0.25, 0.3, 1.5]))
            # It adjusts the upper bound to the steps, and says so.
            return law.FloatDistribution(low / 8, low / 8 + step * width, step=step)
        case "int":
            return law.IntDistribution(low, low + width)
        case "intlog":
            return law.IntDistribution(abs(low) + 1, abs(low) + 1 + width, log=True)
        case "intstep":
            step = draw(st.integers(2, 7))
            return law.IntDistribution(low, low + step * width, step=step)
    return law.CategoricalDistribution(["a", 1, 2.5, None, True][: 2 + width % 4])


@quick
@given(law=optuna_laws(), u=units, seed=seeds)
def test_optuna_both_ways_over_the_whole_support(law: Any, u: float, seed: int) -> None:
    from optuna.samplers import RandomSampler

    from raytuner.integrations.optuna import space_from_optuna

    space = space_from_optuna({"p": law})
    for at in (0.0, u, 1.0):
        ours = space.decode(np.array([[at]]))[0]["p"]
        assert law._contains(law.to_internal_repr(ours))
    drawn = RandomSampler(seed=seed).sample_independent(None, None, "p", law)
    [again] = space.decode(space.encode([{"p": drawn}]))
    close = pytest.approx(drawn, rel=1e-9) if type(drawn) is float else drawn
    assert again["p"] == close
    assert type(again["p"]) is type(drawn)


@pytest.mark.parametrize(("low", "high", "step"), [(1, 10, 3), (-5, 5, 5)])
def test_optuna_steps_are_counted_from_the_lower_bound(low: int, high: int, step: int) -> None:
    law = pytest.importorskip("optuna.distributions")
    from raytuner.integrations.optuna import space_from_optuna

    expected = list(range(low, high + 1, step))
    high = expected[-1]
    ours = space_from_optuna({"p": law.IntDistribution(low, high, step=step)})
    assert levels(ours) == expected
    floats = space_from_optuna({"p": law.FloatDistribution(low, high, step=step)})
    assert levels(floats) == expected
    with pytest.raises(SpaceError, match="p: received 3"):
        space_from_optuna({"p": 3})


# -- Hyperopt -----------------------------------------------------------------------------------

HYPEROPT: dict[str, tuple[tuple[Any, ...], Any]] = {
    "uniform": ((-1, 2), lambda v: -1 <= v <= 2),
    "loguniform": ((-3, 1), lambda v: math.exp(-3) <= v <= math.exp(1)),
    "normal": ((1, 2), math.isfinite),
    "lognormal": ((0, 1), lambda v: v > 0),
    "qnormal": ((0, 2, 0.5), lambda v: v % 0.5 == 0),
    "qlognormal": ((0, 1, 0.5), lambda v: v >= 0 and v % 0.5 == 0),
    "qloguniform": ((0, 3, 2), lambda v: 0 <= v <= 20 and v % 2 == 0),
    "quniform": ((1, 10, 3), lambda v: v in (0, 3, 6, 9)),
    "uniformint": ((1, 5), lambda v: v in (1, 2, 3, 4, 5)),
    "randint": ((2, 6), lambda v: v in (2, 3, 4, 5)),
    "choice": ((["a", None, 3],), lambda v: v in ("a", None, 3)),
    "pchoice": (([(0.2, "a"), (0.8, "b")],), lambda v: v in ("a", "b")),
}


@pytest.mark.parametrize("law", HYPEROPT)
def test_hyperopts_laws_keep_their_support_and_shape(law: str) -> None:
    hyperopt = pytest.importorskip("hyperopt", reason="Hyperopt is not installed")
    from hyperopt.pyll.stochastic import sample

    from raytuner.integrations.hyperopt import space_from_hyperopt

    args, fits = HYPEROPT[law]
    theirs = {"v": getattr(hyperopt.hp, law)("p", *args)}
    space = space_from_hyperopt(theirs)
    ours = [
        space.params(config)["v"] for config in space.space.sample(np.random.default_rng(0), 600)
    ]
    rng = np.random.default_rng(0)
    drawn = [sample(theirs, rng=rng)["v"] for _ in range(600)]
    assert all(fits(value) for value in ours)
    assert all(fits(value) for value in drawn)
    assert {type(value) for value in ours} <= {type(value) for value in drawn} | {float, int}
    if all(isinstance(value, int | float) for value in drawn):
        middle = np.median(ours), np.median(drawn)
        spread = np.subtract(*np.percentile(drawn, [75, 25]))
        assert abs(middle[0] - middle[1]) <= 0.25 * spread + 1e-9
    if len(set(drawn)) <= 6:
        assert set(ours) == set(drawn)


def test_hyperopts_nested_choices_evaluate_to_their_branch() -> None:
    hyperopt = pytest.importorskip("hyperopt", reason="Hyperopt is not installed")
    from hyperopt.pyll import scope

    from raytuner.integrations.hyperopt import space_from_hyperopt

    hp = hyperopt.hp
    nested = hp.choice(
        "model",
        [
            {"kind": "svm", "C": hp.lognormal("C", 0, 1)},
            {"kind": "tree", "depth": scope.int(hp.quniform("depth", 1, 8, 1))},
        ],
    )
    space = space_from_hyperopt(nested)
    assert {column.name for column in space.space.columns} == {"C", "depth", "model"}
    assert space.params({"model": 1, "depth": 4}) == {"kind": "tree", "depth": 4}
    assert space.params({"model": 0, "C": 0.0}) == {"kind": "svm", "C": 1.0}
    varied = {"a": hp.uniform("a", 0, hp.uniform("b", 1, 2))}
    with pytest.raises(SpaceError, match="a: the parameters of uniform are not plain numbers"):
        space_from_hyperopt(varied)


@st.composite
def trees(draw: st.DrawFn, place: str = "p", depth: int = 0) -> Any:
    """Nested choices; each leaf's key is its label."""
    from hyperopt import hp

    if depth == 3 or draw(st.booleans()):
        return {place: hp.uniform(place, 0, 1)}
    branches = [draw(trees(f"{place}{i}", depth + 1)) for i in range(draw(st.integers(2, 3)))]
    return {place: hp.choice(place, [{"took": i, **b} for i, b in enumerate(branches)])}


def labels(evaluated: Any) -> set[str]:
    """Labels of the choices and leaves in an evaluated configuration."""
    found = set()
    for key, value in evaluated.items():
        if key != "took":
            found |= {key} | (labels(value) if isinstance(value, dict) else set())
    return found


@quick
@given(data=st.data(), seed=seeds)
def test_a_hyperopt_branch_that_is_not_taken_is_not_there(data: Any, seed: int) -> None:
    pytest.importorskip("hyperopt", reason="Hyperopt is not installed")
    from raytuner.integrations.hyperopt import space_from_hyperopt

    space = space_from_hyperopt(data.draw(trees()))
    for config in space.space.sample(np.random.default_rng(seed), 20):
        assert labels(space.params(config)) == config.keys()


def test_a_hyperopt_label_in_several_branches_is_there_in_each() -> None:
    hyperopt = pytest.importorskip("hyperopt", reason="Hyperopt is not installed")
    from raytuner.integrations.hyperopt import space_from_hyperopt

    hp = hyperopt.hp
    lr, depth = hp.uniform("lr", 0, 1), hp.randint("depth", 4)
    inner = hp.choice("inner", [{"lr": lr}, {"none": 0}])
    outer = hp.choice("outer", [{"lr": lr}, {"depth": depth}, {"both": [depth, inner]}])
    space = space_from_hyperopt({"model": outer, "always": hp.uniform("always", 0, 1)})
    for config in space.space.sample(np.random.default_rng(0), 100):
        space.params(config)
        assert ("depth" in config) == (config["outer"] in (1, 2))
        assert ("inner" in config) == (config["outer"] == 2)
        # lr exists if outer is 0, or if outer is 2 and inner is 0. Our condition uses outer alone.
        assert ("lr" in config) == (config["outer"] in (0, 2))


# -- ConfigSpace --------------------------------------------------------------------------------


def configuration_space() -> Any:
    cs = pytest.importorskip("ConfigSpace", reason="ConfigSpace is not installed")
    space = cs.ConfigurationSpace(seed=0)
    momentum = cs.Float("momentum", (0.0, 0.99))
    kind = cs.Categorical("kind", ["sgd", "adam"], weights=[0.9, 0.1])
    space.add(
        kind,
        momentum,
        cs.Float("lr", (1e-4, 1e-1), log=True),
        cs.Float("shift", (-1, 1), distribution=cs.Normal(0, 1)),
        cs.Integer("layers", (1, 5)),
        cs.Integer("width", (16, 512), log=True),
        cs.Integer("beta", (1, 9), distribution=cs.Beta(2, 3)),
        cs.OrdinalHyperparameter("size", ["s", "m", "l"]),
        cs.Constant("epochs", 3),
    )
    space.add(cs.EqualsCondition(momentum, kind, "sgd"))
    return space


def test_configspace_both_ways_over_the_whole_support() -> None:
    theirs = configuration_space()
    from ConfigSpace import Configuration

    from raytuner.integrations.configspace import space_from_configspace

    ours = space_from_configspace(theirs)
    corners = ours.space.decode(np.vstack([np.zeros(ours.space.dim), np.ones(ours.space.dim)]))
    for config in [*ours.space.sample(np.random.default_rng(0), 200), *corners]:
        params = ours.params(config)
        Configuration(theirs, values=params).check_valid_configuration()
        assert ("momentum" in params) == (params["kind"] == "sgd")
        assert params["epochs"] == 3
    sizes = ["s", "m", "l"]
    for drawn in map(dict, theirs.sample_configuration(100)):
        values = {**drawn, "size": sizes.index(drawn["size"])}
        del values["epochs"]
        [again] = ours.space.decode(ours.space.encode([values]))
        back = ours.params(again)
        assert back.keys() == drawn.keys()
        assert all(back[k] == pytest.approx(v, rel=1e-6) for k, v in drawn.items())


@st.composite
def conditional_spaces(draw: st.DrawFn) -> Any:
    """A ConfigurationSpace with conditions of all kinds, and perhaps a forbidden clause."""
    from ConfigSpace.exceptions import ActiveHyperparameterNotSetError

    try:
        return any_conditional_space(draw)
    except ActiveHyperparameterNotSetError:  # ConfigSpace refuses its own default
        reject()


def any_conditional_space(draw: st.DrawFn) -> Any:
    cs = pytest.importorskip("ConfigSpace", reason="ConfigSpace is not installed")
    space = cs.ConfigurationSpace(seed=draw(seeds))
    # Each parent with the values that conditions test; ordered ones without their ends.
    kind = (cs.Categorical("kind", ["a", "b", "c"]), ["a", "b", "c"])
    ordered = [
        (cs.OrdinalHyperparameter("size", ["s", "m", "l"]), ["m"]),
        (cs.Integer("count", (1, 4)), [2, 3]),
        (cs.Float("rate", (0.0, 1.0)), [0.25, 0.5]),
    ]
    space.add(*(parent for parent, _ in [kind, *ordered]))

    def condition(child: Any) -> Any:
        if draw(st.booleans()):
            parent, values = draw(st.sampled_from(ordered))
            law = draw(st.sampled_from([cs.GreaterThanCondition, cs.LessThanCondition]))
            return law(child, parent, draw(st.sampled_from(values)))
        parent, values = draw(st.sampled_from([kind, *ordered[:2]]))
        if draw(st.booleans()):
            some = draw(st.lists(st.sampled_from(values), min_size=1, unique=True))
            return cs.InCondition(child, parent, some)
        law = draw(st.sampled_from([cs.EqualsCondition, cs.NotEqualsCondition]))
        return law(child, parent, draw(st.sampled_from(values)))

    for number in range(draw(st.integers(1, 3))):
        child = cs.Categorical(f"child{number}", ["x", "y"])
        space.add(child)
        first, second = condition(child), condition(child)
        joined = draw(st.sampled_from([None, cs.AndConjunction, cs.OrConjunction]))
        if joined is None or first.parent == second.parent:
            space.add(first)
        else:
            space.add(joined(first, second))
    # A chain. ConfigSpace contradicts itself on inequalities and joined conditions whose parent is
    # inactive.
    last = cs.Categorical("last", ["x", "y"])
    space.add(last)
    space.add(cs.EqualsCondition(last, space["child0"], draw(st.sampled_from(["x", "y"]))))
    if draw(st.booleans()):
        space.add(
            cs.ForbiddenAndConjunction(
                cs.ForbiddenEqualsClause(space["count"], 4),
                cs.ForbiddenInClause(space["child0"], ["y"]),
            )
        )
    return space


@quick
@given(theirs=conditional_spaces())
def test_configspaces_conditions_and_forbidden_clauses_hold_in_ours(theirs: Any) -> None:
    from ConfigSpace import Configuration, OrConjunction

    from raytuner.integrations.configspace import space_from_configspace

    ours = space_from_configspace(theirs)
    # Our space may drop a condition on a float, and one that joins two conditions by OR.
    exact = not any(
        isinstance(one, OrConjunction) or "rate" in str(one) for one in theirs.conditions
    )
    for config in ours.space.sample(np.random.default_rng(0), 30):
        params = ours.params(config)
        Configuration(theirs, values=params).check_valid_configuration()
        assert config.keys() >= params.keys()
        if exact:
            assert config.keys() == params.keys()
    sizes = ["s", "m", "l"]
    for drawn in map(dict, theirs.sample_configuration(30)):
        values = {**drawn, "size": sizes.index(drawn["size"])}
        if exact:
            ours.space.validate(values)
            [again] = ours.space.decode(ours.space.encode([values]))
            assert ours.params(again) == pytest.approx(drawn)


def test_what_a_configspace_forbids_is_no_configuration_of_ours() -> None:
    cs = pytest.importorskip("ConfigSpace", reason="ConfigSpace is not installed")
    from raytuner.integrations.configspace import space_from_configspace

    theirs = cs.ConfigurationSpace({"n": (1, 4), "kind": ["a", "b"]})
    theirs.add(cs.ForbiddenEqualsClause(theirs["n"], 1))
    theirs.add(cs.ForbiddenGreaterThanEqualsClause(theirs["n"], 3))
    space = space_from_configspace(theirs).space
    assert {config["n"] for config in space.sample(np.random.default_rng(0), 20)} == {2}
    with pytest.raises(ConfigError, match=r"not \(Forbidden: n == 1; Forbidden: n >= 3\)"):
        space.validate({"n": 3, "kind": "a"})
