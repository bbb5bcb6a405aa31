import re
import subprocess
import sys

import pytest

from lite.params import SamplingParams
from lite.strategies import STRATEGIES, Majority, NoThinking, Perplexity, SelfCertainty
from lite.strategies.settings import describe, make


def test_texts_become_values_of_the_fields_types() -> None:
    params = SamplingParams(temperature=0.6)
    settings = {"power": "1.2", "rule": "borda", "sampler": "remote"}
    made = make("self-certainty", samples=4, params=params, settings=settings)
    assert made == SelfCertainty(samples=4, params=params, power=1.2, sampler="remote")
    assert make("self-certainty", settings={"power": "auto"}) == SelfCertainty()
    assert make("self-certainty", settings={"power": 0}) == SelfCertainty(power=0.0)


def test_what_is_not_given_keeps_the_strategys_default() -> None:
    for name, kind in STRATEGIES.items():
        assert make(name) == kind()


def test_a_nested_strategy_is_named_and_set_under_its_fields_name() -> None:
    made = make("nothinking", samples=3, settings={"inner": "perplexity", "inner.rule": "vote"})
    assert made == NoThinking(inner=Perplexity(samples=3, rule="vote"))
    assert make("nothinking", settings={"inner.power": "0"}) == NoThinking(inner=SelfCertainty(power=0.0))
    assert make("nothinking", settings={"inner": Majority(samples=2)}) == NoThinking(inner=Majority(samples=2))


def test_a_strategy_of_one_sample_draws_one() -> None:
    assert make("greedy", samples=16) == STRATEGIES["greedy"]()


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("majorty", {}, "unknown strategy 'majorty'. Did you mean 'majority'? Known: greedy, sample,"),
        ("rpc", {"samplr": "x"}, "rpc has no setting 'samplr'. Did you mean 'sampler'? Known: sampler"),
        ("rpc", {"zzz": "x"}, "rpc has no setting 'zzz'. Known: sampler"),
        ("rpc", {"samples": "3"}, "rpc has no setting 'samples'; it is an option of its own."),
        ("self-certainty", {"power": "x"}, "self-certainty: power must be float or auto, got 'x'"),
        ("self-certainty", {"power": "nan"}, "self-certainty: power must be float or auto, got 'nan'"),
        ("self-certainty", {"power": "-1"}, "power must be 0 (the majority vote) or above, got -1.0"),
        ("self-certainty", {"rule": "brda"}, "self-certainty: rule must be borda|argmax, got 'brda'"),
        ("nothinking", {"iner": "x"}, "Did you mean 'inner'? Known: inner, inner.SETTING"),
        ("nothinking", {"inner": 5}, "inner must be a strategy or its name, got 5"),
        ("nothinking", {"inner": "x"}, "unknown strategy 'x'."),
        ("nothinking", {"inner.powr": "1"}, "self-certainty has no setting 'powr'. Did you mean 'power'?"),
        ("nothinking", {"inner": Majority(), "inner.sampler": "x"}, "inner.sampler is part of the strategy object"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_the_way_out(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        make(name, settings=settings)
    assert "\n" not in str(caught.value)


def test_no_samples_is_refused_for_every_strategy() -> None:
    for name in STRATEGIES:
        with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
            make(name, samples=0)


def test_a_description_has_a_line_for_the_strategy_and_for_each_setting() -> None:
    for name in STRATEGIES:
        described = describe(name)
        assert described.summary.endswith(".")
        assert re.fullmatch(r"(arXiv:\d{4}\.\d{5})?", described.paper)
        assert described.needs == STRATEGIES[name]().needs
        assert all(setting.doc and setting.kind and setting.default for setting in described.settings)
    (sampler, rule, power) = describe("self-certainty").settings
    assert (rule.name, rule.kind, rule.default) == ("rule", "borda|argmax", "borda")
    assert (power.kind, power.default, sampler.default) == ("float or auto", "auto", "local")
    assert describe("nothinking").settings[0].default == "self-certainty"


def test_importing_the_strategies_loads_no_numpy() -> None:
    code = "import sys, lite.strategies.settings; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
