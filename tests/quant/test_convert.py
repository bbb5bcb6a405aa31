"""A Hugging Face folder and the GGUF file made of it are the same model, and what would not be is refused by name."""

import json
import os
import re
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer as Library

from lite.backends.cpu.onnx import OnnxBackend
from lite.errors import LiteError, ModelError, UsageError
from lite.pre_tokenizers import PRE_TOKENIZERS
from lite.quant.convert import convert
from lite.quant.folder_json import chat_template, read_json
from lite.quant.gguf import GGUFFile, open_gguf
from lite.tokens import Tokenizer
from tests.quant import hf_reference
from tests.quant.hf_folders import byte_level, config_of, sentence_pieces, tensors_of, write_folder, write_safetensors

IDS = np.random.default_rng(0).integers(0, 300, 50).tolist()
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LINEAR = {"rope_type": "linear", "factor": 8.0}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "llama-3": {"model_type": "llama", "rope_scaling": LLAMA3},
    "llama-tied": {"model_type": "llama", "tie_word_embeddings": True},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3", "rope_scaling": LINEAR},
    "gemma3": {"model_type": "gemma3_text"},
    "gemma3-linear": {"model_type": "gemma3_text", "rope_scaling": LINEAR},
}
GPT2 = PRE_TOKENIZERS["gpt-2"].patterns[0]
PREPENDED = {
    "type": "Sequence",
    "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ],
}
TEXTS = ("hello world, 12 and 123", "  two  spaces\n\nlines", "they'll é 東京 <think>", "x" * 30 + " the answer")


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("LITE_CACHE_DIR", str(folder))
        yield folder


def config(name: str) -> dict[str, Any]:
    """With as many rows as llama.cpp's checks want: a multiple of 32 above the tokens."""
    kind = MODELS[name]["model_type"]
    return config_of(kind, **MODELS[name], vocab_size=384 if kind.startswith("gemma") else 352)


def converted(folder: Path, told: dict[str, Any], **how: Any) -> GGUFFile:
    kind = how.pop("type", "auto")
    return open_gguf(convert(write_folder(folder / "model", told, **how), folder / "m.gguf", type=kind))


def onnx_logits(file: GGUFFile) -> NDArray[np.float32]:
    logits = OnnxBackend(file, format="f32", num_slots=1).write(0, 0, IDS, scored=True)
    assert logits is not None
    return logits


def message(folder: Path, told: dict[str, Any], **how: Any) -> str:
    with pytest.raises(ModelError) as error:
        converted(folder, told, **how)
    assert "\n" not in str(error.value)
    assert [path.name for path in folder.iterdir()] == ["model"]
    return str(error.value)


# The same model


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_the_folder(tmp_path: Path, name: str) -> None:
    told = config(name)
    tensors = tensors_of(told)
    with converted(tmp_path, told, tensors=tensors) as file:
        np.testing.assert_allclose(onnx_logits(file), hf_reference.logits(told, tensors, IDS), atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_llama_cpp_reads_the_file_as_the_same_model(tmp_path: Path, name: str) -> None:
    """Its GELU is a table of float16, so with Gemma it agrees to the reference that has such a table too."""
    pytest.importorskip("llama_cpp", reason="the extra 'llama' is not installed")
    from lite.backends.cpu.llama_cpp import LlamaBackend

    told = config(name)
    tensors = tensors_of(told)
    gemma = name.startswith("gemma")
    with converted(tmp_path, told, tensors=tensors) as file:
        logits = LlamaBackend(file, num_slots=1, context_length=256).write(0, 0, IDS, scored=True)
        assert logits is not None
        expected = hf_reference.logits(told, tensors, IDS, half_gelu=gemma)
        np.testing.assert_allclose(logits, expected, atol=1e-3 if gemma else 1e-4)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64"])
def test_weights_in_several_files_keep_their_type_and_their_bits(tmp_path: Path, dtype: str) -> None:
    told = config("qwen3")
    tensors = tensors_of(told)
    with converted(tmp_path, told, tensors=tensors, dtype=dtype, shards=3) as file:
        assert file.tensors["blk.1.ffn_up.weight"].type == ("F32" if dtype == "F64" else dtype)
        assert file.tensors["blk.1.ffn_norm.weight"].type == "F32"
        original = tensors["model.layers.1.mlp.up_proj.weight"]
        cut = {"F16": original.astype(np.float16), "BF16": (original.view(np.uint32) & 0xFFFF0000).view(np.float32)}
        np.testing.assert_array_equal(file.tensor("blk.1.ffn_up.weight"), cut.get(dtype, original))


def test_another_type_is_made_on_the_way_and_rows_that_do_not_suit_it_get_half_precision(tmp_path: Path) -> None:
    told = config("qwen2") | {"intermediate_size": 100}
    with converted(tmp_path, told, type="q8_0") as file:
        assert file.tensors["blk.0.ffn_up.weight"].type == "Q8_0"
        assert file.tensors["blk.0.ffn_down.weight"].type == "F16"


def test_the_text_part_of_gemma_3_is_taken_out_of_a_model_that_sees(tmp_path: Path) -> None:
    told = config("gemma3")
    tensors = tensors_of(told)
    named = {f"language_model.{name}": array for name, array in tensors.items()}
    named["vision_tower.patch.weight"] = np.ones((4, 4), np.float32)
    whole = {"model_type": "gemma3", "text_config": told | {"model_type": "gemma3_text"}}
    folder = write_folder(tmp_path / "model", whole, tensors=named, tokenizer=sentence_pieces())
    with open_gguf(convert(folder, tmp_path / "m.gguf")) as file:
        np.testing.assert_allclose(onnx_logits(file), hf_reference.logits(told, tensors, IDS), atol=1e-4)


def test_what_transformers_5_writes_means_the_same(tmp_path: Path) -> None:
    old = config("gemma3-linear")
    kinds = ["full_attention" if (layer + 1) % 2 == 0 else "sliding_attention" for layer in range(3)]
    rope = {
        "full_attention": {"rope_theta": old["rope_theta"], **LINEAR},
        "sliding_attention": {"rope_type": "default", "rope_theta": old["rope_local_base_freq"]},
    }
    gone = ("rope_theta", "rope_scaling", "rope_local_base_freq", "sliding_window_pattern")
    new = {name: value for name, value in old.items() if name not in gone}
    new |= {"rope_parameters": rope, "layer_types": kinds}
    with converted(tmp_path / "old", old) as before, converted(tmp_path / "new", new) as after:
        assert after.config == before.config


def test_a_folder_is_opened_as_if_it_were_a_file_and_converted_once(tmp_path: Path, cache: Path) -> None:
    folder = write_folder(tmp_path / "Tiny-0.6B", config("qwen2"))
    with open_gguf(folder) as first, open_gguf(folder) as second:
        assert first.path == second.path
        assert first.path.is_relative_to(cache)
        assert first.path.name == "Tiny-0.6B.gguf"
    written = first.path.stat().st_mtime_ns
    with open_gguf(folder) as third:
        assert third.path.stat().st_mtime_ns == written
    write_folder(folder, config("qwen2"), tensors=tensors_of(config("qwen2"), seed=1))
    with open_gguf(folder) as changed:
        assert changed.path != first.path


# The tokenizer


@pytest.mark.parametrize(
    "layout",
    [byte_level(), byte_level(GPT2), sentence_pieces(), sentence_pieces(normalizer=PREPENDED, pre_tokenizer=None)],
    ids=["qwen2", "gpt-2", "gemma", "llama-2"],
)
def test_text_becomes_the_ids_of_the_folders_tokenizer(tmp_path: Path, layout: dict[str, Any]) -> None:
    told = config("gemma3" if layout["model"].get("byte_fallback") else "qwen3")
    library = Library.from_str(json.dumps(layout))
    with converted(tmp_path, told, tokenizer=layout) as file:
        tokenizer = Tokenizer.from_gguf(file)
    spaced = layout["normalizer"] == PREPENDED
    for text in TEXTS:
        assert tokenizer.encode(f" {text}" if spaced else text) == library.encode(text, add_special_tokens=False).ids


def test_a_tab_and_runs_of_spaces_are_what_gemmas_file_makes_of_them(tmp_path: Path) -> None:
    """There a tab stands for the token of its byte, and runs of spaces are tokens of their own, spelled with marks."""
    layout = sentence_pieces()
    vocabulary = {"\t" if text == "<0x09>" else text: token for text, token in layout["model"]["vocab"].items()}
    flags = {"special": False, "normalized": False, "single_word": False, "lstrip": False, "rstrip": False}
    layout["added_tokens"] += [{"id": vocabulary[run], "content": run, **flags} for run in ("▁▁", "▁▁▁▁")]
    merges = [merge for merge in layout["model"]["merges"] if merge != ["▁", "▁"]]
    layout["model"] |= {"vocab": vocabulary, "merges": [["▁", "▁"], *merges]}
    library = Library.from_str(json.dumps(layout))
    with converted(tmp_path, config("gemma3"), tokenizer=layout) as file:
        tokenizer = Tokenizer.from_gguf(file)
    for text in ("a\tb", "two  spaces", "the    hello\t 12"):
        assert tokenizer.encode(text) == library.encode(text, add_special_tokens=False).ids
        assert b"".join(map(tokenizer.token_bytes, tokenizer.encode(text))).decode() == text


def test_special_tokens_and_the_template_come_through(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", config("qwen3"))
    layout = byte_level()
    ids = {entry["content"]: entry["id"] for entry in layout["added_tokens"]}
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": list(ids.values())[:3]}))
    with open_gguf(convert(folder, tmp_path / "m.gguf")) as file:
        tokenizer = Tokenizer.from_gguf(file)
        assert "<|im_start|>" in str(file.metadata["tokenizer.chat_template"])
    assert tokenizer.eos == ids["<|im_end|>"]
    assert tokenizer.bos == ids["<|endoftext|>"]
    assert not tokenizer.add_bos
    assert tokenizer.end_ids >= {ids["<|im_end|>"], ids["<|endoftext|>"]}


def test_a_first_token_that_the_tokenizer_puts_there_is_kept(tmp_path: Path) -> None:
    first = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    whole = {"Sequence": {"id": "A", "type_id": 0}}
    ids = {entry["content"]: entry["id"] for entry in byte_level()["added_tokens"]}
    known = {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [ids["<|endoftext|>"]], "tokens": ["<|endoftext|>"]}}
    post = {"type": "TemplateProcessing", "single": [first, whole], "pair": [first, whole], "special_tokens": known}
    with converted(tmp_path, config("qwen3"), tokenizer=byte_level(post_processor=post)) as file:
        assert Tokenizer.from_gguf(file).encode("hello", start=True)[0] == ids["<|endoftext|>"]


# Refused by name


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "mamba"}, "'mamba'"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "'yarn'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"hidden_act": "relu"}, "'relu'"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"hidden_size": "64"}, "hidden_size"),
        ({"hidden_size": 48}, "48"),
        ({"num_attention_heads": 8}, "8 heads"),
        ({"rope_theta": -1}, "rope_theta"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"hidden_size": 10**18}, "hidden_size"),
        ({"vocab_size": 10**12}, "vocab_size"),
        ({"max_position_embeddings": 2**70}, "max_position_embeddings"),
        ({"rms_norm_eps": 10**400}, "rms_norm_eps"),
        ({"rms_norm_eps": 1e300}, "rms_norm_eps"),
        ({"tie_word_embeddings": "x"}, "tie_word_embeddings"),
        ({"rope_scaling": [1]}, "config.json is damaged"),
        ({"rope_parameters": 5}, "config.json is damaged"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    told = config("llama")
    assert named in message(tmp_path, told | change, tensors=tensors_of(told), tokenizer=byte_level())


def test_what_is_quantized_already_is_refused_with_the_way_out(tmp_path: Path) -> None:
    said = message(tmp_path, config("llama") | {"quantization_config": {"bits": 4}})
    assert said.endswith("cannot be converted: weights that are quantized already; take the float checkpoint")


@pytest.mark.parametrize("period", [0, "x", 10**9])
def test_a_pattern_of_layers_that_none_can_have_is_refused(tmp_path: Path, period: object) -> None:
    assert "sliding_window_pattern" in message(tmp_path, config("gemma3") | {"sliding_window_pattern": period})


def test_gemma_with_another_scale_than_gguf_can_tell_is_refused(tmp_path: Path) -> None:
    assert "query_pre_attn_scalar" in message(tmp_path, config("gemma3") | {"query_pre_attn_scalar": 24})


def test_tensors_that_are_strange_or_missing_are_named(tmp_path: Path) -> None:
    told = config("llama")
    tensors = tensors_of(told)
    strange = {"model.layers.0.self_attn.q_proj.lora.weight": np.ones((2, 2), np.float32)}
    assert "lora" in message(tmp_path / "a", told, tensors=tensors | strange)
    lacking = {name: array for name, array in tensors.items() if name != "model.layers.2.mlp.up_proj.weight"}
    assert "blk.2.ffn_up.weight" in message(tmp_path / "b", told, tensors=lacking)
    headless = {name: array for name, array in tensors.items() if name != "lm_head.weight"}
    assert "lm_head" in message(tmp_path / "c", told, tensors=headless)


def test_numbers_that_half_precision_cannot_hold_are_refused(tmp_path: Path) -> None:
    told = config("qwen3")
    tensors = tensors_of(told)
    tensors["model.layers.0.mlp.up_proj.weight"][3, 5] = 1e6
    assert "blk.0.ffn_up.weight" in message(tmp_path, told, tensors=tensors, type="f16")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"pre_tokenizer": {"type": "Whitespace"}}, "Whitespace"),
        ({"normalizer": {"type": "Lowercase"}}, "Lowercase"),
        ({"model": {"type": "Unigram", "vocab": []}}, "Unigram"),
        ({"model": {"type": "WordPiece", "vocab": {}}}, "WordPiece"),
        ({"added_tokens": [5]}, "tokenizer.json is damaged"),
        ({"added_tokens": [{"content": 5, "id": 1}]}, "5 is no text"),
        ({"model": byte_level()["model"] | {"vocab": [1]}}, "tokenizer.json is damaged"),
        ({"model": byte_level()["model"] | {"merges": [["q", 1]]}}, "tokenizer.json is damaged"),
        ({"pre_tokenizer": 5}, "tokenizer.json is damaged"),
        ({"decoder": 5}, "tokenizer.json is damaged"),
    ],
)
def test_a_tokenizer_that_gguf_cannot_express_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    assert named in message(tmp_path, config("qwen3"), tokenizer=byte_level() | change)


def test_rules_that_nobody_named_are_refused(tmp_path: Path) -> None:
    assert "rules" in message(tmp_path, config("qwen3"), tokenizer=byte_level(r"\p{L}+|\s+"))


def test_a_tokenizer_that_would_give_other_ids_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lite.quant.hf_tokenizer._family", lambda layout: "gpt-2")
    assert "does not come through" in message(tmp_path, config("qwen3"))


# Damage


def test_a_token_that_is_half_a_character_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", config("qwen3"))
    layout = byte_level(added_tokens=[{"content": "\ud800", "id": 1}])
    (folder / "tokenizer.json").write_text(json.dumps(layout))
    with pytest.raises(ModelError, match=r"tokenizer\.json is damaged"):
        convert(folder, tmp_path / "m.gguf")


@pytest.mark.parametrize("template", [5, [{"name": "default", "template": 5}], {"default": "x"}])
def test_a_template_that_is_no_text_is_refused(tmp_path: Path, template: object) -> None:
    folder = write_folder(tmp_path / "model", config("qwen3"), settings={"chat_template": template})
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match=r"tokenizer_config\.json: chat_template"):
        convert(folder, tmp_path / "m.gguf")
    with pytest.raises(ModelError, match=r"tokenizer_config\.json: chat_template"):
        chat_template(folder)


def test_of_several_templates_the_default_is_taken(tmp_path: Path) -> None:
    told = [5, {"name": "tools", "template": "a"}, {"name": "default", "template": "b"}]
    folder = write_folder(tmp_path / "model", config("qwen3"), settings={"chat_template": told})
    (folder / "chat_template.jinja").unlink()
    with open_gguf(convert(folder, tmp_path / "m.gguf")) as file:
        assert file.metadata["tokenizer.chat_template"] == chat_template(folder) == "b"


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "model.safetensors.index.json"])
def test_brackets_without_end_are_one_line(tmp_path: Path, name: str) -> None:
    folder = write_folder(tmp_path / "model", config("qwen3"))
    text = b"[" * 200_000
    (folder / name).write_bytes(struct.pack("<Q", len(text)) + text if name == "model.safetensors" else text)
    with pytest.raises(ModelError, match=re.escape(name)) as error:
        convert(folder, tmp_path / "m.gguf")
    assert "\n" not in str(error.value)
    with pytest.raises(ModelError):
        read_json(folder / name)


def test_a_folder_without_a_model_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        convert(tmp_path, tmp_path / "m.gguf")
    folder = write_folder(tmp_path / "model", config("qwen3"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        convert(folder, tmp_path / "m.gguf")


def test_every_cut_of_a_weights_file_is_one_line(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", config("qwen3"))
    whole = (folder / "model.safetensors").read_bytes()
    for length in (0, 1, 7, 8, 9, 100, 2000, len(whole) // 2, len(whole) - 1):
        (folder / "model.safetensors").write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"model\.safetensors"):
            convert(folder, tmp_path / "m.gguf")
    assert not (tmp_path / "m.gguf").exists()


@pytest.mark.parametrize("place", range(0, 400, 23))
def test_a_damaged_header_never_raises_anything_else(tmp_path: Path, place: int) -> None:
    folder = write_folder(tmp_path / "model", config("qwen2") | {"num_hidden_layers": 1})
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[place] ^= 0x15
    (folder / "model.safetensors").write_bytes(data)
    with suppress(LiteError):  # some bytes make no difference
        convert(folder, tmp_path / "m.gguf")


@pytest.mark.parametrize("kind", [[1], {}, 5])
def test_a_tensor_of_a_type_that_is_no_text_is_damage(tmp_path: Path, kind: object) -> None:
    folder = write_folder(tmp_path / "model", config("qwen3"))
    header = json.dumps({"model.norm.weight": {"dtype": kind, "shape": [0], "data_offsets": [0, 0]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ModelError, match=r"model\.norm\.weight.*no text"):
        convert(folder, tmp_path / "m.gguf")


def test_names_in_an_index_that_are_no_texts_are_one_line(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", config("qwen3"))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": 1, "b": "x"}}))
    with pytest.raises(ModelError, match="1 is missing"):
        convert(folder, tmp_path / "m.gguf")


def test_a_part_that_the_index_lists_must_be_there(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", config("qwen3"), shards=2)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match="00002-of-00002"):
        convert(folder, tmp_path / "m.gguf")


def test_an_index_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", config("qwen3"))
    write_safetensors(tmp_path / "other.safetensors", tensors_of(config("qwen3")))
    index = {"weight_map": {"model.norm.weight": "../other.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="outside"):
        convert(folder, tmp_path / "m.gguf")


def test_a_target_that_is_there_is_kept_unless_force_is_given(tmp_path: Path) -> None:
    folder, target = write_folder(tmp_path / "model", config("qwen3")), tmp_path / "m.gguf"
    target.write_text("mine")
    with pytest.raises(UsageError, match="force"):
        convert(folder, target)
    assert target.read_text() == "mine"
    convert(folder, target, force=True)
    open_gguf(target).close()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "linked.gguf"])
def test_what_is_read_is_not_written_over(tmp_path: Path, name: str) -> None:
    folder = write_folder(tmp_path / "model", config("qwen3"))
    (folder / "linked.gguf").symlink_to("model.safetensors")
    before = (folder / name).read_bytes()
    with pytest.raises(UsageError, match="over itself"):
        convert(folder, folder / name, force=True)
    assert (folder / name).read_bytes() == before


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_folder_whose_name_is_no_text_is_converted(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / os.fsdecode(b"a\xff"), config("qwen3"))
    with open_gguf(convert(folder, tmp_path / "m.gguf")) as file:
        assert file.metadata["general.name"] == "a?"


def test_the_result_may_lie_in_the_folder_that_is_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", config("qwen3"))
    for _ in range(2):
        open_gguf(convert(folder, folder / "m.gguf", force=True)).close()
