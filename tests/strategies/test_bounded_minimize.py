import math

import pytest

from lite.strategies.bounded_minimize import minimize

FREE = ([-math.inf] * 2, [math.inf] * 2)


def rosenbrock(point: list[float]) -> tuple[float, list[float]]:
    x, y = point
    return (1 - x) ** 2 + 100 * (y - x * x) ** 2, [-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)]


def test_finds_a_minimum_at_the_end_of_a_curved_valley() -> None:
    found = minimize(rosenbrock, [-1.2, 1.0], *FREE)
    assert found.converged
    assert found.point == pytest.approx([1, 1], abs=1e-4)


def test_finds_the_minimum_on_the_bounds() -> None:
    found = minimize(rosenbrock, [-1.2, 1.0], [-2.0, -2.0], [0.5, 2.0])
    assert found.point == pytest.approx([0.5, 0.25], abs=1e-5)
    assert found.value == pytest.approx(0.25)


def test_never_leaves_the_box() -> None:
    seen: list[list[float]] = []

    def watched(point: list[float]) -> tuple[float, list[float]]:
        seen.append(list(point))
        return rosenbrock(point)

    minimize(watched, [9.0, -9.0], [-1.0, -1.5], [0.8, 0.6])
    assert all(-1 <= x <= 0.8 and -1.5 <= y <= 0.6 for x, y in seen)


def test_a_start_at_the_minimum_is_the_end() -> None:
    assert minimize(rosenbrock, [1.0, 1.0], *FREE) == ([1.0, 1.0], 0.0, True)


def test_gives_up_where_the_function_is_not_finite_or_goes_down_for_ever() -> None:
    assert not minimize(lambda point: (math.nan, [0.0, 0.0]), [0.0, 0.0], *FREE).converged
    assert not minimize(lambda point: (1.0, [math.nan, 1.0]), [0.0, 0.0], *FREE).converged
    assert minimize(lambda point: (-point[0], [-1.0, 0.0]), [0.0, 0.0], *FREE).value < -1e3


def test_gives_up_where_the_gradient_is_wrong() -> None:
    assert not minimize(lambda point: (point[0] ** 2 + 1, [-1.0, 0.0]), [0.5, 0.0], *FREE).converged
