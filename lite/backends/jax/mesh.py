"""Where arrays lie: on one device, or split over a mesh of devices by rows ("data") and by heads ("model").

With several hosts each runs the same program on the same requests: rows are split among all devices, what was drawn is
gathered to every host before anything is decided, and a row's stream comes from its own number, so that draws do not
depend on how many hosts there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from numpy.typing import DTypeLike, NDArray

from lite.errors import UsageError
from lite.models import ModelConfig

__all__ = ["Axes", "Placement", "host_array", "mesh_of"]

Axes: TypeAlias = tuple[str | None, ...]
"""Of each axis of an array, the mesh's axis that it is split over."""


@dataclass(frozen=True)
class Placement:
    """Puts arrays on the devices. `mesh` has the axes "data" and "model"; None is the default device."""

    mesh: Mesh | None = None

    @property
    def num_data(self) -> int:
        """How many parts rows are split into."""
        return 1 if self.mesh is None else int(self.mesh.shape["data"])

    def put(self, array: NDArray[np.generic], axes: Axes) -> jax.Array:
        """The array on the devices, split as told where its sizes allow."""
        placed: jax.Array = jax.device_put(array, self.sharding(array.shape, axes))
        return placed

    def sharding(self, shape: tuple[int, ...], axes: Axes) -> NamedSharding | None:
        """An axis whose size cannot be split evenly is not split."""
        if self.mesh is None:
            return None
        even = (
            name if name is not None and size % self.mesh.shape[name] == 0 else None
            for size, name in zip(shape, axes, strict=True)
        )
        return _sharding(self.mesh, *even)

    def gathered(self, tree: Any) -> Any:
        """Arrays on this host."""
        return jax.device_get(tree if self.mesh is None else self._gather(tree))

    @cached_property
    def _gather(self) -> Any:
        assert self.mesh is not None
        return partial(jax.jit, out_shardings=_sharding(self.mesh))(lambda tree: tree)


def host_array(values: Any, dtype: DTypeLike) -> Any:
    """For a program, which every host gives the same; `jnp.asarray` would first compile a program of its own."""
    return np.asarray(values, dtype)


def _sharding(mesh: Mesh, *axes: str | None) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(*axes))  # type: ignore[no-untyped-call]


def mesh_of(sizes: Mapping[str, int], config: ModelConfig) -> Mesh:
    """A mesh of so many devices, of all hosts. Raises UsageError where they are fewer, or heads cannot be split."""
    data, model = sizes["data"], sizes["model"]
    devices = jax.devices()
    if data * model > len(devices):
        raise UsageError(f"a mesh of {data} x {model} needs {data * model} devices, there are {len(devices)}")
    if data * model < len(devices) and jax.process_count() > 1:
        raise UsageError(f"a mesh of several hosts takes all their {len(devices)} devices, not {data} x {model}")
    if config.num_kv_heads % model:
        raise UsageError(f"{config.num_kv_heads} key-value heads cannot be split over model={model} devices evenly")
    grid = np.array(devices[: data * model]).reshape(data, model)
    return Mesh(grid, ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))
