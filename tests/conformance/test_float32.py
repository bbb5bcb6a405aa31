"""In float32 every engine draws the same tokens, under every strategy; the reference is NumPy in float64.

Greedy is asked a hundred questions, every other strategy three of them, or LITE_CONFORMANCE_QUESTIONS (100: all);
an engine that is slow here, fewer.
"""

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lite.backends.base import Row
from lite.chat import ChatCodec
from lite.engine import Engine
from lite.evaluate.tasks.word_problems import generate
from lite.params import Chat, SamplingParams
from lite.quant.gguf import GGUFFile
from lite.runner import run
from lite.sampler import Answer, Question, Strategy
from lite.sampling import draw
from lite.strategies import STRATEGIES
from lite.strategies.settings import make
from tests import reference
from tests.conformance.cases import FLOATS, Case, over
from tests.conformance.draws import Draw, Draws, Key, Recorder, Report, compare

TOLERANCE = 1e-4  # nats, of statistics; and the margin below which two engines may part
OUTLIER = 5e-4  # nats: llama.cpp in float32 was seen 1.4e-4 from float64 after text that the model never saw
QUESTIONS = tuple(generate(seed, split="test").question for seed in range(100))
PARAMS = SamplingParams(max_tokens=160, seed=11)
SAMPLES = 4
QUESTIONS_EACH = int(os.environ.get("LITE_CONFORMANCE_QUESTIONS", "3"))  # of every strategy but greedy, in turn
SLOW = {"jax": (16, 1)}  # on a CPU it is the reference, not the fast path: greedy's questions, and the others'
SLOTS = 16
NUM_REFERENCE = 10

BASELINE = "onnx"
OTHERS = [case for case in FLOATS if case.engine != BASELINE]


class Local:
    """One engine in float32, under both names that strategies know, and what it draws."""

    def __init__(self, name: str, files: dict[str, GGUFFile]) -> None:
        case = next(case for case in FLOATS if case.engine == name)
        codec = ChatCodec(files[case.file_type])
        self.recorders = [Recorder(case.open(files, slots=SLOTS)) for _ in range(2)]
        self.samplers = {
            label: Engine(recorder, codec) for label, recorder in zip(("local", "remote"), self.recorders, strict=True)
        }

    def ask(self, strategy: Strategy, questions: tuple[str, ...]) -> tuple[list[Answer], Draws]:
        for recorder in self.recorders:
            recorder.draws = {}
        answers = run(strategy, [Question(prompt=Chat.ask(question)) for question in questions], self.samplers)
        return answers, self.recorders[0].draws | self.recorders[1].draws

    def close(self) -> None:
        for sampler in self.samplers.values():
            sampler.close()


class Asked:
    """What each engine drew for each strategy; the baseline is asked each question once."""

    def __init__(self, files: dict[str, GGUFFile]) -> None:
        self._files = files
        self._engines: dict[str, Local] = {}
        self._known: dict[tuple[str, tuple[str, ...]], tuple[list[Answer], Draws]] = {}

    def __call__(self, engine: str, name: str, questions: tuple[str, ...]) -> tuple[list[Answer], Draws]:
        if engine != BASELINE:
            return self._ask(engine, name, questions)
        if (name, questions) not in self._known:
            self._known[name, questions] = self._ask(engine, name, questions)
        return self._known[name, questions]

    def draws_ahead(self, engine: str) -> bool:
        """Whether it may draw some tokens past the one that a decision falls at, which are then discarded."""
        return self._engines[engine].recorders[0].spec.tokens_per_step > 1

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()

    def _ask(self, engine: str, name: str, questions: tuple[str, ...]) -> tuple[list[Answer], Draws]:
        if engine not in self._engines:
            self._engines[engine] = Local(engine, self._files)
        return self._engines[engine].ask(make(name, samples=SAMPLES, params=PARAMS), questions)


def questions_of(name: str, engine: str = BASELINE) -> tuple[str, ...]:
    """All for greedy; for the others a few in turn, so that together they are asked nearly all."""
    of_greedy, of_others = (len(QUESTIONS), QUESTIONS_EACH)
    if "LITE_CONFORMANCE_QUESTIONS" not in os.environ:
        of_greedy, of_others = SLOW.get(engine, (of_greedy, of_others))
    if name == "greedy":
        return QUESTIONS[:of_greedy]
    first = QUESTIONS_EACH * list(STRATEGIES).index(name)
    return tuple(QUESTIONS[(first + index) % len(QUESTIONS)] for index in range(of_others))


@pytest.fixture(scope="module")
def asked(files: dict[str, GGUFFile]) -> Iterator[Asked]:
    known = Asked(files)
    yield known
    known.close()


@pytest.mark.parametrize("name", STRATEGIES)
@over(OTHERS)
def test_every_strategy_draws_the_same_tokens_on_every_engine(
    asked: Asked, case: Case, name: str, report: dict[str, Report]
) -> None:
    questions = questions_of(name, case.engine)
    expected, theirs = asked(BASELINE, name, questions)
    answers, ours = asked(case.engine, name, questions)
    found = compare(theirs, ours)
    all_the_same = theirs.keys() <= ours.keys() if asked.draws_ahead(case.engine) else theirs.keys() == ours.keys()
    if not found.margins and not all_the_same:
        found.num_otherwise = 1
    report.setdefault(f"{case.engine} with {BASELINE} in float32", Report()).add(found)
    assert found.compared > 0
    assert max(found.margins, default=0.0) < TOLERANCE, found
    assert found.difference < OUTLIER, found
    assert found.num_wide <= max(1, found.compared // 1000), found
    assert not found.num_otherwise, found
    if not found.margins and not found.num_otherwise:
        assert [answer.text for answer in answers] == [answer.text for answer in expected]


def test_the_reference_in_float64_draws_the_same_tokens(
    asked: Asked, files: dict[str, GGUFFile], report: dict[str, Report]
) -> None:
    _, draws = asked(BASELINE, "greedy", questions_of("greedy"))
    _, sampled = asked(BASELINE, "sample", questions_of("sample"))
    longest = sorted(draws, key=lambda key: len(key[0]))[-NUM_REFERENCE + 2 :]
    longest += sorted(sampled, key=lambda key: len(key[0]))[-2:]
    found = Report()
    for key in longest:
        found.add(compare_with_reference(draws | sampled, key, files))
    report["reference with onnx in float32"] = found
    assert found.compared > NUM_REFERENCE
    assert max(found.margins, default=0.0) < TOLERANCE, found
    assert found.difference < TOLERANCE, found


def compare_with_reference(draws: Draws, last: Key, files: dict[str, GGUFFile]) -> Report:
    """Every draw of the branch that ends with `last`."""
    context, stream, _ = last
    logits = reference.logits(files["F32"], context).astype(np.float32)
    branch = {key: drawn for key, drawn in draws.items() if key[1] == stream and key[0] == context[: len(key[0])]}
    forbidden = np.zeros(logits.shape[1], np.bool_)
    forbidden[list(ChatCodec(files["F32"]).forbidden_ids)] = True
    theirs = {key: redrawn(logits[len(key[0]) - 1], key, drawn, forbidden) for key, drawn in branch.items()}
    return compare(branch, theirs)


def redrawn(logits: NDArray[np.float32], key: Key, known: Draw, forbidden: NDArray[np.bool_]) -> Draw:
    context, stream, position = key
    row = Row(0, len(context) - 1, context[-1], stream or (0, 0), position, known.params, context, 0, 1)
    drawn = draw(logits[None], [row], forbidden=forbidden)
    told = drawn.statistics
    return replace(
        known,
        token=int(drawn.ids[0, 0]),
        margin=float(drawn.margin[0, 0]),
        logprob=float(told.logprob[0, 0]),
        entropy=float(told.entropy[0, 0]),
        certainty=float(told.certainty[0, 0]),
    )
