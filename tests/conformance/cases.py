"""Every engine that is installed, in every format, opened as the program opens it."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec

import pytest

from lite.backends.base import Backend
from lite.chat import ChatCodec
from lite.engines import ENGINES, EngineSettings
from lite.quant.gguf import GGUFFile

__all__ = ["CASES", "FLOATS", "TYPES", "Case", "over"]

TYPES = ("F32", "Q8_0", "Q4_0")
"""Of the files: an engine that computes with what the file holds is opened with each of them."""

_SHIPPED = "Q8_0"
_ELSEWHERE = {"jax": ("bf16", "int8")}
"""Formats for accelerators, which a CPU runs slowly: tests/backends compares them with float32."""


@dataclass(frozen=True, slots=True)
class Case:
    """An engine and a format of its own."""

    engine: str
    format: str
    file_type: str

    def __str__(self) -> str:
        return f"{self.engine}-{self.format}"

    @property
    def is_float(self) -> bool:
        """Whether weights and cache are float32."""
        return self.format == "f32"

    def open(self, files: dict[str, GGUFFile], *, slots: int, context: int = 1024, threads: int = 1) -> Backend:
        file = files[self.file_type]
        settings = EngineSettings(
            format=self.format,
            num_slots=slots,
            context_length=context,
            threads=threads,
            forbidden_ids=ChatCodec(file).forbidden_ids,
        )
        return ENGINES[self.engine].open(file, settings)


def _cases() -> Iterable[Case]:
    for engine, entry in ENGINES.items():
        if entry.formats:
            formats = entry.formats.keys() - _ELSEWHERE.get(engine, ())
            yield from (Case(engine, name, _SHIPPED) for name in entry.formats if name in formats)
        else:
            yield from (Case(engine, "f32" if kind == "F32" else kind, kind) for kind in TYPES)


CASES = tuple(_cases())
FLOATS = tuple(case for case in CASES if case.is_float)


def over(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """Parametrise a test over cases; one whose extra is missing is skipped."""
    return pytest.mark.parametrize("case", [_param(case) for case in cases])


def _param(case: Case) -> object:
    entry = ENGINES[case.engine]
    missing = find_spec(entry.module) is None
    reason = f"the extra {entry.extra!r} is not installed"
    return pytest.param(case, id=str(case), marks=pytest.mark.skipif(missing, reason=reason))
