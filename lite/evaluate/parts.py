"""The parts of a loaded model, for what looks beneath a Sampler: `lite verify` and `lite bench`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lite.backends.base import Backend
from lite.codec import Codec
from lite.engine import Engine
from lite.errors import Unsupported
from lite.sampler import Sampler

__all__ = ["Parts", "opened_parts", "parts_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A model that is ready, without the engine's queue."""

    backend: Backend
    codec: Codec
    name: str


@contextmanager
def opened_parts(model: Any, backend: str, **settings: Any) -> Iterator[Parts]:
    """Open a model as `lite.registry.open_sampler` does, and close it. Raises what that raises."""
    from lite.registry import open_sampler

    opened = open_sampler(model, backend, **settings)
    try:
        yield parts_of(opened.sampler, opened.name)
    finally:
        opened.sampler.close()


def parts_of(sampler: Sampler, name: str) -> Parts:
    """Raises Unsupported for a sampler that is no local engine: it shows no logits."""
    if not isinstance(sampler, Engine):
        raise Unsupported("this needs an engine on this machine: a remote server draws with its own random numbers")
    return Parts(backend=sampler.backend, codec=sampler.codec, name=name)
