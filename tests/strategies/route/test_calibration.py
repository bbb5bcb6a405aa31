"""Thresholds hold on questions that they were not made from; the file is readable and read back exactly."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite.backends.scripted import ScriptedSampler
from lite.calibrate import calibrated, load, observe, router_of, save
from lite.sampler import Question
from lite.strategies.route.calibration import (
    Calibration,
    Observation,
    area,
    curve,
    data_hash,
    point_at,
    random_area,
    threshold_for_accuracy,
    threshold_for_share,
    upper_bound,
)
from lite.strategies.route.cascade import Cascade
from lite.strategies.select.greedy import Greedy
from lite.strategies.select.majority import Majority


def drawn(count: int, seed: int) -> list[Observation]:
    """The small model is right as often as it is confident."""
    dice = random.Random(seed)
    confidences = [dice.random() for _ in range(count)]
    return [Observation(confidence=c, small=dice.random() < c, large=dice.random() < 0.9) for c in confidences]


shares = st.floats(0, 1)
observed = st.lists(
    st.builds(
        Observation,
        confidence=st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 30)),
        small=st.booleans(),
        large=st.booleans(),
    ),
    min_size=1,
    max_size=40,
).filter(lambda several: any(one.confidence is not None for one in several))


@given(observations=observed, share=shares)
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
def test_a_share_is_never_exceeded_unless_by_questions_without_confidence(
    observations: list[Observation], share: float
) -> None:
    point = point_at(observations, threshold_for_share(observations, share))
    without = sum(one.confidence is None for one in observations) / len(observations)
    assert point.share <= max(share, without) + 1e-9


def test_a_share_is_met_where_there_are_no_ties_and_holds_on_other_questions() -> None:
    threshold = threshold_for_share(drawn(200, 0), 0.3)
    assert point_at(drawn(200, 0), threshold).share == pytest.approx(0.3)
    assert point_at(drawn(200, 1), threshold).share == pytest.approx(0.3, abs=0.1)


def test_a_wanted_accuracy_holds_on_other_questions_as_often_as_promised() -> None:
    unseen = drawn(5000, 99)
    broken = 0
    for seed in range(8):
        threshold = threshold_for_accuracy(drawn(600, seed), 0.75, error=0.1)
        broken += point_at(unseen, threshold).risk > 0.25
        assert point_at(unseen, threshold).share < 0.9
    assert broken <= 1


def test_an_accuracy_that_cannot_be_shown_is_refused_with_what_can() -> None:
    with pytest.raises(ValueError, match=r"20 questions cannot show an accuracy of 0.99 .* the best that they show is"):
        threshold_for_accuracy(drawn(20, 0), 0.99)


@pytest.mark.parametrize(
    ("failures", "trials", "error", "bound"),
    [(0, 10, 0.05, 0.2589), (1, 10, 0.05, 0.3942), (5, 50, 0.025, 0.2181), (10, 10, 0.05, 1.0), (0, 1, 0.1, 0.9)],
)
def test_the_bound_is_clopper_and_pearsons(failures: int, trials: int, error: float, bound: float) -> None:
    assert upper_bound(failures, trials, error) == pytest.approx(bound, abs=1e-4)


@given(observations=observed)
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
def test_the_curve_is_what_each_of_its_thresholds_does(observations: list[Observation]) -> None:
    for point in curve(observations):
        alone = point_at(observations, point.threshold)
        assert (point.share, point.risk) == pytest.approx((alone.share, alone.risk))
        assert (point.accuracy, point.cost) == pytest.approx((alone.accuracy, alone.cost))


def test_the_curve_goes_from_all_kept_to_none_and_beats_chance_when_confidence_tells() -> None:
    observations = drawn(300, 3)
    points = curve(observations)
    assert (points[0].share, points[-1].share) == (0, 1)
    assert points[-1].accuracy == sum(one.large for one in observations) / 300
    assert area(points) > random_area(observations) + 0.05
    blind = [Observation(confidence=1.0, small=True, large=False), Observation(confidence=1.0, small=False)]
    assert area(curve(blind)) == pytest.approx(random_area(blind))


def test_the_file_is_readable_and_gives_the_router_back(tmp_path: Path) -> None:
    made = calibrated(drawn(300, 3), strategy="cascade", measure="votes", data=data_hash(["a", "b"]), share=0.25)
    path = tmp_path / "router.json"
    save(made, path)
    assert load(path) == made
    assert '"target": "at most 0.25 of the questions are sent"' in path.read_text()
    assert len(made.curve) <= 102
    assert router_of(load(path), {"small": "majority"}) == Cascade(small=Majority(), threshold=made.threshold)
    assert [one.name for one in tmp_path.iterdir()] == ["router.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"lite_calibration": 2}', '{"lite_calibration": 1, "curve": 3}'])
def test_a_file_that_is_none_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "router.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"router.json: this is no calibration"):
        load(path)
    with pytest.raises(ValueError, match="no calibration"):
        Calibration.from_json(text)


def test_either_a_share_or_an_accuracy_is_given() -> None:
    with pytest.raises(ValueError, match="either share or accuracy"):
        calibrated(drawn(10, 0), strategy="cascade", measure="votes", data="")


def test_observing_asks_both_models_every_question() -> None:
    local = ScriptedSampler(lambda request: f"it is {5 + (request.prompt == '1') * request.sample}")
    remote = ScriptedSampler(lambda request: "it is 5")
    observations = observe(
        [Question(prompt=str(i)) for i in range(3)],
        lambda index, answer: answer.value == "5",
        small=Majority(samples=4),
        large=Greedy(sampler="remote"),
        samplers={"local": local, "remote": remote},
        cost=lambda ledger: ledger.drawn_tokens,
    )
    assert [one.confidence for one in observations] == [1.0, 0.25, 1.0]
    assert all(one.small and one.large for one in observations)
    assert observations[0].large_cost == 4
