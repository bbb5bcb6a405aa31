"""Intervals over clusters: against values known by hand or by other means."""

import numpy as np
import pytest

from lite.evaluate.quantization.clusters import bootstrap_mean, bootstrap_quantile, mean_error, spearman

DICE = np.random.default_rng(5)


def test_each_value_a_cluster_is_the_textbooks_standard_error() -> None:
    values = DICE.normal(size=50)
    assert mean_error(values, np.arange(50)) == pytest.approx(values.std(ddof=1) / np.sqrt(50))


def test_a_value_told_three_times_is_no_more_evidence() -> None:
    values, clusters = DICE.normal(size=40), np.arange(40)
    once = mean_error(values, clusters)
    assert mean_error(np.repeat(values, 3), np.repeat(clusters, 3)) == pytest.approx(once)
    assert bootstrap_mean(np.repeat(values, 3), np.repeat(clusters, 3)) == pytest.approx(
        bootstrap_mean(values, clusters)
    )


def test_one_cluster_has_no_error() -> None:
    assert mean_error(np.array([1.0, 2.0]), np.zeros(2, np.int64)) is None


def test_the_bootstrap_finds_the_normal_interval() -> None:
    values = DICE.normal(size=400)
    low, high = bootstrap_mean(values, np.arange(400))
    error = values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.2 * error)


def test_the_bootstrap_of_a_quantile_is_that_of_the_values_drawn() -> None:
    """Two clusters: each round holds one twice, or both."""
    values, clusters = np.array([1.0, 2.0, 3.0, 40.0]), np.array([0, 0, 1, 1])
    low, high = bootstrap_quantile(values, clusters, 0.99)
    assert (low, high) == (2.0, 40.0)
    assert bootstrap_quantile(values, clusters, 0.5) == (1.0, 3.0)


def test_rank_correlation_knows_order_alone_and_shares_ties() -> None:
    values = DICE.normal(size=30)
    assert spearman(values, np.exp(3 * values)) == pytest.approx(1)
    assert spearman(values, -(values**3)) == pytest.approx(-1)
    assert spearman(np.array([1.0, 2, 2, 4]), np.array([1.0, 3, 2, 4])) == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert spearman(values, np.ones(30)) is None
