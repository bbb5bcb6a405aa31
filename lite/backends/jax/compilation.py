"""What shortens compiling: programs kept on disk for later processes, and repeated parts traced once."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax

from lite.config import cache_folder

__all__ = ["keep_compiled_programs", "traced_once"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_SETTINGS = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,  # a small model has many small programs
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


def keep_compiled_programs() -> None:
    """Have JAX keep what it compiles in the cache folder, unless the user has chosen another place."""
    chosen: str | None = getattr(jax.config, "jax_compilation_cache_dir", None)
    if chosen is None:
        settings = {**_SETTINGS, "jax_compilation_cache_dir": str(cache_folder() / "jax")}
        for name, value in settings.items():
            jax.config.update(name, value)  # type: ignore[no-untyped-call]


def traced_once(*static: str) -> Callable[[_Function], _Function]:
    """Have a part of a program traced and lowered once, however many layers call it with arrays of equal shapes.

    `static` names arguments that are no arrays. XLA puts the part in wherever it is called: what is compiled, and
    what comes out, is as if it were written out there.
    """

    def decorated(function: _Function) -> _Function:
        jitted: Any = jax.jit(function, static_argnames=static)
        found: _Function = jitted
        return found

    return decorated
