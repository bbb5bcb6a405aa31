"""Checkpoints of orbax: what is saved comes back, onto whatever devices, and damage is told in a line."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax", reason="the extra 'jax' is not installed")
pytest.importorskip("flax", reason="the extra 'jax' is not installed")
pytest.importorskip("orbax.checkpoint", reason="the extra 'jax' is not installed")

import jax
import jax.numpy as jnp

from lite.backends.jax.backend import JaxBackend, default_format
from lite.backends.jax.bridge import Decoder
from lite.backends.jax.checkpoint import open_checkpoint, save_checkpoint
from lite.backends.jax.mesh import Placement
from lite.backends.jax.model import Weights
from lite.backends.jax.weights import TensorSource, load_weights
from lite.errors import LiteError, MissingExtra, ModelError, UsageError
from lite.quant.gguf import GGUFFile, open_gguf
from tests.gguf_files import llama3_rope_freqs, write_gguf

IDS = list(range(20, 40))
SIZES = {"hidden_size": 32, "num_heads": 2, "num_kv_heads": 1, "intermediate_size": 48, "num_layers": 2}
ROOM = {"num_positions": 16}


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> GGUFFile:
    """Of the kind whose configuration has most: rotary pairs in another order, and factors."""
    path = tmp_path_factory.mktemp("models") / "m.gguf"
    return open_gguf(write_gguf(path, rope_freqs=llama3_rope_freqs(old=8), **SIZES))


def weights_of(source: TensorSource, dtype: str = "float32", integers: bool = False) -> Weights:
    return load_weights(source, Placement(), dtype=dtype, integers=integers, **ROOM)


def assert_equal(found: Weights, expected: Weights) -> None:
    assert found.dtype == expected.dtype
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert jax.tree.map(lambda leaf: leaf.dtype, found) == jax.tree.map(lambda leaf: leaf.dtype, expected)


@pytest.mark.parametrize(("dtype", "integers"), [("float32", False), ("bfloat16", False), ("float32", True)])
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_what_was_saved_comes_back(tmp_path: Path, architecture: str, dtype: str, integers: bool) -> None:
    window = {"gemma3.attention.sliding_window": 7, "gemma3.attention.sliding_window_pattern": 2}
    settings: dict[str, Any] = {"metadata": window} if architecture == "gemma3" else {"tied": False}
    with open_gguf(write_gguf(tmp_path / "m.gguf", architecture=architecture, **settings, **SIZES)) as source:
        saved = weights_of(source, dtype, integers)
        save_checkpoint(tmp_path / "checkpoint", source.config, saved)
        found = open_checkpoint(tmp_path / "checkpoint")
        assert found.config == source.config
        assert_equal(found.weights(Placement(), dtype=dtype, integers=integers, **ROOM), saved)


def test_weights_of_another_type_are_rounded(tmp_path: Path, file: GGUFFile) -> None:
    save_checkpoint(tmp_path / "checkpoint", file.config, weights_of(file))
    found = open_checkpoint(tmp_path / "checkpoint").weights(Placement(), dtype="bfloat16", integers=False, **ROOM)
    assert_equal(found, weights_of(file, "bfloat16"))


@pytest.mark.parametrize("integers", [False, True])
def test_a_checkpoint_is_opened_in_its_own_format(tmp_path: Path, file: GGUFFile, integers: bool) -> None:
    save_checkpoint(tmp_path / "checkpoint", file.config, weights_of(file, integers=integers))
    backend = JaxBackend(open_checkpoint(tmp_path / "checkpoint"), num_slots=1)
    assert backend.spec.format == ("int8" if integers else default_format())
    expected = JaxBackend(file, format=backend.spec.format, num_slots=1)
    assert backend._model is not None
    assert expected._model is not None
    assert_equal(backend._model.weights, expected._model.weights)


def test_what_was_trained_is_saved(tmp_path: Path, file: GGUFFile) -> None:
    decoder = Decoder(file.config, weights_of(file))
    down = decoder.parameters["layers.1.down"]
    down[...] = down[...] * jnp.float32(2)
    save_checkpoint(tmp_path / "checkpoint", file.config, decoder.weights())
    found = open_checkpoint(tmp_path / "checkpoint").weights(Placement(), dtype="float32", integers=False, **ROOM)
    assert_equal(found, decoder.weights())


def one_line(kind: type[LiteError], call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(kind) as error:
        call(*arguments, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_that_is_there_is_kept(tmp_path: Path, file: GGUFFile) -> None:
    (tmp_path / "mine").write_text("mine")
    assert "already exists" in one_line(UsageError, save_checkpoint, tmp_path, file.config, weights_of(file))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_without_a_checkpoint_is_told_in_a_line(tmp_path: Path) -> None:
    assert str(tmp_path / "none") in one_line(ModelError, open_checkpoint, tmp_path / "none")
    (tmp_path / "model").mkdir()
    assert str(tmp_path) in one_line(ModelError, open_checkpoint, tmp_path)


@pytest.mark.parametrize("integers", [False, True])
def test_another_format_than_was_saved_is_a_usage_error(tmp_path: Path, file: GGUFFile, integers: bool) -> None:
    save_checkpoint(tmp_path / "checkpoint", file.config, weights_of(file, integers=integers))
    told = one_line(
        UsageError, JaxBackend, open_checkpoint(tmp_path / "checkpoint"), format="f32" if integers else "int8"
    )
    assert "the format int8" in told


def test_damage_is_told_in_a_line(tmp_path: Path, file: GGUFFile) -> None:
    save_checkpoint(tmp_path / "checkpoint", file.config, weights_of(file))
    (tmp_path / "checkpoint" / "weights" / "_METADATA").write_text("{")
    told = one_line(ModelError, JaxBackend, open_checkpoint(tmp_path / "checkpoint"), format="f32")
    assert str(tmp_path / "checkpoint") in told


def test_without_orbax_the_extra_is_named(tmp_path: Path, file: GGUFFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    assert "extra 'jax'" in one_line(MissingExtra, open_checkpoint, tmp_path)
    assert "extra 'jax'" in one_line(MissingExtra, save_checkpoint, tmp_path / "a", file.config, weights_of(file))
