"""Calls of ONNX Runtime that its backends share: a session, a run that can be stopped, errors of one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_errors

from lite.backends.cpu.watch import watched
from lite.errors import BackendError, Interrupted

__all__ = ["address", "one_line", "open_session", "run_session"]

_RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    *(error for error in vars(runtime_errors).values() if isinstance(error, type) and issubclass(error, Exception)),
    MemoryError,
    RuntimeError,
)
_QUIET = 3  # log severity: errors only
_SPIN_MICROSECONDS = "50"  # an idle thread waits awake: endless waiting doubled a step's time on a busy machine


def open_session(path: Path, threads: int) -> Any:
    """An InferenceSession on the processor. Raises BackendError."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _QUIET
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_MICROSECONDS)
    options.enable_mem_pattern = False  # a plan for each length of prompt would pile up
    onnxruntime.disable_telemetry_events()
    with one_line("the model's graph could not be loaded"):
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_session(session: Any, binding: Any, stop: Callable[[], bool] | None) -> None:
    """Run what is bound. Raises Interrupted once `stop` says True, and BackendError; None asks nobody."""
    options = onnxruntime.RunOptions()
    with watched(stop, lambda: _terminate(options)) if stop else nullcontext():
        try:
            with one_line("a step of the model failed"):
                session.run_with_iobinding(binding, options)
        except BackendError:
            if options.terminate:
                raise Interrupted from None
            raise


def address(array: NDArray[Any]) -> tuple[str, int, type[np.generic], tuple[int, ...], int]:
    """Device, its number, element type, shape and address, as IOBinding takes them."""
    return "cpu", 0, array.dtype.type, array.shape, array.ctypes.data


@contextmanager
def one_line(what: str) -> Iterator[None]:
    """Turn ONNX Runtime's errors into one of ours."""
    try:
        yield
    except _RUNTIME_ERRORS as error:
        raise BackendError(f"{what}: {' '.join(str(error).split())[:300]}") from None


def _terminate(options: Any) -> None:
    options.terminate = True
