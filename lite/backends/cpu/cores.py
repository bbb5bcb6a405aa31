"""How many threads a CPU engine should use."""

import math
import os
from collections.abc import Iterable
from pathlib import Path

from lite.models import TensorInfo

__all__ = ["count_weights", "physical_cores", "suitable_threads"]

_SMALL_MODEL = 16_000_000  # weights; below, handing work to a second thread costs more than it saves


def suitable_threads(tensors: Iterable[TensorInfo]) -> int:
    """What an engine takes for a model with these tensors when the user says nothing."""
    return 1 if count_weights(tensors) < _SMALL_MODEL else physical_cores()


def count_weights(tensors: Iterable[TensorInfo]) -> int:
    """Of a model with these tensors."""
    return sum(math.prod(tensor.shape) for tensor in tensors)


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
