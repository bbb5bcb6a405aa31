"""A cascade from a local model to a real server: what comes over when it serves, and what is kept when it does not."""

from contextlib import closing
from functools import partial

import pytest

from lite.backends.remote import RemoteConfig, RemoteSampler
from lite.backends.scripted import ScriptedSampler, words
from lite.params import Chat, SamplingParams
from lite.privacy import Privacy
from lite.runner import run
from lite.sampler import Answer, Question, Request
from lite.strategies.route.cascade import Cascade
from lite.strategies.route.reward_guided import RewardGuided
from lite.strategies.select.majority import Majority
from tests.backends.test_remote import FAULTS, good
from tests.http_servers import Larger, Server, free_port

CASCADE = Cascade(small=Majority(samples=4))
QUESTIONS = [Question(prompt=Chat.ask(f"Question {i}?")) for i in range(3)]


def unsure() -> ScriptedSampler:
    return ScriptedSampler(lambda request: f"it is {(5, 6, 7, 5)[request.sample]}")


def config(url: str, **changes: object) -> RemoteConfig:
    settings: dict[str, object] = {"model": "m", "can": frozenset(), "batch_samples": False, "retries": 0}
    return RemoteConfig(url=url, **{**settings, "total_seconds": 20, **changes})  # type: ignore[arg-type]


def cascade(remote: RemoteConfig, questions: list[Question] = QUESTIONS) -> list[Answer]:
    with closing(RemoteSampler(remote)) as sampler:
        return run(CASCADE, questions, {"local": unsure(), "remote": sampler})


def test_unsure_questions_are_answered_by_the_server() -> None:
    with Server([Larger(sampler=partial(ScriptedSampler, lambda request: "The answer is 42."))]) as server:
        answers = cascade(config(server.url))
    assert [answer.value for answer in answers] == ["42"] * 3
    assert [answer.cost.remote_calls for answer in answers] == [1] * 3


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost_whatever_the_server_does(fault: str) -> None:
    act, told, _ = FAULTS[fault]
    wait = 0.5 if "silent" in told else 10
    most = 200_000 if fault == "a huge body" else 500_000_000
    with Server([act]) as server:
        (answer,) = cascade(config(server.url, read_seconds=wait, most_bytes=most), QUESTIONS[:1])
    assert (answer.value, answer.text, answer.confidence) == ("5", "it is 5", 0.5)
    assert [candidate.reason for candidate in answer.candidates] == ["eos"] * 4 + ["failed"]


def test_nor_when_nobody_is_there_or_nothing_may_be_sent() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    for remote, reason in (
        (config(url), "failed"),
        (config(url, offline=True), "withheld"),
        (config(url, privacy=Privacy(patterns=("question",))), "withheld"),
    ):
        for answer in cascade(remote):
            assert answer.value == "5"
            assert answer.candidates[-1].reason == reason


def test_one_question_that_fails_does_not_harm_the_others() -> None:
    with Server([FAULTS["reset mid-stream"][0], good, good]) as server:
        answers = cascade(config(server.url, concurrency=1))
    assert sorted(str(answer.value) for answer in answers) == ["42", "42", "5"]


def test_a_step_wise_router_sends_the_text_so_far() -> None:
    def local(request: Request) -> str:
        return "bad step\n\n" if not request.prefix else "it is 5"

    steps = Larger(sampler=partial(ScriptedSampler, lambda request: "good step\n\n"))
    with Server([steps]) as server:
        remote = RemoteSampler(config(server.url, can=frozenset({"prefix"}), prefix_style="assistant"))
        with closing(remote):
            strategy = RewardGuided(
                reward=lambda question, before, step: float("bad" not in step), params=SamplingParams(max_tokens=50)
            )
            (answer,) = run(strategy, QUESTIONS[:1], {"local": ScriptedSampler(local), "remote": remote})
    assert answer.text == "good step\n\nit is 5"
    assert words("good step") == ["good", " step"]
    assert server.bodies[0]["stop"] == ["\n\n"]
