"""The remote sampler against real servers on loopback: one that serves well, and one for each thing that goes wrong."""

import gzip
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from email.utils import formatdate
from functools import partial
from pathlib import Path

import pytest

from lite.backends.remote import RemoteConfig, RemoteSampler
from lite.backends.scripted import ScriptedSampler
from lite.budget import Budget
from lite.errors import BackendError, InvalidRequest, Unsupported, UsageError
from lite.params import Chat, SamplingParams
from lite.privacy import Privacy
from lite.runner import run
from lite.sampler import Answer, Chunk, Finished, Question, Request
from lite.strategies import Majority, MeanLogprob, SelfCertainty
from lite.strategies.select.nothinking import NoThinking
from tests.http_servers import Act, Larger, Reply, Server, free_port, self_signed

PLAIN = RemoteConfig(
    url="http://127.0.0.1:1/v1", model="m", can=frozenset(), batch_samples=False, backoff_seconds=0.01,
    connect_seconds=5, read_seconds=10, total_seconds=20, retries=1, prompt_price=1e6, completion_price=1e6,
)  # fmt: skip
QUESTION = Question(prompt=Chat.ask("What is 6 times 7?"))


@contextmanager
def remote(server: Server, config: RemoteConfig = PLAIN, **changes: object) -> Iterator[RemoteSampler]:
    with closing(RemoteSampler(replace(config, url=server.url, **changes))) as sampler:  # type: ignore[arg-type]
        yield sampler


def ask(sampler: RemoteSampler, samples: int = 1, params: SamplingParams | None = None) -> Answer:
    strategy = Majority(samples=samples, params=params or SamplingParams(), sampler="remote")
    return run(strategy, [QUESTION], {"remote": sampler})[0]


def good(reply: Reply) -> None:
    reply.head()
    reply.say("The answer ", "is 42.", reason="stop")
    reply.event({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 6}})
    reply.done()


def collect(sampler: RemoteSampler, requests: list[Request]) -> list[Chunk | Finished]:
    sampler.start(requests)
    events: list[Chunk | Finished] = []
    while sum(isinstance(event, Finished) for event in events) < len(requests):
        events += sampler.step(wait=True)
    return events


class TestAServerThatServesWell:
    def test_its_abilities_are_found_out_and_not_assumed(self) -> None:
        for peer, can, n in (
            (Larger(), {"logprobs", "top"}, True),
            (Larger(tells_logprobs=False, takes_n=False), set(), False),
        ):
            with Server([peer]) as server, remote(server, model="", can=None, batch_samples=None) as sampler:
                assert sampler.can == can
                assert (ask(sampler, samples=3).cost.remote_calls == 1) is n
                assert server.paths.count("/v1/models") == 1
                assert sampler.probe_cost.remote_calls == 1
                assert "certainty" not in sampler.can

    def test_a_field_that_it_calls_wrong_is_left_out(self) -> None:
        def picky(reply: Reply) -> None:
            wrong = "n" in reply.body or "logprobs" in reply.body
            reply.refuse(400, "unknown field") if wrong else Larger()(reply)

        with Server([picky]) as server, remote(server, can=None, batch_samples=None) as sampler:
            assert sampler.can == frozenset()
            assert ask(sampler, samples=2).cost.remote_calls == 2

    def test_a_strategy_that_needs_what_it_cannot_do_is_refused_before_a_token_is_drawn(self) -> None:
        with Server([Larger()]) as server, remote(server, can=None) as sampler:
            with pytest.raises(Unsupported, match="certainty"):
                run(SelfCertainty(sampler="remote"), [QUESTION], {"remote": sampler})
            assert all(body.get("max_tokens", 1) == 1 for body in server.bodies)

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("n", [True, False])
    def test_samples_come_whole_with_their_statistics(self, stream: bool, n: bool) -> None:
        can = frozenset({"logprobs", "top"})
        with Server([Larger()]) as server, remote(server, can=can, batch_samples=n, stream=stream) as sampler:
            strategy = MeanLogprob(samples=3, params=SamplingParams(top_logprobs=2), sampler="remote")
            (answer,) = run(strategy, [QUESTION], {"remote": sampler})
        assert answer.cost.remote_calls == (1 if n else 3) == len(server.bodies)
        assert [candidate.reason for candidate in answer.candidates] == ["eos"] * 3
        assert all(c.score is not None and c.score < 0 and c.value for c in answer.candidates)
        assert answer.cost.drawn_tokens == sum(c.tokens for c in answer.candidates)
        assert len({body["seed"] for body in server.bodies}) == len(server.bodies)

    def test_the_ledger_counts_what_the_server_counted_and_what_it_costs(self) -> None:
        def thinks_unseen(reply: Reply) -> None:
            reply.head()
            reply.say("42", reason="stop")
            details = {"prompt_tokens_details": {"cached_tokens": 4}}
            reply.event({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 50} | details})
            reply.done()

        with Server([thinks_unseen]) as server, remote(server, prompt_price=1.0, completion_price=2.0) as sampler:
            cost = ask(sampler).cost
        assert (cost.prompt_tokens, cost.cached_tokens, cost.drawn_tokens) == (6, 4, 50)
        assert cost.money == pytest.approx((10 + 2 * 50) / 1e6)

    def test_what_it_reasons_stands_between_the_think_tags(self) -> None:
        with Server([Larger(thought="Six times seven...")]) as server, remote(server) as sampler:
            answer = ask(sampler)
        assert answer.candidates[0].text.startswith("<think>Six times seven...</think>")
        assert "Six" not in answer.text

    def test_thinking_and_prefixes_are_sent_as_the_server_takes_them(self) -> None:
        with Server([good]) as server, remote(server, prefix_style="continue") as sampler:
            run(NoThinking(inner=Majority(samples=1, sampler="remote")), [QUESTION], {"remote": sampler})
            collect(sampler, [Request(QUESTION.prompt, prefix="It is", sampler="remote")])
            collect(sampler, [Request("6 * 7 =", prefix=" 4", sampler="remote")])
        chat, prefixed, text = server.bodies
        assert chat["chat_template_kwargs"] == {"enable_thinking": False}
        assert prefixed["messages"][-1] == {"role": "assistant", "content": "It is"}
        assert prefixed["continue_final_message"] is True
        assert text["prompt"] == "6 * 7 = 4"
        assert server.paths[-1] == "/v1/completions"

    def test_what_it_cannot_be_sent_is_refused_and_nothing_started(self) -> None:
        with Server([good]) as server, remote(server) as sampler:
            first = Request(QUESTION.prompt)
            for request in (
                Request(QUESTION.prompt, prefix="x"),
                Request(QUESTION.prompt, score=True),
                Request(QUESTION.prompt, parent=first),
            ):
                with pytest.raises(InvalidRequest):
                    sampler.start([first, request])
            collect(sampler, [first])
            with pytest.raises(InvalidRequest, match="one branch"):
                sampler.start([first])
            assert len(server.bodies) == 1

    def test_no_more_requests_than_allowed_are_under_way(self) -> None:
        with Server([Larger(delay=0.03)]) as server, remote(server, concurrency=2) as sampler:
            assert len(ask(sampler, samples=6).candidates) == 6
        assert server.most_live == 2

    def test_logprobs_are_asked_for_with_one_of_the_likeliest_at_least(self) -> None:
        with Server([Larger()]) as server, remote(server, can=frozenset({"logprobs"})) as sampler:
            collect(sampler, [Request(QUESTION.prompt), Request("6 * 7 =")])
        asked = {
            path: (body["logprobs"], body.get("top_logprobs"))
            for path, body in zip(server.paths, server.bodies, strict=True)
        }
        assert asked == {"/v1/chat/completions": (True, 1), "/v1/completions": (1, None)}

    def test_a_step_that_does_not_wait_returns_at_once(self) -> None:
        with Server([partial(Reply.wait, seconds=2)]) as server, remote(server) as sampler:
            request = Request(QUESTION.prompt)
            sampler.start([request])
            began = time.perf_counter()
            assert list(sampler.step(wait=False)) == []
            assert time.perf_counter() - began < 0.1

    def test_cancelling_closes_the_connection_and_the_others_go_on(self) -> None:
        def endless(reply: Reply) -> None:
            if reply.body["seed"] != slow_seed:
                return good(reply)
            reply.head()
            while not reply.stopped.wait(0.005):
                reply.say("on ")
            return None

        with Server([lambda reply: endless(reply)]) as server, remote(server) as sampler:
            slow, fast = Request(QUESTION.prompt, sample=0), Request(QUESTION.prompt, sample=1)
            from lite.backends.remote_wire import _seed

            slow_seed = _seed(slow)
            sampler.start([slow])
            while not any(isinstance(event, Chunk) for event in sampler.step(wait=True)):
                pass
            sampler.start([fast])
            sampler.cancel(slow, at=1)
            sampler.cancel(slow)
            ends = {}
            while len(ends) < 2:
                for event in sampler.step(wait=True):
                    assert not (isinstance(event, Chunk) and event.request is slow)
                    if isinstance(event, Finished):
                        ends[event.request] = event
            began = time.perf_counter()
            while not server.hung_up and time.perf_counter() - began < 2:
                time.sleep(0.01)
        assert ends[slow].reason == "cancelled"
        assert ends[slow].cost.drawn_tokens == 1
        assert ends[fast].reason == "eos"
        assert server.hung_up

    def test_closing_ends_everything_and_twice_is_once(self) -> None:
        with Server([partial(Reply.wait, seconds=2)]) as server, remote(server) as sampler:
            sampler.start([Request(QUESTION.prompt)])
            began = time.perf_counter()
            sampler.close()
            sampler.close()
            assert time.perf_counter() - began < 1
            with pytest.raises(BackendError, match="closed"):
                sampler.start([Request(QUESTION.prompt)])

    def test_a_budget_of_money_ends_with_the_best_answer_so_far(self) -> None:
        with Server([good]) as server, remote(server, concurrency=1) as sampler:
            strategy = Majority(samples=8, sampler="remote")
            (answer,) = run(strategy, [QUESTION], {"remote": sampler}, budget=Budget(money=20))
        assert answer.value == "42"
        assert len(server.bodies) < 8


def stalls(reply: Reply) -> None:
    reply.head()
    reply.say("The answer is ")
    reply.wait(3)


def half_json(reply: Reply) -> None:
    reply.head()
    reply.say("The answer is ")
    reply.send(b'data: {"choices": [{"delta": {"con')


def resets(reply: Reply) -> None:
    reply.head()
    reply.say("The answer is ")
    time.sleep(0.05)
    reply.reset()


def unfinished(reply: Reply) -> None:
    reply.head()
    reply.say("The answer is ")
    reply.done()


def huge_line(reply: Reply) -> None:
    reply.head()
    reply.say("The answer is ")
    for _ in range(100):
        reply.send(b"x" * 65536)


def huge_body(reply: Reply) -> None:
    reply.head()
    reply.say("The answer is ")
    for _ in range(100):
        reply.event({"choices": [], "pad": "x" * 10_000})


def breaks_off(reply: Reply) -> None:
    reply.head()
    reply.say("The answer is ")
    reply.event({"error": {"message": "out of memory", "code": 500}})


def not_ours(reply: Reply) -> None:
    reply.head()
    reply.say("The answer is ")
    reply.event({"choices": [{"delta": {"content": 42}}]})


def filtered(reply: Reply) -> None:
    reply.head()
    reply.say("The answer is ", reason="content_filter")
    reply.done()


def compressed(reply: Reply) -> None:
    reply.head(200, Content_Encoding="gzip")
    reply.send(gzip.compress(b"x" * 10**6))


FAULTS: dict[str, tuple[Act, str, str]] = {
    "slow first byte": (partial(Reply.wait, seconds=3), "silent for longer than read_seconds", ""),
    "stalls mid-stream": (stalls, "silent for longer than read_seconds", "The answer is "),
    "half a JSON": (half_json, "no JSON", "The answer is "),
    "reset mid-stream": (resets, "connection broke", "The answer is "),
    "reset before a byte": (Reply.reset, "connection broke", ""),
    "an endless line": (huge_line, "damaged: an event of more than", "The answer is "),
    "a huge body": (huge_body, "longer than most_bytes", "The answer is "),
    "no word on how it ended": (unfinished, "without a finish_reason", "The answer is "),
    "an error in the stream": (breaks_off, "it broke off: out of memory", "The answer is "),
    "values of wrong types": (not_ours, "damaged: a text is of the type int", "The answer is "),
    "cut by a filter": (filtered, "filter", "The answer is "),
    "compressed unasked": (compressed, "compressed", ""),
    "500 for ever": (lambda reply: reply.refuse(500, "boom"), "HTTP 500: boom", ""),
    "401": (lambda reply: reply.refuse(401, "bad key"), "HTTP 401: bad key (the key was refused", ""),
    "404": (lambda reply: reply.refuse(404), "HTTP 404: no (no such model", ""),
    "a redirect": (lambda reply: reply.refuse(307, Location="http://127.0.0.1:1/"), "redirects are not followed", ""),
    "429 for too long": (lambda reply: reply.refuse(429, Retry_After="3600"), "asks for 3600 s", ""),
    "nothing at all": (lambda reply: (reply.head(), reply.done())[0], "said nothing", ""),
    "a page of HTML": (lambda reply: (reply.head(200, "text/html"), reply.send(b"<html>"))[0], "no JSON", ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_the_branch_with_what_had_come_and_a_reason(fault: str) -> None:
    act, told, kept = FAULTS[fault]
    read_seconds = 0.8 if "silent" in told else 10
    retries = 1 if fault == "429 for too long" else 0
    most_bytes = 200_000 if fault == "a huge body" else 500_000_000
    with (
        Server([act]) as server,
        remote(server, retries=retries, read_seconds=read_seconds, most_bytes=most_bytes) as sampler,
    ):
        answer = ask(sampler)
        (candidate,) = answer.candidates
        assert candidate.reason == "failed"
        assert candidate.text == kept
        assert told in sampler.failures[candidate.request]
        assert answer.cost.remote_calls == 1
        assert answer.cost.drawn_tokens == (1 if kept else 0)


def test_other_samples_go_on_when_one_fails() -> None:
    with Server([resets, good, good]) as server, remote(server, retries=0, concurrency=1) as sampler:
        answer = ask(sampler, samples=3)
    assert answer.value == "42"
    assert [candidate.reason for candidate in answer.candidates] == ["failed", "eos", "eos"]


class TestRetries:
    @pytest.mark.parametrize(
        "fault",
        [
            Reply.reset,
            lambda reply: reply.refuse(500),
            lambda reply: reply.refuse(503),
            lambda reply: reply.refuse(429, Retry_After="0"),
            partial(Reply.wait, seconds=3),
            lambda reply: reply.head(),
        ],
    )
    def test_what_has_said_nothing_is_asked_again(self, fault: Act) -> None:
        read_seconds = 0.8 if isinstance(fault, partial) else 10
        with Server([fault, good]) as server, remote(server, read_seconds=read_seconds) as sampler:
            answer = ask(sampler)
        assert answer.value == "42"
        assert answer.cost.remote_calls == 2

    def test_what_has_begun_to_speak_is_not_asked_again(self) -> None:
        with Server([resets, good]) as server, remote(server) as sampler:
            assert ask(sampler).candidates[0].reason == "failed"
        assert len(server.bodies) == 1

    @pytest.mark.parametrize("as_date", [False, True])
    def test_retry_after_is_honoured_in_seconds_and_as_a_date(self, as_date: bool) -> None:
        def busy(reply: Reply) -> None:
            reply.refuse(429, Retry_After=formatdate(time.time() + 2, usegmt=True) if as_date else "1")

        with Server([busy, good]) as server, remote(server) as sampler:
            began = time.perf_counter()
            assert ask(sampler).value == "42"
            assert time.perf_counter() - began > 0.9

    def test_total_seconds_holds_for_a_server_that_drips(self) -> None:
        def drips(reply: Reply) -> None:
            reply.head()
            while not reply.stopped.wait(0.05):
                reply.send(b": keep-alive\n\n")

        with Server([drips]) as server, remote(server, total_seconds=0.4) as sampler:
            answer = ask(sampler)
            assert "total_seconds" in sampler.failures[answer.candidates[0].request]

    def test_a_second_request_helps_when_the_first_is_slow(self) -> None:
        acts: list[Act] = [partial(Reply.wait, seconds=60), good]
        with Server(acts) as server, remote(server, hedge_seconds=0.2, read_seconds=60) as sampler:
            began = time.perf_counter()
            answer = ask(sampler)
            assert time.perf_counter() - began < 20
        assert answer.value == "42"
        assert answer.cost.remote_calls == 2
        assert answer.cost.money == pytest.approx(2 * 11 + 6)


class TestTheCircuitBreaker:
    def test_a_server_that_fails_is_left_alone_then_tried_with_one_request(self) -> None:
        now = [0.0]
        acts: list[Act] = [lambda reply: reply.refuse(500)] * 2 + [good]
        with Server(acts) as server:
            config = replace(PLAIN, url=server.url, retries=0, breaker_failures=2, breaker_seconds=10, concurrency=1)
            with closing(RemoteSampler(config, clock=lambda: now[0])) as sampler:
                answer = ask(sampler, samples=4)
                assert len(server.bodies) == 2
                assert sampler.breaker == "open"
                assert "not asked" in sampler.failures[answer.candidates[3].request]
                now[0] = 11
                assert sampler.breaker == "half-open"
                assert ask(sampler).value == "42"
                assert sampler.breaker == "closed"

    def test_a_wrong_request_is_no_fault_of_the_server(self) -> None:
        with Server([lambda reply: reply.refuse(400)]) as server, remote(server, breaker_failures=1) as sampler:
            ask(sampler, samples=2)
            assert len(server.bodies) == 2
            assert sampler.breaker == "closed"


class TestWhatAServerClaims:
    @pytest.mark.parametrize(
        "usage",
        [
            None,
            {"prompt_tokens": -5, "completion_tokens": 2},
            {"prompt_tokens": 3, "completion_tokens": "many"},
            {"prompt_tokens": 10**30, "completion_tokens": True},
            {"prompt_tokens": 5, "completion_tokens": 0},
            [],
        ],
    )
    def test_a_wrong_usage_does_not_hide_what_was_drawn(self, usage: object) -> None:
        def lies(reply: Reply) -> None:
            reply.head()
            reply.say("The answer ", "is 42.", reason="stop")
            reply.event({"choices": [], "usage": usage})
            reply.done()

        with Server([lies]) as server, remote(server) as sampler:
            cost = ask(sampler).cost
        assert cost.drawn_tokens == 2
        assert cost.prompt_tokens == 5  # the server's, or a quarter of the question's bytes
        assert cost.money == pytest.approx(7)

    def test_more_tokens_than_asked_for_are_cut_and_the_connection_closed(self) -> None:
        def rambles(reply: Reply) -> None:
            reply.head()
            while not reply.stopped.is_set():
                reply.say("on ")

        with Server([rambles]) as server, remote(server) as sampler:
            (candidate,) = ask(sampler, params=SamplingParams(max_tokens=5)).candidates
        assert (candidate.text, candidate.reason) == ("on " * 5, "length")

    @pytest.mark.parametrize("logprob", [float("nan"), 3.0, "high", None, True, -float("inf")])
    def test_a_logprob_that_cannot_be_is_dropped(self, logprob: object) -> None:
        def lies(reply: Reply) -> None:
            reply.head()
            entry = {"token": "42", "logprob": logprob, "top_logprobs": "?"}
            reply.event({"choices": [{"delta": {"content": "42"}, "logprobs": {"content": [entry]}}]})
            reply.say(reason="stop")
            reply.done()

        can = frozenset({"logprobs", "top"})
        with Server([lies]) as server, remote(server, can=can) as sampler:
            events = collect(sampler, [Request(QUESTION.prompt, SamplingParams(top_logprobs=1))])
        (chunk,) = [event for event in events if isinstance(event, Chunk)]
        assert chunk.texts == ("42",)
        assert chunk.logprobs == chunk.top == chunk.certainty == chunk.entropy == ()

    def test_choices_that_were_not_asked_for_are_passed_over(self) -> None:
        def many(reply: Reply) -> None:
            reply.head()
            reply.say("99", index=7)
            reply.say("42", reason="stop")
            reply.done()

        with Server([many]) as server, remote(server) as sampler:
            assert ask(sampler).value == "42"


class TestWhatNeverLeaves:
    def test_a_question_that_matches_is_withheld_before_a_socket_opens(self) -> None:
        privacy = Privacy(patterns=(r"\bheron\b",))
        with Server([good]) as server, remote(server, privacy=privacy) as sampler:
            for words in ("Project Heron?", "HERON", "he\u200bron", "ｈｅｒｏｎ"):
                (answer,) = run(
                    Majority(samples=2, sampler="remote"), [Question(prompt=Chat.ask(words))], {"remote": sampler}
                )
                assert [candidate.reason for candidate in answer.candidates] == ["withheld"] * 2
                assert "privacy" in sampler.failures[answer.candidates[0].request]
                assert answer.cost.remote_calls == 0
            assert not server.bodies
            assert not sampler._loop.is_alive

    def test_a_span_that_matches_is_masked_everywhere(self) -> None:
        privacy = Privacy(patterns=(r"[\w.]+@[\w.]+",), action="mask")
        with Server([good]) as server, remote(server, privacy=privacy, prefix_style="assistant") as sampler:
            prompt = Chat.ask("Write to ann@example.org or bo@example.org", system="I am ann@example.org")
            collect(sampler, [Request(prompt, prefix="Dear Ann@example.org")])
        assert [message["content"] for message in server.bodies[0]["messages"]] == [
            "I am [private 1]",
            "Write to [private 2] or [private 3]".replace("[private 2]", "[private 1]").replace("3", "2"),
            "Dear [private 1]",
        ]

    def test_token_ids_cannot_be_read_and_stay_here(self) -> None:
        with Server([good]) as server, remote(server, privacy=Privacy(patterns=("x",))) as sampler:
            (finished,) = collect(sampler, [Request((1, 2, 3))])
        assert isinstance(finished, Finished)
        assert finished.reason == "withheld"
        assert not server.bodies

    def test_offline_sends_nothing_and_does_not_even_ask_what_the_server_can_do(self) -> None:
        with Server([good]) as server, remote(server, offline=True, model="", can=None) as sampler:
            assert sampler.can == frozenset()
            assert [candidate.reason for candidate in ask(sampler, samples=2).candidates] == ["withheld"] * 2
            assert not server.bodies
            assert not sampler._loop.is_alive

    @pytest.mark.parametrize("pattern", ["(", "a*"])
    def test_a_pattern_that_cannot_work_is_refused(self, pattern: str) -> None:
        with pytest.raises(ValueError, match="privacy pattern"):
            Privacy(patterns=(pattern,))


class TestTheKey:
    KEY = "sk-very-secret-123"

    def test_it_is_sent_and_never_shown(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("MY_KEY", self.KEY)

        def echoes(reply: Reply) -> None:
            reply.refuse(401, f"Incorrect key {self.KEY}")

        def echoes_late(reply: Reply) -> None:
            reply.head()
            reply.event({"error": {"message": f"key {self.KEY} has expired"}})

        caplog.set_level(logging.DEBUG)
        with Server([echoes, echoes_late]) as server, remote(server, key_env="MY_KEY", concurrency=1) as sampler:
            answer = ask(sampler, samples=2)
            assert server.headers[0]["Authorization"] == f"Bearer {self.KEY}"
            shown = f"{sampler!r} {sampler._config!r} {sampler._client.__dict__!r} {dict(sampler.failures)} {answer!r}"
        assert self.KEY not in shown
        assert self.KEY not in caplog.text
        assert "Incorrect key ***" in caplog.text

    def test_a_key_file_must_be_the_owners_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        path.write_text(self.KEY + "\n")
        path.chmod(0o644)
        with pytest.raises(UsageError, match="chmod 600"):
            replace(PLAIN, key_file=str(path)).read_key()
        path.chmod(0o600)
        assert replace(PLAIN, key_file=str(path)).read_key().reveal() == self.KEY

    def test_a_key_that_is_not_there_or_no_key_is_named_without_its_value(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(UsageError, match="NO_SUCH_KEY"):
            RemoteSampler(replace(PLAIN, key_env="NO_SUCH_KEY"))
        monkeypatch.setenv("MY_KEY", "sk a\nb")
        with pytest.raises(UsageError) as caught:
            RemoteSampler(replace(PLAIN, key_env="MY_KEY"))
        assert "sk" not in str(caught.value)

    def test_it_does_not_travel_unencrypted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MY_KEY", self.KEY)
        config = replace(PLAIN, key_env="MY_KEY", url="http://example.org/v1")
        with pytest.raises(UsageError, match="unencrypted"):
            config.read_key()
        assert replace(config, plain_http=True).read_key()


@pytest.mark.parametrize(
    "changes",
    [{"url": "ftp://x"}, {"url": "https://me:pw@x/v1"}, {"can": {"certainty"}}, {"retries": -1}, {"concurrency": 0}],
)
def test_a_config_out_of_range_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        replace(PLAIN, **changes)  # type: ignore[arg-type]
    assert "pw" not in str(caught.value)


def test_a_server_that_is_not_there_is_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with closing(RemoteSampler(replace(PLAIN, url=f"http://127.0.0.1:{free_port()}/v1"))) as sampler:
        answer = ask(sampler)
        assert "no connection" in sampler.failures[answer.candidates[0].request]
    assert "remote sampler 127.0.0.1" in caplog.text


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no program openssl to make a certificate with")
def test_a_certificate_is_verified(tmp_path: Path) -> None:
    with Server([good], certificate=self_signed(tmp_path)) as server:
        with remote(server, ca_file=str(server.certificate)) as sampler:
            assert ask(sampler).value == "42"
        with remote(server, retries=0) as sampler:
            (candidate,) = ask(sampler).candidates
            assert "certificate verify failed" in sampler.failures[candidate.request].lower()
        assert len(server.bodies) == 1


def test_the_same_questions_through_the_wire_and_without_it_give_the_same_answers() -> None:
    def script(request: Request) -> str:
        return "so The answer is 3."

    with Server([Larger(sampler=partial(ScriptedSampler, script))]) as server, remote(server) as sampler:
        over = run(Majority(samples=2, sampler="remote"), [QUESTION] * 3, {"remote": sampler})
    direct = run(Majority(samples=2), [QUESTION] * 3, {"local": ScriptedSampler(script)})
    assert [(a.text, a.value, a.confidence) for a in over] == [(a.text, a.value, a.confidence) for a in direct]
