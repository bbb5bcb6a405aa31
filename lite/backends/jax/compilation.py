"""Compiled programs, kept on disk so that a later process need not compile them again."""

import jax

from lite.config import cache_folder

__all__ = ["keep_compiled_programs"]

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
