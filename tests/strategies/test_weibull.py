import math
import random

import pytest

from lite.strategies.weibull import Weibull, WeibullMixture, _negative_log_likelihood, fit_weibull_mixture


def test_density_and_mean_are_those_of_the_exponential_for_shape_one() -> None:
    one = Weibull(1.0, 2.0)
    assert one.mean == pytest.approx(2)
    assert one.log_density(math.log(3)) == pytest.approx(math.log(0.5) - 1.5)


def test_the_gradient_is_that_of_the_likelihood() -> None:
    point, logs = [0.4, 3.0, 0.7, 1.4, 0.9], [math.log(x) for x in (0.2, 0.5, 0.9)]
    _, gradient = _negative_log_likelihood(point, logs)
    for i, slope in enumerate(gradient):
        ahead = [x + 1e-6 * (i == j) for j, x in enumerate(point)]
        behind = [x - 1e-6 * (i == j) for j, x in enumerate(point)]
        numeric = (_negative_log_likelihood(ahead, logs)[0] - _negative_log_likelihood(behind, logs)[0]) / 2e-6
        assert slope == pytest.approx(numeric, rel=1e-5)


def test_recovers_the_mixture_that_points_were_drawn_from() -> None:
    dice = random.Random(0)
    points = [dice.weibullvariate(0.9, 20) if dice.random() < 0.6 else dice.weibullvariate(0.4, 5) for _ in range(400)]
    found = fit_weibull_mixture(points)
    assert found is not None
    assert found.weight == pytest.approx(0.6, abs=0.06)
    assert found.high.mean == pytest.approx(Weibull(20, 0.9).mean, abs=0.02)
    assert found.low.mean == pytest.approx(Weibull(5, 0.4).mean, abs=0.02)
    assert found.is_likelier_low(0.3)
    assert not found.is_likelier_low(0.85)


def test_what_is_far_from_both_components_still_has_a_side() -> None:
    mixture = WeibullMixture(0.5, Weibull(900.0, 0.95), Weibull(400.0, 0.5))
    assert mixture.is_likelier_low(1e-9)
