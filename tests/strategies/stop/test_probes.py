"""Strategies that probe a thought: where they stop, and what they answer then."""

from dataclasses import replace
from typing import Any

import pytest

from lite.backends.scripted import Script, ScriptedSampler, ScriptedToken
from lite.params import Chat, SamplingParams
from lite.runner import Budget, run
from lite.sampler import Question, Request
from lite.strategies import AdaptiveThink, AnswerConvergence, Certaindex, Dynasor, ESCoT
from lite.strategies.stop.certaindex import answer_entropy, certaindex
from lite.strategies.stop.dynasor import is_certain
from lite.strategies.stop.es_cot import differences, is_larger
from lite.strategies.stop.probes import Probing
from tests.strategies.reading import golden
from tests.strategies.stop.scripts import ASKED, THINKING, probed, solved, tokens

TRACE = "A one. B two. C three. D four. E five. F six. G seven. The answer is 9."  # sentences end after 2, 4, 6, ...


def test_a_thought_ends_when_its_last_answers_agree() -> None:
    answers = {2: " 1.", 4: " 7.", 6: " 2.", 8: " 7.", 10: " 7.0", 12: " 7."}
    answer = solved(AnswerConvergence(agreeing=3), probed(TRACE, answers))
    assert answer.value == "7"
    assert answer.text == "A one. B two. C three. D four. E five. F six. The answer is 7."
    assert answer.candidates[0].tokens == 12 + 2


def test_a_probe_without_an_answer_interrupts_agreement() -> None:
    answers = {2: " 7.", 4: " 7.", 8: " 7."}
    answer = solved(AnswerConvergence(agreeing=3), probed(TRACE, answers, otherwise=""))
    assert answer.value == "9"


def test_the_tokens_after_the_decision_and_the_later_probes_are_discarded() -> None:
    sampler = ScriptedSampler(probed(TRACE, dict.fromkeys(range(20), " 7.")), chunk_size=3)
    (answer,) = run(AnswerConvergence(agreeing=2), [Question(prompt="?")], {"local": sampler})
    assert answer.cost.drawn_tokens == 4 + 2 + 2
    assert answer.cost.forced_tokens == 3 * (answer.cost.branches - 1)
    assert answer.cost.discarded_tokens > 0


def test_every_skips_steps() -> None:
    answer = solved(AnswerConvergence(agreeing=2, every=2), probed(TRACE, dict.fromkeys(range(20), " 7.")))
    assert answer.text.startswith("A one. B two. C three. D four. The")


@pytest.mark.parametrize("step", ["\n\n", "paragraph", "line"])
def test_steps_may_be_of_the_users_choice(step: str) -> None:
    def script(request: Request) -> list[ScriptedToken]:
        return tokens("one", "\n\n", "two", "\n\n", "three") if request.parent is None else tokens(" 7")

    answer = solved(AnswerConvergence(agreeing=2, step=step), script)
    assert answer.text == "one\n\ntwo\n\nThe answer is 7"


def test_a_thought_is_closed_in_the_models_tags_before_it_is_probed() -> None:
    prefixes = set()

    def script(request: Request) -> str:
        prefixes.add(request.prefix)
        return "<think> A one. B two. C three.</think> It is 9. Or 8. Or 7." if request.parent is None else " 7."

    answer = solved(AnswerConvergence(agreeing=2), script, prompt=ASKED, traits=THINKING)
    assert prefixes == {"", "\n</think>\n\nThe answer is"}
    assert (answer.text, answer.value) == ("The answer is 7.", "7")
    assert answer.candidates[0].text == "<think> A one. B two.\n</think>\n\nThe answer is 7."


def test_a_closed_thought_is_probed_no_more() -> None:
    trace = "<think> A one.</think> B two. C three. It is 9."
    answer = solved(AnswerConvergence(agreeing=2), probed(trace, {}, " 7."), prompt=ASKED, traits=THINKING)
    assert answer.text == "B two. C three. It is 9."


def test_several_traces_stop_on_their_own_and_vote() -> None:
    def script(request: Request) -> str:
        return TRACE if request.parent is None else f" {min(request.parent.sample, 1)}."

    answer = solved(AnswerConvergence(samples=3, agreeing=2), script)
    assert (answer.value, answer.confidence) == ("1", pytest.approx(2 / 3))


def test_a_trace_that_is_cut_short_answers_as_its_last_probe_with_an_answer() -> None:
    strategy = AnswerConvergence(agreeing=9, params=SamplingParams(max_tokens=9))
    script = probed("<think> A one. B two. C three. D four.", {5: " 5."}, otherwise="")
    assert solved(strategy, script, prompt=ASKED, traits=THINKING).value == "5"
    assert solved(strategy, lambda request: "", prompt=ASKED, traits=THINKING).value is None


def test_a_spent_budget_leaves_an_answer() -> None:
    strategy = AnswerConvergence(agreeing=3)
    for spent in (1, 3, 6, 9):
        solved(strategy, probed(TRACE, dict.fromkeys(range(20), " 7.")), budget=Budget(tokens=spent))


@pytest.mark.parametrize("strategy", [AnswerConvergence(), ESCoT(), AdaptiveThink(), Dynasor(every=2), Certaindex()])
def test_nothing_extractable_and_nothing_said_are_no_obstacle(strategy: Probing) -> None:
    nothing: list[Script] = [lambda request: "", lambda request: "Hm. Hm. Hm. Hm."]
    for script in nothing:
        assert solved(strategy, script, extract=lambda text: None).value is None


def test_es_cot_looks_for_a_run_longer_than_those_before() -> None:
    answers = dict(zip(range(2, 40, 2), ["1", "2", "2", "3", "7", "7", "7", "7", "7", "7", "7"], strict=False))
    trace = " ".join(f"Step {i}." for i in range(12))
    script = probed(trace, {at: f" {answer}." for at, answer in answers.items()})
    assert solved(ESCoT(least=3, level=1), script).text.count("Step") == 8
    assert solved(ESCoT(least=4, level=1), script).text.count("Step") == 9
    assert solved(ESCoT(least=3), script).text.count("Step") == 10  # 5 against 1, 1, -1: t = 3.5 on 2 degrees
    assert solved(ESCoT(), script).text.count("Step") == 12


def test_run_lengths_differ_from_the_run_before() -> None:
    assert differences([1, 1, 2, 2, 2, None, 1]) == [2, 1, -2, 0]
    assert is_larger(5, [4], 0.05)
    assert not is_larger(5, [5], 0.05)
    assert is_larger(3, [1, 1], 0.05)
    assert is_larger(9.0, [1.0, 2.0, 3.0], 0.05)  # t = 7 / sqrt(4 / 3) = 6.06 on 2 degrees: p = 0.013
    assert not is_larger(9.0, [1.0, 2.0, 3.0], 0.01)


def test_dynasor_wants_confident_probes() -> None:
    answers = {2: "7}", 4: "7} wait,", 6: "7} I know", 8: "7}"}
    assert (
        solved(Dynasor(every=2, agreeing=2), probed(TRACE, answers))
        .candidates[0]
        .text.startswith("A one. B two. C three. D four. Oh, I suddenly")
    )
    assert not is_certain("42} No, hold on")
    assert is_certain("I know 42, butter")


@pytest.mark.parametrize("case", golden("dynasor")["early_exit_AS_SHIPPED"])
def test_dynasor_exits_as_shipped_where_answers_agree_and_are_there(case: dict[str, Any]) -> None:
    """As shipped, disagreeing and empty answers pass too, and "know" is found to be uncertain: known faults."""
    at = range(2, 2 + 2 * len(case["answers"]), 2)
    said = {
        p: (f"{answer}}}" if answer else "") + ("" if certain else " wait")
        for p, answer, certain in zip(at, case["answers"], case["is_certains"], strict=True)
    }
    ours = solved(Dynasor(every=2, agreeing=case["window"]), probed("A " * 9, said, otherwise="?")).value is not None
    agree = len(set(case["answers"])) == 1 and len(case["answers"]) >= case["window"] and bool(case["answers"][0])
    assert ours == (agree and all(case["is_certains"]))
    assert not ours or case["should_early_exit"] or "know" in case["probe"]


@pytest.mark.parametrize("case", golden("dynasor")["entropy"])
def test_answer_entropy_is_the_authors(case: dict[str, Any]) -> None:
    assert answer_entropy(case["answers"]) == pytest.approx(case["entropy_bits"], abs=1e-12)


def test_certaindex_is_one_where_all_agree_and_nought_where_none_do() -> None:
    assert certaindex(["a"] * 4) == 1
    assert certaindex(["a", "b", "c"]) == pytest.approx(0)
    assert certaindex([None, None]) == pytest.approx(0)
    assert certaindex(["a"]) == certaindex([]) == 0
    assert certaindex(["a", "a", "a", "b"]) == pytest.approx(1 - 0.8112781244591328 / 2)


def test_certaindex_halts_all_traces_at_the_first_checkpoint_where_they_agree() -> None:
    def script(request: Request) -> str:
        if request.parent is None:
            return "It is 7." if request.sample == 0 else TRACE
        return " 7." if request.at >= 6 or request.parent.sample == 1 else f" {request.parent.sample}{request.at}."

    answer = solved(Certaindex(samples=4, every=2, threshold=1), script)
    assert (answer.value, answer.confidence) == ("7", 1)
    assert [candidate.tokens for candidate in answer.candidates] == [4, 8, 8, 8]


def test_adaptive_think_stops_where_the_answer_is_given_with_little_entropy() -> None:
    def script(request: Request) -> list[ScriptedToken]:
        if request.parent is None:
            return tokens(*(f" {word}" for word in TRACE.split()))
        return tokens(" 7.", entropy=0.5 if request.at < 6 else 0.05)

    strategy = AdaptiveThink(step="sentence", alpha=0.3, probe_tokens=1)  # under 0.3 / e = 0.11 nats
    assert solved(strategy, script).text.startswith("A one. B two. C three. The")
    assert solved(AdaptiveThink(step="sentence", alpha=0), script).value == "9"
    assert "entropy" in strategy.needs["local"]


@pytest.mark.parametrize(("entropy", "said"), [(0.01, "It is 5."), (3.0, "The answer is 7. I say so.")])
def test_adaptive_think_may_answer_without_a_thought_where_that_is_sure(entropy: float, said: str) -> None:
    def script(request: Request) -> list[ScriptedToken]:
        if isinstance(request.prompt, Chat) and request.prompt.thinking is False:
            return tokens("It", " is", " 5.", entropy=entropy)
        if request.parent is None:
            return tokens("<think>", " A", " 7", ".\n", "Check", ":", " 7.", "</think>", " It is 9.")
        return tokens(" 7.", " I", " say", " so.", entropy=0.01)

    strategy = AdaptiveThink(step="reflection", start=True, alpha=4.0)  # under 1.5 nats; the ends of turn have up to 4
    answer = solved(strategy, script, prompt=ASKED, traits=THINKING)
    assert answer.text == said
    assert [candidate.value for candidate in answer.candidates] == ["5", "7"][: 1 + (entropy > 1)]
    assert solved(replace(strategy, start=False), script, prompt=ASKED, traits=THINKING).value == "7"
    assert solved(strategy, script, prompt=ASKED, traits=THINKING, budget=Budget(tokens=5)).value == "5"


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (AnswerConvergence, {"agreeing": 0}),
        (AnswerConvergence, {"samples": 0}),
        (AnswerConvergence, {"every": 0}),
        (AnswerConvergence, {"step": ""}),
        (AnswerConvergence, {"probe_tokens": 0}),
        (ESCoT, {"least": 0}),
        (ESCoT, {"level": 0}),
        (Dynasor, {"agreeing": 0}),
        (AdaptiveThink, {"alpha": -1}),
        (Certaindex, {"threshold": 0}),
    ],
)
def test_settings_out_of_range_are_refused(kind: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        kind(**settings)
