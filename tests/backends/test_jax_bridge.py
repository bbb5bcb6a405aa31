"""Modules of flax.nnx: given, trained, taken back."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jax", reason="the extra 'jax' is not installed")
pytest.importorskip("flax", reason="the extra 'jax' is not installed")

import jax
import jax.numpy as jnp
from flax import nnx

from lite.backends.jax.backend import JaxBackend
from lite.backends.jax.bridge import Decoder, ModuleTensors
from lite.backends.jax.mesh import Placement
from lite.backends.jax.weights import load_weights
from lite.quant.gguf import GGUFFile, open_gguf
from tests import reference
from tests.gguf_files import write_gguf

IDS = list(range(20, 40))


@pytest.fixture
def file(tmp_path: Path) -> GGUFFile:
    keys = {"gemma3.attention.sliding_window": 7, "gemma3.attention.sliding_window_pattern": 2}
    sizes = {"hidden_size": 32, "num_heads": 2, "num_kv_heads": 1, "intermediate_size": 48}
    return open_gguf(write_gguf(tmp_path / "m.gguf", architecture="gemma3", metadata=keys, **sizes))


def decoder_of(file: GGUFFile) -> Decoder:
    weights = load_weights(file, Placement(), dtype="float32", integers=False, num_positions=64)
    return Decoder(file.config, weights)


def test_a_module_has_the_models_logits_and_gives_its_weights_back(file: GGUFFile) -> None:
    decoder = decoder_of(file)
    np.testing.assert_allclose(decoder(jnp.array(IDS)), reference.logits(file, IDS), atol=1e-4)
    assert decoder.parameters["layers.1.down"].shape == (48, 32)
    again = Decoder(file.config, decoder.weights())
    np.testing.assert_array_equal(again(jnp.array(IDS)), decoder(jnp.array(IDS)))


def test_a_module_can_be_trained(file: GGUFFile) -> None:
    decoder, ids = decoder_of(file), jnp.array(IDS)

    def loss(module: Decoder) -> jax.Array:
        logprobs = jax.nn.log_softmax(module(ids[:-1]))
        return -jnp.take_along_axis(logprobs, ids[1:, None], axis=1).mean()

    @nnx.jit
    def losses(module: Decoder) -> list[jax.Array]:
        found = []
        for _ in range(2):
            value, gradient = nnx.value_and_grad(loss)(module)
            found.append(value)
            nnx.update(module, jax.tree.map(lambda old, step: old - 0.1 * step, nnx.state(module, nnx.Param), gradient))
        return found

    before, after = losses(decoder)
    assert after < before - 0.01


def test_a_foreign_module_is_drawn_from(file: GGUFFile) -> None:
    class Foreign(nnx.Module):
        """Its matrices are (in, out)."""

        def __init__(self) -> None:
            kernels = {name: nnx.Param(jnp.asarray(file.tensor(name).T)) for name in file.tensors}
            self.kernels = nnx.Dict(kernels)

    read = {name: lambda module, name=name: module.kernels[name][...].T for name in file.tensors}
    tensors = ModuleTensors(module=Foreign(), config=file.config, read=read)
    backend = JaxBackend(tensors, format="f32", num_slots=1)
    scores = backend.extend(0, 0, IDS[:-1], IDS[1:], 1)
    assert scores is not None
    np.testing.assert_array_equal(scores.top_ids[:, 0], reference.logits(file, IDS[:-1]).argmax(axis=-1))
