"""Forks, forced text, scores, cancelling, stops, a full house, a prompt known already: the plain path's tokens."""

from pathlib import Path

import pytest

from lite.backends.base import Savable
from lite.chat import ChatCodec
from lite.engine import Engine
from lite.engine.prompt_files import PromptFiles
from lite.engine.prompts import SavedPrompts
from lite.errors import Interrupted
from lite.evaluate.tasks.word_problems import generate
from lite.params import Chat, SamplingParams
from lite.quant.gguf import GGUFFile
from lite.sampler import Request
from lite.strategies.branches import Branch
from tests.conformance.branches import drawn_by
from tests.conformance.cases import CASES, Case, over
from tests.conformance.draws import Recorder, compare

TOLERANCE = 1e-4  # of statistics, and the margin below which draws may part, in float32
ROUNDED = 0.7  # where rounding may fall to either side, and the bits are not promised
NUM_BRANCHES = 9
STORY = " ".join(generate(seed, split="test").question for seed in range(10, 20))  # a long prompt
PARAMS = SamplingParams(max_tokens=48, seed=5)
GREEDY = SamplingParams(max_tokens=48, temperature=0)


class Bench:
    """Fresh engines of one case, and how what they draw compares."""

    def __init__(self, case: Case, files: dict[str, GGUFFile]) -> None:
        self._case = case
        self._files = files
        self.codec = ChatCodec(files[case.file_type])
        self._open: list[Engine] = []

    def engine(self, slots: int = NUM_BRANCHES, prompts: Path | None = None) -> tuple[Engine, Recorder]:
        """`prompts` is a folder for those that are kept; an engine that cannot keep any is left out of the test."""
        backend = self._case.open(self._files, slots=slots)
        recorder = Recorder(backend)
        saved = None
        if prompts is not None:
            if not isinstance(backend, Savable):
                pytest.skip(f"{self._case} keeps no prompts")
            saved = SavedPrompts(backend, PromptFiles(prompts, backend.state_kind.replace(" ", "-"), max_bytes=1 << 30))
        engine = Engine(recorder, self.codec, saved)
        self._open.append(engine)
        return engine, recorder

    def same(self, plain: Recorder, other: Recorder, *, at_least: int = 20) -> None:
        """Equal bits where they are promised; else the same tokens, near ties aside."""
        report = compare(plain.draws, other.draws)
        assert report.compared >= at_least, report
        exact = plain.spec.batch_invariant
        tolerance = 0.0 if exact else TOLERANCE if self._case.is_float else ROUNDED
        assert max(report.margins, default=0.0) <= tolerance, report
        assert report.difference <= tolerance, report
        assert not (exact and report.margins), report

    def close(self) -> None:
        for engine in self._open:
            engine.close()


@pytest.fixture
def bench(case: Case, files: dict[str, GGUFFile]) -> "Bench":
    return Bench(case, files)


def chat(seed: int) -> Chat:
    return Chat.ask(generate(seed, split="test").question)


def several(params: SamplingParams = PARAMS) -> list[Request]:
    """Samples of three questions."""
    return [Request(chat(index % 3), params, sample=index // 3) for index in range(NUM_BRANCHES)]


@over(CASES)
def test_more_branches_than_slots(bench: Bench) -> None:
    plain, expected = bench.engine()
    drawn_by(plain, several())
    narrow, found = bench.engine(slots=2)
    drawn_by(narrow, several())
    bench.same(expected, found)
    bench.close()


@over(CASES)
def test_a_branch_alone(bench: Bench) -> None:
    plain, expected = bench.engine()
    drawn_by(plain, several())
    alone, found = bench.engine()
    for request in several()[:4]:
        drawn_by(alone, [request])
    bench.same(expected, found)
    bench.close()


@over(CASES)
def test_a_prompt_that_is_known_already(bench: Bench) -> None:
    plain, expected = bench.engine()
    drawn_by(plain, several()[3:6])
    again, found = bench.engine(slots=3)
    drawn_by(again, several()[:3])
    found.draws = {}
    branches = drawn_by(again, several()[3:6])
    assert all(branch.finished is not None and branch.finished.cost.cached_tokens for branch in branches.values())
    bench.same(expected, found)
    bench.close()


@over(CASES)
def test_a_prompt_that_an_earlier_process_has_kept(bench: Bench, tmp_path: Path) -> None:
    """Whole, and as the beginning of another."""
    known, new = (Chat.ask(STORY + generate(seed, split="test").question) for seed in (1, 2))
    plain, expected = bench.engine()
    drawn_by(plain, [Request(new, PARAMS, sample=sample) for sample in range(4)])
    drawn_by(plain, [Request(known, PARAMS, sample=sample) for sample in range(4)])
    for prompt in (known, new, known):
        engine, found = bench.engine(prompts=tmp_path)
        branches = drawn_by(engine, [Request(prompt, PARAMS, sample=sample) for sample in range(4)])
        bench.same(expected, found)
    length = len(bench.codec.encode_prompt(known))
    costs = [branch.finished.cost for branch in branches.values() if branch.finished]
    assert [cost.prompt_tokens for cost in costs] == [1] * 4
    assert [cost.cached_tokens for cost in costs] == [length - 1] * 4
    assert len(list(tmp_path.iterdir())) == 1
    bench.close()


@over(CASES)
def test_a_long_prompt_that_was_interrupted_and_taken_up_again(bench: Bench) -> None:
    long = Chat.ask(" ".join(generate(seed, split="test").question for seed in range(8)))
    requests = [Request(long, SamplingParams(max_tokens=12, seed=5), sample=sample) for sample in range(3)]
    plain, expected = bench.engine()
    drawn_by(plain, requests)
    halted, found = bench.engine()
    looks = iter([False])
    found.watch(lambda: next(looks, True))
    halted.start(requests)
    with pytest.raises(Interrupted):
        halted.step(wait=True)
    found.watch(lambda: False)
    for _ in range(12):
        halted.step(wait=True)
    bench.same(expected, found)
    bench.close()


@over(CASES)
def test_others_are_cancelled(bench: Bench) -> None:
    plain, expected = bench.engine()
    drawn_by(plain, several())
    disturbed, found = bench.engine(slots=6)
    requests = several()

    def cancel(step: int, branches: dict[Request, Branch]) -> None:
        if step == 5 // found.spec.tokens_per_step:
            for request in requests[1::2]:
                disturbed.cancel(request)

    branches = drawn_by(disturbed, requests, cancel)
    assert {branches[request].reason for request in requests[1::2]} == {"cancelled"}
    assert {branches[request].reason for request in requests[::2]} <= {"eos", "length"}
    bench.same(expected, found)
    bench.close()


@over(CASES)
def test_a_stop_string_ends_a_branch_and_changes_nothing_before(bench: Bench) -> None:
    plain, expected = bench.engine()
    whole = drawn_by(plain, several())
    stop = next(iter(whole.values())).text[6:9]
    stopped, found = bench.engine()
    cut = drawn_by(stopped, several(SamplingParams(max_tokens=48, seed=5, stop=(stop,))))
    bench.same(expected, found, at_least=10)
    assert any(branch.reason == "stop" for branch in cut.values())
    for short, long in zip(cut.values(), whole.values(), strict=True):
        if not compare(expected.draws, found.draws).margins:
            assert long.ids[: len(short.ids)] == short.ids
            assert long.text.startswith(short.text)
            assert stop not in short.text
    bench.close()


@over(CASES)
@pytest.mark.parametrize("score", [False, True])
def test_forced_text_is_as_if_it_stood_in_the_prompt(bench: Bench, score: bool) -> None:
    prompt, prefix = tuple(bench.codec.encode_prompt(chat(1))), "Let us see. The answer is"
    joined = (*prompt, *bench.codec.encode(prefix))
    plain, expected = bench.engine()
    drawn_by(plain, [Request(joined, PARAMS, sample=sample) for sample in range(4)])
    forced, found = bench.engine()
    drawn_by(forced, [Request(prompt, PARAMS, sample=sample, prefix=prefix, score=score) for sample in range(4)])
    bench.same(expected, found, at_least=4)
    bench.close()


@over(CASES)
def test_forks_of_a_greedy_branch_go_on_as_it_does(bench: Bench) -> None:
    """A fork has a stream of its own, which a greedy one makes no use of."""
    plain, expected = bench.engine()
    parent = Request(chat(2), GREEDY)
    whole = drawn_by(plain, [parent])[parent]
    forked, found = bench.engine()
    again = Request(chat(2), GREEDY)
    drawn_by(forked, [again])
    found.draws = {}
    places = [len(whole.ids) // 4, len(whole.ids) // 2, len(whole.ids) - 2]
    forks = [Request(again.prompt, GREEDY, parent=again, at=at, sample=index) for index, at in enumerate(places)]
    branches = drawn_by(forked, forks)
    bench.same(expected, found, at_least=2)
    if not compare(expected.draws, found.draws).margins:
        for request, at in zip(forks, places, strict=True):
            assert branches[request].ids[: len(whole.ids) - at] == whole.ids[at:]
    bench.close()
