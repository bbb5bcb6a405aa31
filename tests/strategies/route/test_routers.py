"""Routing between two samplers: who is asked, what stands, and what is kept when one fails."""

import math
from collections.abc import Mapping

import pytest

from lite.backends.scripted import ALL_ABILITIES, ScriptedSampler, ScriptedToken, prompt_text
from lite.budget import Budget
from lite.errors import Unsupported
from lite.ledger import Ledger
from lite.params import Chat, SamplingParams
from lite.runner import run
from lite.sampler import Answer, Chunk, Finished, Question, Reason, Request, Strategy, Traits
from lite.strategies.branches import Branch
from lite.strategies.route.abstain import Abstain, utility
from lite.strategies.route.cascade import Cascade
from lite.strategies.route.confidence import answer_logprob
from lite.strategies.route.glimp import Glimp
from lite.strategies.route.hybrid import Hybrid
from lite.strategies.route.reward_guided import RewardGuided
from lite.strategies.route.think_gate import ThinkGate
from lite.strategies.select.greedy import Greedy
from lite.strategies.select.majority import Majority
from lite.strategies.select.self_certainty import SelfCertainty
from lite.strategies.settings import make

THINKS = Traits("<think>", "</think>")


class Failing(ScriptedSampler):
    """Ends every branch as a remote sampler does when its server fails."""

    def __init__(self, reason: Reason = "failed", said: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._why, self._said, self._asked = reason, said, list[Request]()

    def start(self, requests: object) -> None:
        self._asked += requests  # type: ignore[arg-type]

    def step(self, *, wait: bool) -> list[Chunk | Finished]:
        asked, self._asked = self._asked, []
        ids = tuple(range(len(self._said)))
        chunks = [Chunk(request, 0, ids, self._said) for request in asked if self._said]
        return [*chunks, *(Finished(request, self._why, Ledger(branches=1, remote_calls=1)) for request in asked)]


def says(*texts: str, certainty: float = 9.0, logprob: float = -0.5) -> ScriptedSampler:
    """Sample i says texts[i], each word as sure as the other."""

    def script(request: Request) -> list[ScriptedToken]:
        said = texts[request.sample % len(texts)].split()
        return [ScriptedToken(text=f" {word}", certainty=certainty, logprob=logprob) for word in said]

    return ScriptedSampler(script)


def solve(strategy: Strategy, samplers: Mapping[str, ScriptedSampler], prompt: Chat | str = "How many?") -> Answer:
    return run(strategy, [Question(prompt=prompt)], samplers)[0]


UNSURE = ("it is 5", "it is 6", "it is 7", "it is 5")
SURE = ("it is 5",) * 4


class TestCascade:
    @pytest.mark.parametrize(("said", "value", "asked"), [(SURE, "5", 0), (UNSURE, "42", 1)])
    def test_the_large_one_is_asked_only_when_the_vote_is_unsure(
        self, said: tuple[str, ...], value: str, asked: int
    ) -> None:
        remote = says("it is 42")
        answer = solve(Cascade(small=Majority(samples=4)), {"local": says(*said), "remote": remote})
        assert (answer.value, len(remote.started)) == (value, asked)
        assert len(answer.candidates) == 4 + asked

    @pytest.mark.parametrize(
        ("measure", "settings", "kept"),
        [
            ("self-certainty", {"certainty": 9.0}, True),
            ("self-certainty", {"certainty": 2.0}, False),
            ("logprob", {"logprob": -0.1}, True),
            ("logprob", {"logprob": -3.0}, False),
            ("likelihood", {"logprob": -0.1}, True),
            ("likelihood", {"logprob": -3.0}, False),
        ],
    )
    def test_each_measure_decides(self, measure: str, settings: dict[str, float], kept: bool) -> None:
        threshold = "5" if measure == "self-certainty" else "0.5"
        cascade = make("cascade", settings={"small": "majority", "measure": measure, "threshold": threshold})
        answer = solve(cascade, {"local": says(*SURE, **settings), "remote": says("it is 42")})
        assert (answer.value == "5") is kept

    @pytest.mark.parametrize(("for_yes", "value"), [(-0.1, "5"), (-5.0, "42")])
    def test_p_yes_forks_the_answer_and_compares_two_words(self, for_yes: float, value: str) -> None:
        class Scoring(ScriptedSampler):
            def step(self, *, wait: bool) -> list[Chunk | Finished]:
                return [self._scored(event) for event in super().step(wait=wait)]

            def _scored(self, event: Chunk | Finished) -> Chunk | Finished:
                if isinstance(event, Finished) or event.start >= 0:
                    return event
                last = for_yes if event.texts[-1].strip() == "Yes" else -1.0
                logprobs = (*(-9.0 for _ in event.texts[1:]), last)
                return Chunk(event.request, event.start, event.ids, event.texts, logprobs)

        local = Scoring(lambda request: " it is 5")
        cascade = Cascade(small=Majority(samples=2), measure="p-yes", threshold=0.5)
        assert solve(cascade, {"local": local, "remote": says("it is 42")}).value == value
        forks = [request for requests in local.started for request in requests if request.parent]
        assert [fork.prefix.split()[-1] for fork in forks] == ["Yes", "No"]
        assert all(fork.at == 3 for fork in forks)  # the end of turn is left out

    @pytest.mark.parametrize("reason", ["failed", "withheld"])
    @pytest.mark.parametrize("said", [(), (" the", " answer is", " 9")])
    def test_the_local_answer_is_returned_and_marked_when_the_large_one_fails(
        self, reason: Reason, said: tuple[str, ...]
    ) -> None:
        local = says(*UNSURE)
        answer = solve(Cascade(small=Majority(samples=4)), {"local": local, "remote": Failing(reason, said)})
        assert (answer.value, answer.text, answer.confidence) == ("5", "it is 5", 0.5)
        assert [candidate.reason for candidate in answer.candidates] == ["eos"] * 4 + [reason]
        assert answer.candidates[-1].request.sampler == "remote"

    def test_a_large_vote_stands_on_those_that_came_through(self) -> None:
        class Half(ScriptedSampler):
            def step(self, *, wait: bool) -> list[Chunk | Finished]:
                events = super().step(wait=wait)
                for event in events:
                    if isinstance(event, Finished) and event.request.sample == 0:
                        events[events.index(event)] = Finished(event.request, "failed", event.cost)  # type: ignore[index]
                return events  # type: ignore[return-value]

        cascade = Cascade(small=Majority(samples=4), large=Majority(samples=3, sampler="remote"))
        answer = solve(cascade, {"local": says(*UNSURE), "remote": Half(lambda request: "it is 42")})
        assert answer.value == "42"

    def test_a_budget_that_is_spent_locally_leaves_the_local_answer(self) -> None:
        samplers = {"local": says(*UNSURE), "remote": says("it is 42")}
        (answer,) = run(Cascade(small=Majority(samples=4)), [Question(prompt="?")], samplers, budget=Budget(tokens=16))
        assert answer.value == "5"

    def test_three_models_are_a_cascade_in_a_cascade(self) -> None:
        inner = Cascade(small=Majority(samples=4, sampler="middle"), large=Greedy(sampler="remote"))
        samplers = {"local": says(*UNSURE), "middle": says(*UNSURE), "remote": says("it is 42")}
        assert solve(Cascade(small=Majority(samples=4), large=inner), samplers).value == "42"

    def test_a_measure_that_a_sampler_cannot_tell_is_refused(self) -> None:
        local = ScriptedSampler(can=ALL_ABILITIES - {"certainty"})
        with pytest.raises(Unsupported, match="certainty"):
            solve(Cascade(small=Greedy(), measure="self-certainty"), {"local": local, "remote": says("x")})


class TestHybrid:
    @pytest.mark.parametrize(("certainty", "value"), [(20.0, "5"), (2.0, "42")])
    def test_the_first_tokens_decide_before_anything_is_answered(self, certainty: float, value: str) -> None:
        samplers = {"local": says(*SURE, certainty=certainty), "remote": says("it is 42")}
        answer = solve(Hybrid(small=Majority(samples=4), glimpse=2), samplers)
        assert answer.value == value
        assert answer.candidates[0].tokens == 2
        assert len(answer.candidates) == (5 if value == "5" else 2)

    def test_the_small_one_answers_when_the_large_one_fails(self) -> None:
        samplers = {"local": says(*SURE, certainty=1.0), "remote": Failing()}
        answer = solve(Hybrid(small=Majority(samples=4)), samplers)
        assert answer.value == "5"
        assert [c.reason for c in answer.candidates].count("failed") == 1


class TestAbstain:
    @pytest.mark.parametrize(("logprob", "value"), [(-0.1, "5"), (-2.0, None)])
    def test_an_unsure_answer_is_not_given_but_can_be_read(self, logprob: float, value: str | None) -> None:
        answer = solve(Abstain(inner=Majority(samples=4)), {"local": says(*SURE, logprob=logprob)})
        assert answer.value == value
        assert answer.confidence == pytest.approx(math.exp(logprob))
        assert answer.candidates[0].value == "5"
        assert (answer.text == "I am not sure.") is (value is None)

    def test_around_a_cascade_it_escalates_first(self) -> None:
        cascade = Cascade(small=Majority(samples=4), measure="self-certainty", threshold=100)
        samplers = {"local": says(*UNSURE), "remote": says("it is 42", logprob=-0.01)}
        assert solve(Abstain(inner=cascade), samplers).value == "42"

    def test_utility_is_the_papers(self) -> None:
        outcomes = [True, True, False, None]
        assert [utility(outcomes, penalty) for penalty in (0, 1, 20)] == [0.5, 0.25, -4.5]


def test_the_answers_log_probability_is_that_of_the_tokens_that_write_it() -> None:
    texts = ["12", " then", " 1", "2", ".5", " end"]
    branch = Branch(Request("?"), ids=[0] * 6, texts=texts, logprobs=[-1.0, -2.0, -4.0, -8.0, -16.0, -32.0])
    assert answer_logprob(branch, "12") == -12
    assert answer_logprob(branch, "12.5") == -28
    assert answer_logprob(branch, "13") is None


def writer(
    steps: Mapping[str, str], entropy: Mapping[str, float] | None = None, logprob: float = -0.1
) -> ScriptedSampler:
    """Goes on from the prefix as the table says; a step's first token is as unsure as the second table says."""

    def script(request: Request) -> list[ScriptedToken]:
        words = steps[request.prefix].split(" ")
        unsure = (entropy or {}).get(request.prefix, 0.0)
        return [
            ScriptedToken(text=word if i == 0 else f" {word}", entropy=unsure if i == 0 else 0.0, logprob=logprob)
            for i, word in enumerate(words)
        ]

    return ScriptedSampler(script, traits=THINKS)


class TestGlimp:
    LOCAL: Mapping[str, str] = {"": "one a\n\n", "one a\n\n": "bad b\n\n", "one a\n\nTWO\n\n": "three </think>\n\n"}
    REMOTE: Mapping[str, str] = {
        "one a\n\n": "TWO\n\n",
        "one a\n\nTWO\n\nthree </think>\n\n": "The answer is 7.",
    }

    @pytest.mark.parametrize("chunk_size", [1, 50])
    def test_unsure_steps_and_the_final_answer_are_the_large_models(self, chunk_size: int) -> None:
        local = writer(self.LOCAL, {"one a\n\n": 2.0})
        local._chunk_size = chunk_size
        answer = solve(Glimp(), {"local": local, "remote": writer(self.REMOTE)})
        assert (answer.value, answer.text) == ("7", "The answer is 7.")
        assert [(c.request.sampler, c.tokens, c.reason) for c in answer.candidates] == [
            ("local", 2, "stop"),
            ("local", 0, "cancelled"),
            ("remote", 1, "stop"),
            ("local", 2, "stop"),
            ("remote", 5, "eos"),
        ]
        assert answer.candidates[1].score == 2.0

    def test_when_the_large_one_fails_the_small_one_writes_everything(self) -> None:
        steps = {"": "one\n\n", "one\n\n": "two</think>\n\n", "one\n\ntwo</think>\n\n": "The answer is 3."}
        answer = solve(Glimp(), {"local": writer(steps, dict.fromkeys(steps, 9.0)), "remote": Failing()})
        assert answer.value == "3"
        assert [c.reason for c in answer.candidates].count("failed") == 1

    def test_what_the_steps_may_not_have_is_refused(self) -> None:
        with pytest.raises(ValueError, match="stop must be empty"):
            Glimp(params=SamplingParams(stop=("x",)))
        with pytest.raises(Unsupported, match="prefix"):
            solve(Glimp(), {"local": writer({}), "remote": ScriptedSampler(can=frozenset())})


class TestRewardGuided:
    STEPS: Mapping[str, str] = {"": "good\n\n", "good\n\n": "bad\n\n", "good\n\nBETTER\n\n": "it is 5"}
    LARGE: Mapping[str, str] = {"good\n\n": "BETTER\n\n"}

    def test_a_step_that_scores_low_is_written_anew_from_the_same_text(self) -> None:
        strategy = RewardGuided(reward=lambda question, before, step: 0.0 if step == "bad" else 1.0)
        answer = solve(strategy, {"local": writer(self.STEPS), "remote": writer(self.LARGE)})
        assert (answer.value, answer.text) == ("5", "good\n\nBETTER\n\nit is 5")
        assert [c.score for c in answer.candidates if c.request.sampler == "local"] == [1.0, 0.0, 1.0]

    @pytest.mark.parametrize(("logprob", "asked"), [(-0.1, 0), (-2.0, 1)])
    def test_without_a_reward_the_mean_token_probability_is_one(self, logprob: float, asked: int) -> None:
        answer = solve(
            RewardGuided(threshold=0.3), {"local": writer({"": "it is 5"}, logprob=logprob), "remote": says("it is 42")}
        )
        assert answer.value == ("42" if asked else "5")

    def test_the_draft_stands_when_the_large_one_fails(self) -> None:
        local = writer({"": "a\n\n", "a\n\n": "it is 5"}, logprob=-3.0)
        answer = solve(RewardGuided(), {"local": local, "remote": Failing()})
        assert answer.value == "5"
        assert [c.reason for c in answer.candidates] == ["stop", "failed", "eos"]


class TestThinkGate:
    @pytest.mark.parametrize(("prompt", "thinking"), [("Prove that 2 > 1", True), ("Say hello", False)])
    def test_a_pattern_decides(self, prompt: str, thinking: bool) -> None:
        local = says("it is 5")
        solve(ThinkGate(inner=Greedy(), pattern="prove|how many"), {"local": local}, Chat.ask(prompt))
        ((request,),) = local.started
        assert isinstance(request.prompt, Chat)
        assert request.prompt.thinking is thinking

    @pytest.mark.parametrize(("threshold", "thinking"), [(0.0, True), (1.0, False)])
    def test_or_the_model_does_by_p_yes(self, threshold: float, thinking: bool) -> None:
        local = says("it is 5")
        solve(ThinkGate(inner=SelfCertainty(samples=2), threshold=threshold), {"local": local}, Chat.ask("Say hello"))
        gate, samples = local.started
        assert [request.prefix for request in gate] == ["Yes", "No"]
        assert "Say hello" in prompt_text(gate[0].prompt)
        assert isinstance(samples[0].prompt, Chat)
        assert samples[0].prompt.thinking is thinking
