from __future__ import annotations

import math
import random
import sys
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_fakes import score

from tomoatlas.recon_core.errors import BadInput
from tomoatlas.recon_core.methods import DEFAULT_WEIGHTS, Weights
from tomoatlas.sweep.search.propose import initial_point, predict, propose
from tomoatlas.sweep.study.tables import Surrogate
from tomoatlas.sweep.study.trial import WeightsAndGamma

SPACE = {"haadf": (1e-3, 10.0), "tv": (0.03, 10.0)}
TV_ONLY = {"tv": (0.03, 10.0)}


def design(count: int, seed: int = 0) -> list[Weights]:
    return [initial_point(SPACE, t, seed) for t in range(count)]


def told(count: int, seed: int = 0) -> list[tuple[Weights, float | None]]:
    return [(w, score(w)) for w in design(count, seed)]


def inside(weights: Weights) -> bool:
    return all(low <= getattr(weights, name) <= high for name, (low, high) in SPACE.items())


def test_the_design_starts_at_the_default_and_covers_the_space() -> None:
    points = design(17)
    assert points[0] == DEFAULT_WEIGHTS
    assert all(inside(w) for w in points)
    quadrants = {(w.haadf > 0.1, w.tv > 0.55) for w in points[1:5]}
    assert len(quadrants) == 4, "a Sobol sequence puts one of four points in every quadrant"


def test_the_design_is_a_sequence_of_its_seed() -> None:
    assert design(70)[:9] == design(9)
    assert len(set(design(70))) == 70
    assert design(9, seed=1)[1:] != design(9)[1:]


def test_the_default_is_clipped_into_the_space() -> None:
    assert initial_point({"haadf": (0.1, 1.0), "tv": (2.0, 3.0)}, 0, 5) == Weights(0.1, 2.0)
    assert initial_point(TV_ONLY, 0, 5) == Weights(0.0, 1.0)


@pytest.mark.parametrize("surrogate", Surrogate)
def test_a_proposal_is_a_pure_function(surrogate: Surrogate) -> None:
    known, pending = told(7), [Weights(0.5, 0.5)]
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - the legacy state must not matter
    first = propose(SPACE, known, pending, 42, surrogate)
    random.seed(2)
    np.random.seed(2)  # noqa: NPY002
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    assert propose(SPACE, known, pending, 42, surrogate) == first
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
    assert inside(first)
    assert [w for w, _ in known] == design(7), "arguments are left alone"


def test_what_is_predicted_is_in_units_of_the_score() -> None:
    known = told(30)
    at = np.array([[0.0, 1.0], [0.5, 0.5]])
    mean, deviation = predict(SPACE, known, at)
    truth = [score(Weights(1e-3, 10.0)), score(Weights(0.1, 0.3**0.5))]
    assert mean == pytest.approx(truth, abs=0.03)
    assert (np.abs(mean - truth) < 5 * deviation).all()
    larger = predict(SPACE, [(w, 3.0 + 2.0 * s) for w, s in known if s is not None], at)
    assert larger[0] == pytest.approx(3.0 + 2.0 * mean)
    assert larger[1] == pytest.approx(2.0 * deviation)
    with pytest.raises(ValueError, match="no score is known"):
        predict(SPACE, [(DEFAULT_WEIGHTS, None)], at)


def test_the_surrogates_differ() -> None:
    assert len({propose(SPACE, told(7), [], 3, surrogate) for surrogate in Surrogate}) == 2


def test_the_seed_decides() -> None:
    assert len({propose(SPACE, told(6), [], seed) for seed in range(4)}) > 1


@pytest.mark.parametrize("surrogate", Surrogate)
def test_pending_points_are_kept_away_from(surrogate: Surrogate) -> None:
    known = told(8)
    first = propose(SPACE, known, [], 3, surrogate)
    second = propose(SPACE, known, [first], 3, surrogate)
    third = propose(SPACE, known, [first, second], 3, surrogate)
    logs = [np.log10([w.haadf, w.tv]) for w in (first, second, third)]
    apart = [np.linalg.norm(a - b) for a, b in [(logs[0], logs[1]), (logs[1], logs[2])]]
    assert min(apart) > 0.02


@settings(max_examples=8, deadline=None)
@given(
    scores=st.lists(
        st.one_of(st.none(), st.floats(0.1, 2.0), st.just(math.nan), st.just(0.5)),
        min_size=1,
        max_size=7,
    ),
    pending=st.integers(0, 2),
    seed=st.integers(0, 2**31 - 1),
)
def test_whatever_was_told_the_proposal_is_new_and_inside(
    scores: list[float | None], pending: int, seed: int
) -> None:
    points = design(len(scores) + pending)
    known = list(zip(points, scores, strict=False))
    weights = propose(SPACE, known, points[len(scores) :], seed)
    assert inside(weights)
    assert weights not in points
    assert all(type(w) is float and w == float(f"{w:.6g}") for w in (weights.haadf, weights.tv))


def test_scores_matter_only_up_to_scale_and_offset() -> None:
    known = told(7)
    scaled = [(w, 1000.0 * s + 7.0) for w, s in known if s is not None]
    a, b = propose(SPACE, known, [], 9), propose(SPACE, scaled, [], 9)
    assert b.haadf == pytest.approx(a.haadf, rel=0.01)
    assert b.tv == pytest.approx(a.tv, rel=0.01)


def test_a_failed_trial_is_not_sought_again() -> None:
    known = told(8)
    best = min(known, key=lambda pair: pair[1] or 0.0)[0]
    failed = [(w, None if w == best else s) for w, s in known]
    weights = propose(SPACE, failed, [], 3)
    assert abs(math.log10(weights.haadf / best.haadf)) + abs(math.log10(weights.tv / best.tv)) > 0.1


def test_a_repeated_proposal_is_moved_aside() -> None:
    narrow = {"tv": (1.0, 1.01)}
    known: list[tuple[Weights, float | None]] = []
    for t in range(12):
        weights = initial_point(narrow, t, 0) if t < 2 else propose(narrow, known, [], 7)
        assert weights not in [w for w, _ in known]
        known.append((weights, weights.tv))


def search(seed: int, trials: int = 20, initial: int = 6) -> float:
    """Best score of a search of a bowl whose bottom differs from seed to seed."""
    rng = np.random.default_rng(seed)
    shift = 10 ** rng.uniform(-0.8, 0.8, 2)
    known: list[tuple[Weights, float | None]] = []
    for t in range(trials):
        weights = (
            initial_point(SPACE, t, seed) if t < initial else propose(SPACE, known, [], seed + t)
        )
        known.append((weights, score(Weights(weights.haadf * shift[0], weights.tv * shift[1]))))
    return min(s for _, s in known if s is not None)


def random_search(seed: int, trials: int = 20) -> float:
    rng = np.random.default_rng(seed)
    shift = 10 ** rng.uniform(-0.8, 0.8, 2)
    lows, highs = np.log(np.array(list(SPACE.values()))).T
    points = np.exp(rng.uniform(lows, highs, (trials, 2))) * shift
    return min(score(Weights(*map(float, point))) for point in points)


def test_a_search_finds_the_bottom_of_a_bowl_and_chance_does_not() -> None:
    bottom = 0.4
    found = [search(seed) - bottom for seed in range(2)]
    assert max(found) < 0.01 * bottom
    assert np.median(found) < 0.3 * np.median([random_search(s) - bottom for s in range(50)])


WITH_GAMMA = {**SPACE, "gamma": (1.0, 2.0)}


def with_gamma(number: int, seed: int = 0) -> WeightsAndGamma:
    found = initial_point(WITH_GAMMA, number, seed, 1.7)
    assert isinstance(found, WeightsAndGamma)
    return found


def test_an_exponent_starts_at_the_solvers_and_is_spread_evenly() -> None:
    assert with_gamma(0) == WeightsAndGamma(*astuple(DEFAULT_WEIGHTS), 1.7)
    assert initial_point({**SPACE, "gamma": (1.0, 1.5)}, 0, 0, 1.7).gamma == 1.5
    found = [with_gamma(number).gamma for number in range(1, 64)]
    assert np.mean(found) == pytest.approx(1.5, abs=0.02), "1.44, were it the logarithm"
    assert [np.sum(np.array(found) < end) for end in (1.25, 1.5, 1.75)] == pytest.approx(
        [16, 32, 48], abs=1
    )


@pytest.mark.parametrize("surrogate", Surrogate)
def test_an_exponent_is_proposed_with_the_weights(surrogate: Surrogate) -> None:
    def result(weights: WeightsAndGamma) -> float:
        return score(weights) + 2.0 * (weights.gamma - 1.3) ** 2

    known = [(w, result(w)) for w in map(with_gamma, range(16))]
    for seed in range(4):
        found = propose(WITH_GAMMA, known, [], seed, surrogate)
        assert isinstance(found, WeightsAndGamma)
        assert found not in [w for w, _ in known]
        known.append((found, result(found)))
    best = min(known, key=lambda pair: pair[1])
    assert best[0] in [w for w, _ in known[16:]]
    assert best[0].gamma == pytest.approx(1.3, abs=0.15)


def test_without_scikit_optimize_one_line_names_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skopt", None)
    with pytest.raises(BadInput) as refused:
        propose(SPACE, told(7), [], 3, Surrogate.GP_HEDGE)
    assert refused.value.key == "search.surrogate"
    propose(SPACE, told(7), [], 3, Surrogate.GP)
