"""Between this engine's weights and `flax.nnx` modules: a model to train, and trained models to draw from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.tree_util import keystr, tree_flatten_with_path, tree_unflatten
from numpy.typing import NDArray

from lite.backends.jax.attention import attend, merge
from lite.backends.jax.model import Weights, decode_hidden, logits_of
from lite.models import ModelConfig

__all__ = ["Decoder", "ModuleTensors"]

_TABLES = ("rotations", "local_rotations")  # no parameters

_Read: TypeAlias = Callable[[Any], jax.Array]


class Decoder(nnx.Module):
    """A model as a module: what is trainable is an `nnx.Param` under its path, such as `layers.0.down`.

    The weights must be plain arrays: those of the format int8 have no gradients.
    """

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        leaves, self._structure = tree_flatten_with_path(weights)
        self.config = config
        self._names = tuple(_name(path) for path, _ in leaves)
        self.parameters = nnx.Dict({_name(path): _variable(_name(path), leaf) for path, leaf in leaves})

    def __call__(self, ids: jax.Array) -> jax.Array:
        """Float32 logits (n, vocab) after each of `ids`, int32 (n,)."""
        positions = jnp.arange(len(ids), dtype=jnp.int32)

        def attention(layer: int, query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
            window = self.config.sliding_window if self.config.is_local(layer) else len(ids)
            distance = positions[:, None] - positions[None]
            keys, values = (jnp.moveaxis(array, 0, 1)[None] for array in (key, value))
            return merge([attend(query[None], keys, values, ((distance >= 0) & (distance < window))[None])])[0]

        weights = self.weights()
        return logits_of(weights, decode_hidden(self.config, weights, ids, positions, attention))

    def weights(self) -> Weights:
        """As they are now."""
        found: Weights = tree_unflatten(self._structure, [self.parameters[name][...] for name in self._names])
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleTensors:
    """Any module as what `JaxBackend` loads: where in it each of GGUF's tensors is.

    `read` has for each name, such as "blk.0.attn_q.weight", a function from the module to an array of GGUF's shape:
    (out, in) for a matrix, so a kernel (in, out) is transposed. The output's is absent when embeddings are tied.
    """

    module: Any
    config: ModelConfig
    read: Mapping[str, _Read]

    @property
    def tensors(self) -> Mapping[str, object]:
        return self.read

    def tensor(self, name: str) -> NDArray[np.float32]:
        return np.array(self.read[name](self.module), np.float32)


def _name(path: tuple[Any, ...]) -> str:
    return keystr(path, simple=True, separator=".")


def _variable(name: str, leaf: jax.Array) -> Any:
    return nnx.Variable(leaf) if name.startswith(_TABLES) else nnx.Param(leaf)
