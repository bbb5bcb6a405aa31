"""ONNX folders as others lay them out: what is in them is found, and what is missing is named in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lite.errors import LiteError, ModelError, UsageError
from lite.models import describe
from lite.quant.gguf import GGUFFile, open_gguf
from lite.quant.onnx_folder import is_onnx_folder, open_onnx_folder
from lite.quant.onnx_signature import read_weights
from tests.gguf_files import IM_END, QWEN3, write_gguf
from tests.quant.onnx_folders import Export, write_folder, write_graph


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> GGUFFile:
    return open_gguf(write_gguf(tmp_path_factory.mktemp("models") / "m.gguf"))


def edit(path: Path, **changes: object) -> None:
    """Set keys of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


@pytest.mark.parametrize("genai", [False, True])
def test_a_folder_tells_what_its_model_is(file: GGUFFile, tmp_path: Path, genai: bool) -> None:
    folder = open_onnx_folder(write_folder(tmp_path / "Some-0.6B", file, genai=genai))
    ours, other = folder.config, file.config
    for name in ("architecture", "vocab_size", "hidden_size", "num_layers", "num_heads", "num_kv_heads", "head_dim"):
        assert getattr(ours, name) == getattr(other, name)
    assert ours.context_length == other.context_length
    description = describe(folder)
    assert (description.name, folder.name, folder.format) == ("Some-0.6B", "Some-0.6B", "f32")
    assert description.thinking_switch
    assert folder.tokenizer.tokens[folder.tokenizer.eos or 0] == IM_END
    assert folder.signature.fused is genai


def test_the_graph_is_chosen_by_format(file: GGUFFile, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, file)
    (folder / "model.onnx").rename(folder / "plain.onnx")
    (folder / "onnx").mkdir()
    (folder / "plain.onnx").rename(folder / "onnx" / "model.onnx")
    write_graph(folder / "onnx" / "model_q4.onnx", file, Export(weights="q4"))
    write_graph(folder / "onnx" / "model_fp16.onnx", file, Export(half=True), data="model_fp16.onnx_data")
    assert open_onnx_folder(folder).format == "f32"
    assert list(open_onnx_folder(folder).formats) == ["f32", "f16", "q4"]
    for asked, name in (("q4", "model_q4.onnx"), ("fp16", "model_fp16.onnx"), ("f16", "model_fp16.onnx")):
        assert open_onnx_folder(folder, asked).graph.name == name
    with pytest.raises(UsageError, match="no model in the format 'int8': there is f32, f16, q4"):
        open_onnx_folder(folder, "int8")


@pytest.mark.parametrize(
    ("export", "kind"), [(Export(half=True), "f16"), (Export(weights="q4"), "q4"), (Export(weights="int8"), "int8")]
)
def test_a_graph_without_a_format_in_its_name_is_called_by_its_weights(
    file: GGUFFile, tmp_path: Path, export: Export, kind: str
) -> None:
    assert open_onnx_folder(write_folder(tmp_path, file, export, name="decoder.onnx")).format == kind


def test_packed_weights_are_told_with_the_shape_they_stand_for(file: GGUFFile, tmp_path: Path) -> None:
    path = write_folder(tmp_path, file, Export(weights="q4")) / "model.onnx"
    weights = read_weights(onnx.load(path).graph)
    name = "blk.0.ffn_down.weight"
    assert (weights[name].type, weights[name].shape) == ("Q4", file.tensors[name].shape)
    assert weights[name].num_bytes * 2 == np.prod(file.tensors[name].shape)


def test_the_template_may_stand_in_any_of_its_places(file: GGUFFile, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, file)

    def template() -> object:
        return open_onnx_folder(folder).metadata["tokenizer.chat_template"]

    assert template() == QWEN3
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "of several"}]
    edit(folder / "tokenizer_config.json", chat_template=named)
    assert template() == "of several"
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": "its own"}))
    assert template() == "its own"
    (folder / "chat_template.jinja").write_text("first of all")
    assert template() == "first of all"


def test_ends_are_those_of_every_configuration(file: GGUFFile, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, file)
    edit(folder / "generation_config.json", eos_token_id=[3, 4])
    edit(folder / "config.json", eos_token_id=5, bos_token_id=6)
    edit(folder / "tokenizer_config.json", eos_token={"content": IM_END})
    tokenizer = open_onnx_folder(folder).tokenizer
    assert tokenizer.end_ids >= {3, 4, 5, tokenizer.eos}
    assert tokenizer.bos == 6


def test_what_is_a_folder_of_onnx(file: GGUFFile, tmp_path: Path) -> None:
    assert is_onnx_folder(write_folder(tmp_path / "one", file))
    assert not is_onnx_folder(tmp_path)
    assert not is_onnx_folder(tmp_path / "nothing")
    assert not is_onnx_folder(file.path)
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model_q4.onnx").touch()
    assert is_onnx_folder(tmp_path)


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def holding(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


def changed(**changes: object) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "config.json", **changes)


def regraphed(change: Callable[[onnx.GraphProto], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        model = onnx.load(folder / "model.onnx")
        change(model.graph)
        onnx.save(model, folder / "model.onnx")

    return spoil


def wanting(name: str) -> Callable[[Path], None]:
    return regraphed(lambda graph: graph.input.append(helper.make_tensor_value_info(name, TensorProto.BOOL, [1])))


def weights_apart(folder: Path) -> None:
    onnx.save_model(
        onnx.load(folder / "model.onnx"), folder / "model.onnx", save_as_external_data=True, location="model.onnx_data"
    )
    (folder / "model.onnx_data").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without("config.json"), "config.json is missing"),
        (without("tokenizer.json"), "tokenizer.json is missing"),
        (holding("config.json", "{"), "config.json"),
        (holding("config.json", "[]"), "holds no JSON object"),
        (holding("tokenizer.json", "{}"), "cannot use .*tokenizer.json"),
        (holding("generation_config.json", "no"), "generation_config.json"),
        (holding("model.onnx", "nonsense"), "it is no ONNX model"),
        (holding("model.onnx", ""), "has no input 'past_key_values.0.key'"),
        (weights_apart, "to be in model.onnx_data, which is missing"),
        (wanting("use_cache_branch"), "wants the input 'use_cache_branch'"),
        (regraphed(lambda graph: graph.output.pop()), "lacks the output 'present.1.value'"),
        (regraphed(lambda graph: graph.input.pop()), "lacks the input 'past_key_values.1.value'"),
        (regraphed(lambda graph: graph.input.pop(0)), "lacks the input 'input_ids'"),
        (changed(max_position_embeddings=None), "tells max_position_embeddings"),
        (holding("genai_config.json", '{"model": {"decoder": {"filename": "../m.onnx"}}}'), "not in the folder"),
        (
            holding("genai_config.json", '{"model": {"decoder": {"inputs": {"past_key_names": "past"}}}}'),
            "no name to count layers with",
        ),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_in_one_line(
    file: GGUFFile, tmp_path: Path, spoil: Callable[[Path], object], words: str
) -> None:
    folder = write_folder(tmp_path, file)
    spoil(folder)
    with pytest.raises(ModelError, match=words) as caught:
        open_onnx_folder(folder)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_of_several_graphs_without_a_known_name_none_is_guessed(file: GGUFFile, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, file, name="encoder.onnx")
    write_graph(folder / "decoder.onnx", file, Export())
    with pytest.raises(LiteError, match=r"there is decoder\.onnx, encoder\.onnx"):
        open_onnx_folder(folder)
