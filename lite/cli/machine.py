"""What the machine has: processor, cores, memory. Only reads; None and () where the system does not tell."""

import os
import platform
from dataclasses import dataclass

__all__ = ["Machine", "look_at_machine"]

_FEATURES = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm", "sve")
"""What matrix kernels use, by Linux's names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Sizes are in bytes."""

    system: str
    processor: str
    features: tuple[str, ...]
    usable_threads: int
    physical_cores: int


def look_at_machine() -> Machine:
    from lite.engines import default_threads
    from lite.machine import processor

    name, flags = processor()
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=name,
        features=tuple(feature for feature in _FEATURES if feature in flags),
        usable_threads=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        physical_cores=default_threads(),
    )
