"""JAX reads a Hugging Face folder as it lies: bit for bit what the converted file gives, a tensor at a time."""

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax", reason="the extra 'jax' is not installed")
pytest.importorskip("flax", reason="the extra 'jax' is not installed")

import jax
import jax.numpy as jnp
from numpy.typing import NDArray

from lite.backends.base import Row
from lite.backends.jax.backend import JaxBackend
from lite.backends.jax.mesh import Axes, Placement
from lite.backends.jax.model import Weights
from lite.backends.jax.weights import TensorSource, load_weights
from lite.chat import ChatCodec
from lite.errors import ModelError
from lite.params import Chat, SamplingParams
from lite.quant.convert import convert
from lite.quant.gguf import GGUFFile, open_gguf
from lite.quant.hf_folder import HFFolder, open_hf_folder
from lite.random import branch_stream
from lite.registry import open_sampler
from tests.quant.hf_folders import byte_level, config_of, tensors_of, write_folder

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "rope_scaling": LLAMA3, "rope_theta": 500_000.7},
    "llama-tied": {"model_type": "llama", "tie_word_embeddings": True},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3", "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
    "gemma3": {"model_type": "gemma3_text"},
}
FAMILIES = ("llama", "qwen2", "qwen3", "gemma3")
SMALL = {"num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 48}
IDS = np.random.default_rng(0).integers(0, 300, 30).tolist()


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("LITE_CACHE_DIR", str(folder))
        yield folder


def config(name: str, **changes: Any) -> dict[str, Any]:
    return config_of(MODELS[name]["model_type"], **(SMALL | MODELS[name] | {"vocab_size": 384} | changes))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def both(
    stack: ExitStack, folder: Path, name: str, dtype: str = "BF16", layers: int = 2, **how: Any
) -> tuple[HFFolder, GGUFFile]:
    """A model as a folder and as the file that is made of it."""
    write_folder(folder / "model", config(name, num_hidden_layers=layers), dtype=dtype, **how)
    converted = stack.enter_context(open_gguf(convert(folder / "model", folder / "m.gguf")))
    return stack.enter_context(open_hf_folder(folder / "model")), converted


def loaded(source: TensorSource, kind: str) -> Weights:
    return load_weights(
        source,
        Placement(),
        dtype="bfloat16" if kind == "bf16" else "float32",
        integers=kind == "int8",
        num_positions=16,
    )


def drawn(source: TensorSource) -> list[Any]:
    backend = JaxBackend(source, format="f32", num_slots=2, tokens_per_step=24)
    backend.extend(0, 0, IDS[:-1])
    backend.fork(0, 1, len(IDS) - 1)
    stretch = (len(IDS) - 1, IDS[-1])
    rows = [
        Row(slot, *stretch, branch_stream(1, slot), 0, SamplingParams(), tuple(IDS), len(IDS), 99) for slot in (0, 1)
    ]
    found = backend.step(rows, frozenset())
    return [found.ids.tolist(), found.statistics.logprob.tolist()]


# The same model


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64"])
@pytest.mark.parametrize("name", MODELS)
def test_weights_are_bit_for_bit_those_of_the_converted_file(
    stack: ExitStack, tmp_path: Path, name: str, dtype: str
) -> None:
    folder, file = both(stack, tmp_path, name, dtype, shards=3)
    assert folder.config == replace(file.config, rope_interleaved=False)
    for kind in ("f32", "bf16", "int8"):
        jax.tree.map(np.testing.assert_array_equal, loaded(folder, kind), loaded(file, kind))


def test_bfloat16_is_not_widened_on_its_way(tmp_path: Path) -> None:
    told = config("qwen3")
    with open_hf_folder(write_folder(tmp_path, told, dtype="BF16")) as folder:
        assert folder.tensor("blk.0.ffn_up.weight").dtype == jnp.bfloat16
        weights = loaded(folder, "bf16")
    bits = tensors_of(told)["model.layers.1.mlp.down_proj.weight"].view(np.uint32) >> 16
    np.testing.assert_array_equal(np.asarray(weights.layers[1].down).view(np.uint16), bits.T)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_folder_draws_the_tokens_of_the_converted_file(stack: ExitStack, tmp_path: Path, name: str) -> None:
    folder, file = both(stack, tmp_path, name, layers=1)
    assert drawn(folder) == drawn(file)


@pytest.mark.parametrize("name", FAMILIES)
def test_prompts_are_the_ids_of_the_converted_file(stack: ExitStack, tmp_path: Path, name: str) -> None:
    folder, file = both(stack, tmp_path, name)
    direct, converted = ChatCodec(folder, folder.tokenizer), ChatCodec(file)
    for prompt in (Chat.ask("hello world, 12 and 123\n <think> they'll é"), "  a\tb <|im_end|> the answer"):
        assert direct.encode_prompt(prompt) == converted.encode_prompt(prompt)
    assert direct.end_ids == converted.end_ids
    assert direct.forbidden_ids == converted.forbidden_ids
    assert direct.traits == converted.traits


def test_a_first_token_that_only_the_configuration_asks_for_is_put_there(stack: ExitStack, tmp_path: Path) -> None:
    told = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "add_bos_token": True}
    folder, file = both(stack, tmp_path, "qwen3", "F32", settings=told)
    ids = ChatCodec(folder, folder.tokenizer).encode_prompt("hello")
    assert ids == ChatCodec(file).encode_prompt("hello")
    assert ids[0] == folder.tokenizer.bos


def test_the_engine_jax_opens_a_folder_without_converting_it(tmp_path: Path, cache: Path) -> None:
    folder = write_folder(tmp_path / "Tiny-0.6B", config("qwen3"), shards=2)
    opened = open_sampler(folder, "jax", format=None, num_slots=2, context_length=64, threads=None)
    opened.sampler.close()
    assert (opened.name, opened.engine) == ("Tiny-0.6B", "jax")
    assert not (cache / "converted").exists()


# What it takes


class Vanishing(Placement):
    """Devices that keep nothing, so that what is in the host's memory can be seen."""

    def put(self, array: NDArray[np.generic], axes: Axes) -> jax.Array:
        del array, axes
        return jnp.zeros(())


@pytest.mark.parametrize("kind", ["f32", "bf16"])
def test_the_host_holds_one_tensor_at_a_time(tmp_path: Path, kind: str) -> None:
    told = config("qwen3", hidden_size=256, intermediate_size=1024, num_hidden_layers=6, vocab_size=1024)
    folder = write_folder(tmp_path, told, dtype="BF16")
    largest = 2 * 256 * 1024 * (4 if kind == "f32" else 2)  # bytes of gate and up, which become one
    dtype = "float32" if kind == "f32" else "bfloat16"
    with open_hf_folder(folder) as source:
        load_weights(source, Vanishing(), dtype=dtype, integers=False, num_positions=16)  # what is imported stays
        tracemalloc.start()
        try:
            load_weights(source, Vanishing(), dtype=dtype, integers=False, num_positions=16)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (folder / "model.safetensors").stat().st_size > 5 * largest
    assert peak < largest + (1 << 21)


def test_each_device_of_a_mesh_gets_its_own_part_of_a_folder_and_of_a_checkpoint(tmp_path: Path) -> None:
    """In a process of its own, as the number of devices is settled when JAX starts."""
    pytest.importorskip("orbax.checkpoint", reason="the extra 'jax' is not installed")
    folder = write_folder(tmp_path / "model", config("llama"), dtype="BF16", shards=2)
    command = [sys.executable, "-m", "tests.backends.jax_weights_worker", str(folder), str(tmp_path / "checkpoint")]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"data=2,model=2": "equal", "data=4": "equal", "int8": "equal"}


# Damage


def used(path: Path) -> None:
    with open_hf_folder(path) as folder:
        loaded(folder, "bf16")
        ChatCodec(folder, folder.tokenizer)


def message(path: Path) -> str:
    with pytest.raises(ModelError) as error:
        used(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_part_that_is_missing_or_cut_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, config("qwen2"), shards=2)
    part = folder / "model-00002-of-00002.safetensors"
    whole = part.read_bytes()
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        part.write_bytes(whole[:length])
        assert part.name in message(folder)
    part.unlink()
    assert f"{part} is missing" in message(folder)


def test_tensors_that_are_missing_or_of_another_shape_are_named(tmp_path: Path) -> None:
    told = config("gemma3")
    tensors = tensors_of(told)
    lacking = {name: array for name, array in tensors.items() if name != "model.layers.1.mlp.up_proj.weight"}
    folder = write_folder(tmp_path / "a", told, tensors=lacking)
    assert f"{folder}: the tensors 'blk.1.ffn_up.weight' are missing" in message(folder)
    crooked = tensors | {"model.norm.weight": np.ones(31, np.float32)}
    folder = write_folder(tmp_path / "b", told, tensors=crooked)
    assert f"{folder}: tensor 'output_norm.weight' has shape (31,)" in message(folder)
    strange = tensors | {"model.layers.0.self_attn.q_proj.lora.weight": np.ones((2, 2), np.float32)}
    assert "lora" in message(write_folder(tmp_path / "c", told, tensors=strange))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["mlp.up_proj.weight", "self_attn.k_proj.weight", "input_layernorm.weight"])
def test_numbers_that_are_none_are_refused_by_name(tmp_path: Path, name: str, value: float) -> None:
    told = config("llama")
    tensors = tensors_of(told)
    tensors[f"model.layers.1.{name}"].flat[5] = value
    ours = {"mlp.up": "ffn_up", "self_attn.k": "attn_k", "input_layernorm.weight": "attn_norm"}[name.split("_proj")[0]]
    assert f"'blk.1.{ours}.weight'" in message(write_folder(tmp_path, told, tensors=tensors))


def test_a_tokenizer_that_is_missing_or_too_large_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "a", config("qwen3"))
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json is missing" in message(folder)
    folder = write_folder(tmp_path / "b", config("qwen3", vocab_size=256), tokenizer=byte_level())
    assert "but the embedding has 256 rows" in message(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize(
    "content", ["[" * 100_000, "5", '{"model": 5}', '{"chat_template": 5, "post_processor": 5}', ""]
)
def test_a_damaged_configuration_never_raises_anything_else(tmp_path: Path, name: str, content: str) -> None:
    folder = write_folder(tmp_path, config("qwen3"))
    (folder / "chat_template.jinja").unlink()
    (folder / name).write_text(content)
    with suppress(ModelError):  # some content makes no difference
        used(folder)
