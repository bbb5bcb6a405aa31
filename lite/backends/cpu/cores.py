"""How many threads a CPU engine should use."""

import os
from pathlib import Path

__all__ = ["physical_cores"]


def physical_cores() -> int:
    """Cores this process may run on, hyper-threads of one core counted once where the system tells (Linux)."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    return len({_siblings(cpu) for cpu in allowed})


def _siblings(cpu: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)
