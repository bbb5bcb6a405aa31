"""The remote sampler against llama-cpp-python's own server, with the embedded model as the larger one.

The server draws one answer at a time: a request that comes meanwhile ends the one under way, without a word.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import pytest

from lite.backends.remote import RemoteConfig, RemoteSampler
from lite.backends.scripted import ScriptedSampler
from lite.config import embedded_model
from lite.params import Chat, SamplingParams
from lite.runner import run
from lite.sampler import Answer, Question, Strategy
from lite.strategies.route.cascade import Cascade
from lite.strategies.select.greedy import Greedy
from lite.strategies.select.majority import Majority
from lite.strategies.select.mean_logprob import MeanLogprob
from tests.http_servers import free_port

_NEEDED = ("llama_cpp", "fastapi", "uvicorn", "sse_starlette", "starlette_context", "pydantic_settings")
_MISSING = [name for name in _NEEDED if find_spec(name) is None]

pytestmark = pytest.mark.skipif(bool(_MISSING), reason=f"llama-cpp-python[server] lacks {', '.join(_MISSING)}")

ASKED = Chat.ask("John has 5 sheep. Linda has 66 more than John. How many sheep does Linda have?")
PARAMS = SamplingParams(max_tokens=120, temperature=0.0)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server that has loaded its model."""
    port, log = free_port(), tmp_path_factory.mktemp("server") / "log"
    settings = {"model": embedded_model(), "host": "127.0.0.1", "port": port, "n_ctx": 512, "n_threads": 1}
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "llama_cpp.server", *words, "--logits_all", "true", "--verbose", "false"]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}/v1", server, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.kill()


def _wait_for(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(600):
        with suppress(URLError), build_opener(ProxyHandler({})).open(f"{url}/models", timeout=5):
            return
        if server.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail(f"the server did not start: {log.read_text('utf-8', 'replace')[-2000:]}")


def asked(url: str, strategy: Strategy, prompt: Chat | str = ASKED, **changes: object) -> tuple[Answer, list[str]]:
    """The answer and what failed."""
    config = RemoteConfig(url=url, **{"concurrency": 1, **changes})  # type: ignore[arg-type]
    with closing(RemoteSampler(config)) as sampler:
        (answer,) = run(strategy, [Question(prompt=prompt)], {"local": unsure(), "remote": sampler})
        return answer, [sampler.failures.get(candidate.request, "") for candidate in answer.candidates]


def unsure() -> ScriptedSampler:
    return ScriptedSampler(lambda request: f"it is {request.sample}")


def test_what_it_can_do_is_found_out(url: str) -> None:
    with closing(RemoteSampler(RemoteConfig(url=url))) as sampler:
        assert sampler.can == {"logprobs", "top"}
        assert sampler.probe_cost.remote_calls == 1


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("top", [0, 2])
def test_a_chat_comes_token_by_token_with_its_statistics(url: str, stream: bool, top: int) -> None:
    params = replace(PARAMS, top_logprobs=top)
    answer, failures = asked(url, MeanLogprob(samples=1, params=params, sampler="remote"), stream=stream)
    (candidate,) = answer.candidates
    assert (answer.value, candidate.reason, failures) == ("71", "eos", [""])
    assert candidate.text.startswith("<think>\n")
    assert candidate.text.endswith("</think>\n\nThe answer is 71.")
    assert candidate.tokens > 30
    assert candidate.score is not None
    assert -0.1 < candidate.score < 0
    assert answer.cost.remote_calls == 1


@pytest.mark.parametrize("stream", [True, False])
def test_a_text_is_continued_with_its_statistics(url: str, stream: bool) -> None:
    strategy = MeanLogprob(samples=1, params=PARAMS, sampler="remote")
    answer, _ = asked(url, strategy, "<think>\nTo find: sheep.\n5+66=71.\n</think>\n\nThe answer is", stream=stream)
    assert answer.text == "71."
    assert answer.candidates[0].score is not None
    assert answer.candidates[0].reason == "eos"


def test_samples_differ_by_their_seeds_and_are_the_same_again(url: str) -> None:
    strategy = Majority(samples=6, params=SamplingParams(max_tokens=20), sampler="remote")
    answer, failures = asked(url, strategy, "Ann has 5")
    again, _ = asked(url, strategy, "Ann has 5")
    texts = [candidate.text for candidate in answer.candidates]
    assert failures == [""] * 6
    assert len(set(texts)) > 1
    assert [candidate.text for candidate in again.candidates] == texts
    assert answer.cost.remote_calls == 6  # it takes no n


@pytest.mark.parametrize("stream", [True, False])
def test_it_stops_at_a_stop_string_and_at_the_most_tokens(url: str, stream: bool) -> None:
    stopped, _ = asked(url, Greedy(params=SamplingParams(stop=("Check",)), sampler="remote"), stream=stream)
    assert stopped.candidates[0].text.endswith("5+66=71.\n")
    assert stopped.candidates[0].reason == "stop"
    short, _ = asked(url, Greedy(params=SamplingParams(max_tokens=4), sampler="remote"), stream=stream)
    assert short.candidates[0].tokens == 4
    assert short.candidates[0].reason == "length"


def test_a_cascade_asks_it_where_the_small_model_is_unsure(url: str) -> None:
    answer, _ = asked(url, Cascade(small=Majority(samples=2), large=Greedy(params=PARAMS, sampler="remote")))
    assert answer.value == "71"
    assert [candidate.request.sampler for candidate in answer.candidates] == ["local", "local", "remote"]


def test_an_answer_that_another_request_cut_off_is_never_taken_for_whole(url: str) -> None:
    strategy = Majority(samples=4, params=SamplingParams(max_tokens=120, temperature=0.1), sampler="remote")
    answer, failures = asked(url, strategy, concurrency=4)
    for candidate, failure in zip(answer.candidates, failures, strict=True):
        assert (
            candidate.text.endswith("The answer is 71.")
            if candidate.reason == "eos"
            else "one request at a time" in failure
        )
    assert answer.value == "71"  # the last to come is drawn to its end
