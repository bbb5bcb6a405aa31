"""OpenVINO as it is imported here: without its converters, which would tell a server of each import.

A program that needs them too imports OpenVINO before this, or takes `openvino.tools.ovc` itself.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast

__all__ = ["PagedAttention", "openvino", "ops"]


@contextmanager
def _kept_out(module: str) -> Iterator[None]:
    """Inside, importing a module fails as if it were not there; OpenVINO goes on without. One that is loaded stays."""
    missing = cast(ModuleType, None)  # as Python has it
    before = sys.modules.setdefault(module, missing)
    try:
        yield
    finally:
        if before is None:
            del sys.modules[module]


with _kept_out("openvino.tools.ovc"):
    import openvino
    from openvino import opset15 as ops
    from openvino.op import _PagedAttentionExtension as PagedAttention
