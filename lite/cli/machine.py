"""What the machine has: processor, cores, memory. Only reads; None and () where the system does not tell."""

import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

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
    from lite.registry import default_threads

    processor, flags = _processor()
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=processor,
        features=tuple(name for name in _FEATURES if name in flags),
        usable_threads=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        physical_cores=default_threads(),
    )


def _processor() -> tuple[str, frozenset[str]]:
    """Its name and its flags."""
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string"), frozenset(_sysctl("machdep.cpu.features").lower().split())
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return platform.processor(), frozenset()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return name[1] if name else platform.processor(), frozenset(flags[1].split() if flags else ())


def _sysctl(key: str) -> str:
    try:
        return subprocess.run(
            ["sysctl", "-n", key], capture_output=True, text=True, timeout=5, check=False
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
