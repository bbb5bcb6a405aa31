"""L-BFGS-B for a handful of variables: quasi-Newton minimisation in a box, without NumPy or SciPy.

Byrd, Lu, Nocedal and Zhu 1995 (doi:10.1137/0916069) with the projection of Morales and Nocedal 2011
(doi:10.1145/2049662.2049669) and the line search of Moré and Thuente 1994 (doi:10.1145/192115.192132), constants as
in the authors' version 3.0. Functions with several minima end in the basin that the path leads to; so this follows
the published path step by step, and a fit agrees with `scipy.optimize.minimize`. Matrices are dense: 5 variables.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

__all__ = ["Minimum", "minimize"]

Vector: TypeAlias = list[float]
Matrix: TypeAlias = list[Vector]
Objective: TypeAlias = Callable[[Vector], tuple[float, Vector]]

_MEMORY = 10  # pairs (step, gradient change) that the curvature is built from
_GRADIENT_TOLERANCE = 1e-5
_DECREASE_TOLERANCE = 2.220446049250313e-09  # relative
_MAX_ITERATIONS = 1_000
_MAX_EVALUATIONS = 20  # in one line search
_LONGEST_STEP = 1e10
_SUFFICIENT_DECREASE, _CURVATURE, _INTERVAL = 1e-3, 0.9, 0.1
_EPSILON = 2.0**-52


class Minimum(NamedTuple):
    """Where the search ended; `converged` is False when no step led down or a value was not finite."""

    point: Vector
    value: float
    converged: bool


class _Box(NamedTuple):
    lower: Sequence[float]
    upper: Sequence[float]

    def clip(self, point: Vector) -> Vector:
        return [min(max(x, low), high) for x, low, high in zip(point, self.lower, self.upper, strict=True)]

    def longest_step(self, point: Vector, direction: Vector, limit: float) -> float:
        """How far one may go along the direction and stay inside."""
        for x, d, low, high in zip(point, direction, self.lower, self.upper, strict=True):
            if d != 0 and math.isfinite(bound := high if d > 0 else low):
                limit = min(limit, max((bound - x) / d, 0.0))
        return limit


def minimize(objective: Objective, start: Sequence[float], lower: Sequence[float], upper: Sequence[float]) -> Minimum:
    """A local minimum of `objective` (value and gradient at a point) with lower <= point <= upper."""
    box = _Box(lower, upper)
    here = _evaluate(objective, box.clip(list(start)))
    pairs: list[tuple[Vector, Vector]] = []
    for iteration in range(_MAX_ITERATIONS):
        if not math.isfinite(here.value) or _projected_norm(box, here) <= _GRADIENT_TOLERANCE:
            break
        there = _step(objective, box, here, pairs, first=iteration == 0)
        if there is None and not pairs:
            return Minimum(here.point, here.value, False)
        if there is None:
            pairs.clear()  # the curvature misled: start again from steepest descent
            continue
        _remember(pairs, here, there)
        decrease, scale = here.value - there.value, max(abs(here.value), abs(there.value), 1.0)
        here = there
        if decrease <= _DECREASE_TOLERANCE * scale:
            break
    else:
        return Minimum(here.point, here.value, False)
    return Minimum(here.point, here.value, math.isfinite(here.value))


class _Place(NamedTuple):
    point: Vector
    value: float
    gradient: Vector


def _evaluate(objective: Objective, point: Vector) -> _Place:
    return _Place(point, *objective(point))


def _step(
    objective: Objective, box: _Box, here: _Place, pairs: Sequence[tuple[Vector, Vector]], *, first: bool
) -> _Place | None:
    """The next place; None where there is none lower, or where the arithmetic broke down."""
    try:
        direction = _direction(box, here, _curvature(pairs, len(here.point)))
        return _search(objective, box, here, direction, first=first)
    except ArithmeticError:
        return None


def _remember(pairs: list[tuple[Vector, Vector]], here: _Place, there: _Place) -> None:
    """Keep the newest pairs whose curvature is positive, so that the estimate stays positive definite."""
    step, change = _difference(there.point, here.point), _difference(there.gradient, here.gradient)
    if _dot(step, change) > -_EPSILON * _dot(step, here.gradient):
        pairs.append((step, change))
        del pairs[:-_MEMORY]


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def _difference(left: Vector, right: Vector) -> Vector:
    return [a - b for a, b in zip(left, right, strict=True)]


def _times(matrix: Matrix, vector: Vector) -> Vector:
    return [_dot(row, vector) for row in matrix]


def _projected_norm(box: _Box, here: _Place) -> float:
    """The largest component of P(x - g) - x: zero at a minimum."""
    moved = box.clip(_difference(here.point, here.gradient))
    return max(map(abs, _difference(moved, here.point)))


def _curvature(pairs: Sequence[tuple[Vector, Vector]], size: int) -> Matrix:
    """The Hessian's estimate: theta I, theta from the newest pair, then one BFGS update a pair, oldest first."""
    theta = 1.0
    if pairs:
        step, change = pairs[-1]
        theta = _dot(change, change) / _dot(step, change)
    matrix = [[theta if i == j else 0.0 for j in range(size)] for i in range(size)]
    for step, change in pairs:
        bent = _times(matrix, step)
        bend, rise = _dot(step, bent), _dot(step, change)
        for i, row in enumerate(matrix):
            for j in range(size):
                row[j] += change[i] * change[j] / rise - bent[i] * bent[j] / bend
    return matrix


def _direction(box: _Box, here: _Place, matrix: Matrix) -> Vector:
    """From the point to the minimum of the quadratic model, first along the bent path, then in the free variables."""
    cauchy, free = _cauchy_point(box, here, matrix)
    target = _subspace_minimum(box, here, matrix, cauchy, free) if free else cauchy
    return _difference(target, here.point)


def _cauchy_point(box: _Box, here: _Place, matrix: Matrix) -> tuple[Vector, list[int]]:
    """The model's first minimum along P(x - t g), and the variables that are off their bounds there."""
    point, _, gradient = here
    ends = [
        (x - (high if g < 0 else low)) / g if g != 0 else math.inf
        for x, g, low, high in zip(point, gradient, box.lower, box.upper, strict=True)
    ]
    heading = [-g if end > 0 else 0.0 for g, end in zip(gradient, ends, strict=True)]
    moved, time = [0.0] * len(point), 0.0
    for index in [*sorted((i for i, end in enumerate(ends) if 0 < end < math.inf), key=ends.__getitem__), -1]:
        slope = _dot(gradient, heading) + _dot(heading, _times(matrix, moved))
        bend = _dot(heading, _times(matrix, heading))
        stay = -slope / bend if bend > 0 else 0.0
        span = (ends[index] if index >= 0 else math.inf) - time
        if stay < span:
            moved = [m + max(stay, 0.0) * h for m, h in zip(moved, heading, strict=True)]
            break
        moved = [m + span * h for m, h in zip(moved, heading, strict=True)]
        time, heading[index] = ends[index], 0.0
    cauchy = box.clip([x + m for x, m in zip(point, moved, strict=True)])
    return cauchy, [i for i, h in enumerate(heading) if h != 0]


def _subspace_minimum(box: _Box, here: _Place, matrix: Matrix, cauchy: Vector, free: list[int]) -> Vector:
    """The model's minimum over the free variables, projected; cut short instead where the projection climbs."""
    point, _, gradient = here
    offset = _times(matrix, _difference(cauchy, point))
    residual = [-(gradient[i] + offset[i]) for i in free]
    newton = _solve([[matrix[i][j] for j in free] for i in free], residual)
    step = [0.0] * len(point)
    for i, component in zip(free, newton, strict=True):
        step[i] = component
    projected = box.clip([c + s for c, s in zip(cauchy, step, strict=True)])
    if _dot(_difference(projected, point), gradient) <= 0:
        return projected
    length = box.longest_step(cauchy, step, 1.0)
    return box.clip([c + length * s for c, s in zip(cauchy, step, strict=True)])


def _solve(matrix: Matrix, right: Vector) -> Vector:
    """Gaussian elimination with partial pivoting; a singular system gives zeros."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(rows[i][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        if rows[column][column] == 0:
            return [0.0] * size
        for i in range(column + 1, size):
            factor = rows[i][column] / rows[column][column]
            rows[i] = [a - factor * b for a, b in zip(rows[i], rows[column], strict=True)]
    solution = [0.0] * size
    for i in reversed(range(size)):
        solution[i] = (rows[i][size] - _dot(rows[i][i + 1 : size], solution[i + 1 :])) / rows[i][i]
    return solution


def _search(objective: Objective, box: _Box, here: _Place, direction: Vector, *, first: bool) -> _Place | None:
    """The first place along the direction that satisfies the strong Wolfe conditions (Moré and Thuente)."""
    slope, norm = _dot(here.gradient, direction), math.sqrt(_dot(direction, direction))
    if not slope < 0:  # uphill, or not a number
        return None
    longest = 1.0 if first else box.longest_step(here.point, direction, _LONGEST_STEP)
    length = min(1.0 / norm, longest) if first else min(1.0, longest)
    bracket = _Bracket(_Trial(0.0, here.value, slope), longest, length)
    for _ in range(_MAX_EVALUATIONS):
        there = _evaluate(objective, box.clip([x + length * d for x, d in zip(here.point, direction, strict=True)]))
        trial = _Trial(length, there.value, _dot(there.gradient, direction))
        allowed = here.value + length * _SUFFICIENT_DECREASE * slope
        enough = trial.value <= allowed
        satisfied = enough and abs(trial.slope) <= -_CURVATURE * slope
        at_end = length == longest and enough and trial.slope <= _SUFFICIENT_DECREASE * slope
        if satisfied or at_end or bracket.is_exhausted(length):
            return there
        length = bracket.next_length(trial, allowed, _SUFFICIENT_DECREASE * slope)
    return None


class _Trial(NamedTuple):
    """A step length, and the objective's value and slope along the direction there."""

    length: float
    value: float
    slope: float

    def tilted(self, slope: float) -> "_Trial":
        return _Trial(self.length, self.value + self.length * slope, self.slope + slope)


class _Bracket:
    """The interval that the line search narrows: `low` is the best trial, `high` the other end once there is one."""

    def __init__(self, start: _Trial, longest: float, length: float) -> None:
        self.low = self.high = start
        self.longest = longest
        self.bracketed = False
        self.simplified = True  # search phi(t) - phi(0) - mu phi'(0) t, until it is below 0 with a rising slope
        self.width, self.width_before = longest, 2 * longest
        self.shortest, self.furthest = 0.0, 5 * length

    def is_exhausted(self, length: float) -> bool:
        """Whether rounding, or an interval that cannot shrink, leaves nothing to gain."""
        outside = not self.shortest < length < self.furthest
        return self.bracketed and (outside or self.furthest - self.shortest <= _INTERVAL * self.furthest)

    def next_length(self, trial: _Trial, allowed: float, required_slope: float) -> float:
        """Take the trial in, and give the next step length to try."""
        if trial.value <= allowed and trial.slope >= 0:
            self.simplified = False
        tilt = required_slope if self.simplified and self.low.value >= trial.value > allowed else 0.0
        low, high, trial = self.low.tilted(-tilt), self.high.tilted(-tilt), trial.tilted(-tilt)
        low, high, length, self.bracketed = _next_step(low, high, trial, self.bracketed, self.shortest, self.furthest)
        self.low, self.high = low.tilted(tilt), high.tilted(tilt)
        length = min(max(self._narrowed(length), 0.0), self.longest)
        return self.low.length if self.is_exhausted(length) else length

    def _narrowed(self, length: float) -> float:
        """Bisect where the interval shrinks too slowly; before there is one, reach out further."""
        low, high = self.low.length, self.high.length
        if not self.bracketed:
            self.shortest, self.furthest = length + 1.1 * (length - low), length + 4 * (length - low)
            return length
        if abs(high - low) >= 0.66 * self.width_before:
            length = low + 0.5 * (high - low)
        self.width_before, self.width = self.width, abs(high - low)
        self.shortest, self.furthest = min(low, high), max(low, high)
        return length


def _next_step(
    low: _Trial, high: _Trial, trial: _Trial, bracketed: bool, shortest: float, furthest: float
) -> tuple[_Trial, _Trial, float, bool]:
    """The safeguarded cubic or quadratic step, and the interval that holds a minimiser."""
    opposite = trial.slope * math.copysign(1.0, low.slope) < 0
    if trial.value > low.value:
        length = _step_in_rising(low, trial)
        bracketed = True
    elif opposite:
        cubic, secant = _cubic(trial, low), _secant(trial, low)
        length = cubic if abs(cubic - trial.length) > abs(secant - trial.length) else secant
        bracketed = True
    elif abs(trial.slope) < abs(low.slope):
        length = _step_in_flattening(low, high, trial, bracketed, shortest, furthest)
    elif bracketed:
        length = _cubic(trial, high)
    else:
        length = furthest if trial.length > low.length else shortest
    if trial.value > low.value:
        return low, trial, length, bracketed
    return trial, low if opposite else high, length, bracketed


def _step_in_rising(low: _Trial, trial: _Trial) -> float:
    """Between the cubic's and the quadratic's minimum, nearer to the better end."""
    span = trial.length - low.length
    quadratic = low.length + low.slope / ((low.value - trial.value) / span + low.slope) / 2 * span
    cubic = _cubic(low, trial)
    if abs(cubic - low.length) < abs(quadratic - low.length):
        return cubic
    return cubic + (quadratic - cubic) / 2


def _step_in_flattening(
    low: _Trial, high: _Trial, trial: _Trial, bracketed: bool, shortest: float, furthest: float
) -> float:
    """The cubic's step where it leads on, else the secant's, kept inside the interval."""
    secant = _secant(trial, low)
    cubic = _extrapolated_cubic(low, trial, furthest if trial.length > low.length else shortest)
    nearer = abs(cubic - trial.length) < abs(secant - trial.length)
    if not bracketed:
        return min(max(secant if nearer else cubic, shortest), furthest)
    length = cubic if nearer else secant
    limit = trial.length + 0.66 * (high.length - trial.length)
    return min(limit, length) if trial.length > low.length else max(limit, length)


def _secant(here: _Trial, there: _Trial) -> float:
    return here.length + here.slope / (here.slope - there.slope) * (there.length - here.length)


def _cubic_terms(here: _Trial, there: _Trial) -> tuple[float, float]:
    """theta and gamma of the cubic through two values and slopes, gamma signed towards `there`."""
    theta = 3 * (here.value - there.value) / (there.length - here.length) + here.slope + there.slope
    scale = max(abs(theta), abs(here.slope), abs(there.slope))
    inside = (theta / scale) ** 2 - (here.slope / scale) * (there.slope / scale)
    gamma = scale * math.sqrt(max(inside, 0.0))
    return theta, gamma if there.length > here.length else -gamma


def _cubic(here: _Trial, there: _Trial) -> float:
    theta, gamma = _cubic_terms(here, there)
    part = (gamma - here.slope + theta) / (2 * gamma - here.slope + there.slope)
    return here.length + part * (there.length - here.length)


def _extrapolated_cubic(low: _Trial, trial: _Trial, otherwise: float) -> float:
    theta, gamma = _cubic_terms(trial, low)
    part = (gamma - trial.slope + theta) / (gamma + (low.slope - trial.slope) + gamma)
    return trial.length + part * (low.length - trial.length) if part < 0 and gamma != 0 else otherwise
