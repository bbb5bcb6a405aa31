"""Checkpoints of orbax: a model's weights as they lie on the devices, int8 too, and back onto any mesh.

    save_checkpoint("/data/step-100", config, decoder.weights())
    backend = JaxBackend(open_checkpoint("/data/step-100"), num_slots=64, placement=placement)

Each host writes and reads the parts of its own devices. What is saved is the weights and the model's dimensions: the
tokenizer stays with the model that it came from.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import jax
from jax.sharding import SingleDeviceSharding

from lite.backends.jax.mesh import Placement
from lite.backends.jax.model import Weights
from lite.backends.jax.quantised import QTensor
from lite.backends.jax.weights import parameter_shapes, with_rotations
from lite.errors import BackendError, MissingExtra, ModelError, UsageError
from lite.models import ModelConfig

if TYPE_CHECKING:
    import orbax.checkpoint

__all__ = ["Checkpoint", "open_checkpoint", "save_checkpoint"]

_PARAMETERS = ("embedding", "layers", "final_norm", "head")  # of `Weights`: the rest is computed


def save_checkpoint(path: str | os.PathLike[str], config: ModelConfig, weights: Weights) -> None:
    """Write a model to a new folder, or under a URL that orbax knows; of several hosts every one calls this.

    The folder is there when it is whole. Raises UsageError where there is one already, BackendError where it cannot be
    written, and MissingExtra.
    """
    place = _absolute(path)
    model = {"config": asdict(config), "integers": isinstance(weights.embedding, QTensor)}
    with _checkpointer() as (orbax, checkpointer):
        parameters = orbax.args.StandardSave({name: getattr(weights, name) for name in _PARAMETERS})
        try:
            checkpointer.save(place, orbax.args.Composite(weights=parameters, model=orbax.args.JsonSave(model)))
        except ValueError as error:
            raise UsageError(f"{place} cannot be made: {_line(error)}; name another folder") from error
        except Exception as error:  # orbax raises no narrower kind
            raise BackendError(f"the checkpoint {place} cannot be written: {_line(error)}") from error


def open_checkpoint(path: str | os.PathLike[str]) -> "Checkpoint":
    """Read what kind of model a folder of `save_checkpoint` holds. Raises ModelError and MissingExtra."""
    place = _absolute(path)
    with _checkpointer() as (orbax, checkpointer):
        try:
            found = checkpointer.restore(place, orbax.args.Composite(model=orbax.args.JsonRestore())).model
            listed = {name: tuple(value) for name, value in found["config"].items() if isinstance(value, list)}
            return Checkpoint(place, ModelConfig(**found["config"] | listed), bool(found["integers"]))
        except Exception as error:
            raise ModelError(f"{place} holds no checkpoint of a model: {_line(error)}") from error


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What `JaxBackend` is opened with in place of a file."""

    path: str
    config: ModelConfig
    integers: bool  # whether its matrices are those of the format int8

    def weights(self, placement: Placement, *, dtype: str, integers: bool, num_positions: int) -> Weights:
        """Put them on the devices, as `load_weights` does; floating-point ones of another type are rounded.

        Raises UsageError for integers that are wanted where there are none, or the reverse, and ModelError for what
        is damaged.
        """
        if integers != self.integers:
            kinds = ("in floating point", "of the format int8")
            what = f"the weights of {self.path} are {kinds[self.integers]}, not {kinds[integers]}"
            raise UsageError(f"{what}: leave the format out, or save them in the other one")
        shapes = parameter_shapes(self.config, placement, dtype=dtype, integers=integers)
        with _checkpointer() as (orbax, checkpointer):
            target = orbax.args.StandardRestore(jax.tree.map(_placed, shapes))
            try:
                parameters = checkpointer.restore(self.path, orbax.args.Composite(weights=target)).weights
            except Exception as error:
                raise ModelError(f"the checkpoint {self.path} cannot be read: {_line(error)}") from error
        return with_rotations(parameters, self.config, placement, dtype=dtype, num_positions=num_positions)


def _placed(shape: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """On the default device where no mesh is meant, wherever it was when it was saved."""
    sharding = shape.sharding or SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)  # type: ignore[no-untyped-call]


@contextmanager
def _checkpointer() -> "Iterator[tuple[Any, orbax.checkpoint.Checkpointer]]":
    try:
        import orbax.checkpoint as orbax
    except ImportError:
        raise MissingExtra("a checkpoint", "jax") from None
    with orbax.Checkpointer(orbax.CompositeCheckpointHandler()) as checkpointer:
        yield orbax, checkpointer


def _absolute(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    return text if "://" in text else os.path.abspath(text)


def _line(error: Exception) -> str:
    """What is wrong, from the cause where orbax only tells what it was doing."""
    return " ".join(str(error.__cause__ or error).split())[:300]
