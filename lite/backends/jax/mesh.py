"""Where arrays lie: on one device, or split over a mesh of devices by rows ("data") and by heads ("model").

With several hosts each runs the same program on the same requests: rows are split among all devices, what was drawn is
gathered to every host before anything is decided, and a row's stream comes from its own number, so that draws do not
depend on how many hosts there are.
"""

import re
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from lite.errors import BackendError, UsageError
from lite.models import ModelConfig

__all__ = ["Axes", "Placement", "join_hosts", "mesh_of", "parse_mesh"]

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

    def given(self, tree: Any) -> Any:
        """What every host gives a program in the same way, as the program can take it."""
        return tree if jax.process_count() == 1 else jax.tree.map(np.asarray, tree)

    def gathered(self, tree: Any) -> Any:
        """Arrays on this host."""
        return jax.device_get(tree if self.mesh is None else self._gather(tree))

    @cached_property
    def _gather(self) -> Any:
        assert self.mesh is not None
        return partial(jax.jit, out_shardings=_sharding(self.mesh))(lambda tree: tree)


def _sharding(mesh: Mesh, *axes: str | None) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(*axes))  # type: ignore[no-untyped-call]


def parse_mesh(text: str) -> dict[str, int]:
    """Sizes by axis, from "data=4,model=2". Raises UsageError."""
    sizes = {"data": 1, "model": 1}
    for part in text.split(","):
        name, _, number = (word.strip() for word in part.partition("="))
        if name not in sizes or not number.isdecimal() or int(number) < 1:
            raise UsageError(f"the mesh {text!r} is not of the form data=4,model=2 with numbers from 1 on")
        sizes[name] = int(number)
    return sizes


def mesh_of(sizes: dict[str, int], config: ModelConfig) -> Mesh:
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


def join_hosts(text: str) -> None:
    """Make this process one of several, before anything else of JAX is used.

    `text` is "0/2@host:port" (the first of two, and where the first one listens), or "auto" where the cluster tells
    (TPU, Slurm, Open MPI). Raises UsageError, and BackendError where the hosts do not find each other.
    """
    match = re.fullmatch(r"(\d+)/(\d+)@(.+:\d+)", text)
    if text != "auto" and (match is None or int(match[1]) >= int(match[2])):
        raise UsageError(f"{text!r} is neither auto nor of the form 0/2@host:port, a number below the count first")
    try:
        if match is None:
            jax.distributed.initialize()
        else:
            jax.distributed.initialize(match[3], num_processes=int(match[2]), process_id=int(match[1]))
    except (RuntimeError, ValueError) as error:
        raise BackendError(f"the hosts did not find each other: {' '.join(str(error).split())[:300]}") from error
