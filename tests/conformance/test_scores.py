"""What is told of a text that is given is what was told while it was drawn."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lite.backends.base import Backend
from lite.chat import ChatCodec
from lite.engine import Engine
from lite.evaluate.tasks.word_problems import generate
from lite.params import Chat, SamplingParams
from lite.quant.gguf import GGUFFile
from lite.sampler import Chunk, Request
from lite.strategies.branches import Branch
from tests.conformance.branches import drawn_by
from tests.conformance.cases import CASES, FLOATS, Case, over
from tests.conformance.draws import Recorder

TOLERANCE = 1e-4  # nats, in float32
ROUNDED = 0.7  # where activations are rounded to 8 bits: one on the border of two integers may fall to either side


@over(CASES)
def test_the_score_of_prompt_and_completion_is_what_was_told_while_drawing(
    case: Case, files: dict[str, GGUFFile]
) -> None:
    backend = case.open(files, slots=4)
    recorder = Recorder(backend)
    engine = Engine(recorder, ChatCodec(files[case.file_type]))
    requests = [
        Request(Chat.ask(generate(seed).question), SamplingParams(max_tokens=40), sample=seed) for seed in (1, 2)
    ]
    drawn_by(engine, requests)
    longest = sorted(recorder.draws, key=lambda key: len(key[0]))[-1]
    known = {len(key[0]): draw for key, draw in recorder.draws.items() if key[0] == longest[0][: len(key[0])]}
    context = [*longest[0], recorder.draws[longest].token]
    scores = backend.extend(0, 0, context[:-1], context[1:])
    assert scores is not None
    tolerance = TOLERANCE if case.is_float else ROUNDED
    for length, draw in known.items():
        told = (draw.logprob, draw.entropy, draw.certainty)
        scored = (scores.logprob[length - 1], scores.entropy[length - 1], scores.certainty[length - 1])
        np.testing.assert_allclose(scored, told, atol=tolerance, rtol=0)
    engine.close()


Engines: TypeAlias = Callable[[Case], tuple[Engine, Backend]]


@pytest.fixture(scope="module")
def engines(files: dict[str, GGUFFile]) -> Iterator[Engines]:
    """What draws and what scores in each case, for all examples."""
    known: dict[Case, tuple[Engine, Backend]] = {}

    def opened(case: Case) -> tuple[Engine, Backend]:
        if case not in known:
            codec = ChatCodec(files[case.file_type])
            known[case] = Engine(case.open(files, slots=2), codec), case.open(files, slots=1)
        return known[case]

    yield opened
    for engine, scorer in known.values():
        engine.close()
        scorer.close()


sampling = st.builds(
    SamplingParams,
    max_tokens=st.integers(1, 24),
    seed=st.integers(0, 2**32 - 1),
    temperature=st.sampled_from([0.0, 0.6, 1.0, 1.5]),
    top_p=st.sampled_from([1.0, 0.8]),
    min_p=st.sampled_from([0.0, 0.1]),
    repetition_penalty=st.sampled_from([1.0, 1.2]),
)


@over(case for case in FLOATS if case.engine != "jax")  # it compiles too long for many short texts
@given(params=sampling, question=st.integers(0, 200), think=st.booleans())
@settings(max_examples=8, derandomize=True, deadline=None, database=None)
def test_the_score_is_what_was_told_however_it_was_drawn(
    case: Case, engines: Engines, params: SamplingParams, question: int, think: bool
) -> None:
    """The statistics are of the raw logits: temperature, filters and penalties leave them as they are."""
    engine, scorer = engines(case)
    prompt = replace(Chat.ask(generate(question).question), thinking=think)
    requests = [Request(prompt, params, sample=sample) for sample in range(2)]
    branches = drawn_by(engine, requests)
    head = list(engine.codec.encode_prompt(prompt))
    for branch in branches.values():
        context = [*head, *branch.ids]
        scores = scorer.extend(0, 0, context[:-1], context[1:])
        assert scores is not None
        drawn = slice(len(head) - 1, None)
        for told, scored in zip(
            (branch.logprobs, branch.entropy, branch.certainty),
            (scores.logprob, scores.entropy, scores.certainty),
            strict=True,
        ):
            np.testing.assert_allclose(scored[drawn], told, atol=TOLERANCE, rtol=0)


@over(FLOATS)
def test_a_scored_prefix_reports_the_log_probabilities_it_was_drawn_with(
    case: Case, files: dict[str, GGUFFile]
) -> None:
    codec = ChatCodec(files[case.file_type])
    engine = Engine(case.open(files, slots=5), codec)
    params = SamplingParams(max_tokens=24, temperature=0)
    plain = [Request(Chat.ask(generate(seed).question), params) for seed in range(5)]
    drawn = {request: branch for request, branch in drawn_by(engine, plain).items() if is_its_text(branch, codec)}
    assert drawn, "the model's own tokens are never those of its text"
    again = {
        request: Request(request.prompt, SamplingParams(max_tokens=1), prefix=branch.text, score=True)
        for request, branch in drawn.items()
    }
    engine.start(list(again.values()))
    chunks = [event for event in engine.step(wait=True) if isinstance(event, Chunk) and event.start < 0]
    scored = {chunk.request: chunk.logprobs for chunk in chunks}
    for request, branch in drawn.items():
        np.testing.assert_allclose(scored[again[request]], branch.logprobs, atol=TOLERANCE, rtol=0)
    engine.close()


def is_its_text(branch: Branch, codec: ChatCodec) -> bool:
    return branch.reason == "length" and codec.encode(branch.text) == branch.ids
