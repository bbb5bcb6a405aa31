"""What is told of a text that is given is what was told while it was drawn."""

import numpy as np

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
