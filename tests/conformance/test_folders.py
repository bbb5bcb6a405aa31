"""The embedded model as others export it draws what our own graph draws, in both layouts, in float32."""

from pathlib import Path

import pytest

from lite.backends.cpu.onnx_folder import OnnxFolderBackend
from lite.chat import ChatCodec
from lite.engine import Engine
from lite.evaluate.tasks.word_problems import generate
from lite.params import Chat, SamplingParams
from lite.quant.gguf import GGUFFile
from lite.quant.onnx_folder import open_onnx_folder
from lite.runner import run
from lite.sampler import Question
from lite.strategies.settings import make
from tests.conformance.cases import FLOATS
from tests.conformance.draws import WIDE, Draws, Recorder, Report, compare
from tests.quant.onnx_folders import write_folder

STRATEGIES = ("greedy", "self-certainty", "rpc", "deepconf", "vote-aware")
QUESTIONS = [Question(prompt=Chat.ask(generate(seed, split="test").question)) for seed in range(2)]
PARAMS = SamplingParams(max_tokens=40, seed=11)
SLOTS = 8


def asked(recorder: Recorder, codec: ChatCodec) -> dict[str, tuple[list[str], Draws]]:
    """What each strategy answers, and by which draws."""
    engine = Engine(recorder, codec)
    told = {}
    for name in STRATEGIES:
        recorder.draws = {}
        answers = run(make(name, samples=4, params=PARAMS), QUESTIONS, {"local": engine})
        told[name] = [answer.text for answer in answers], recorder.draws
    engine.close()
    return told


@pytest.fixture(scope="module")
def expected(files: dict[str, GGUFFile]) -> dict[str, tuple[list[str], Draws]]:
    case = next(case for case in FLOATS if case.engine == "onnx")
    return asked(Recorder(case.open(files, slots=SLOTS)), ChatCodec(files[case.file_type]))


@pytest.mark.parametrize("layout", ["optimum", "genai"])
def test_every_strategy_draws_the_tokens_of_our_own_graph(
    expected: dict[str, tuple[list[str], Draws]],
    files: dict[str, GGUFFile],
    layout: str,
    tmp_path: Path,
    report: dict[str, Report],
) -> None:
    folder = open_onnx_folder(write_folder(tmp_path, files["F32"], genai=layout == "genai"))
    backend = OnnxFolderBackend(folder, num_slots=SLOTS, context_length=512, threads=1)
    found = asked(Recorder(backend), ChatCodec(folder, folder.tokenizer))
    for name, (texts, draws) in expected.items():
        compared = compare(draws, found[name][1])
        report.setdefault(f"a folder of {layout} with onnx in float32", Report()).add(compared)
        assert compared.compared > 0
        assert max(compared.margins, default=0.0) < WIDE, (name, compared)
        assert not compared.num_wide, (name, compared)
        assert compared.margins or texts == found[name][0], name
