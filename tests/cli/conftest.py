"""The real command line, run in this process; and small models for it."""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from lite.cli import main
from tests.gguf_files import write_gguf
from tests.model_stores import at_home


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


Lite: TypeAlias = Callable[..., Ran]


class Terminal(io.StringIO):
    """Text that a person watches."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the session: a graph is built once a model."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete model with random weights: its answers are noise."""
    return write_gguf(tmp_path_factory.mktemp("models") / "small.gguf")


@pytest.fixture(autouse=True)
def folders(monkeypatch: pytest.MonkeyPatch, cache: Path, small_model: Path) -> None:
    at_home(monkeypatch, cache / "home")
    monkeypatch.setenv("LITE_CACHE_DIR", str(cache))
    monkeypatch.setenv("LITE_CONFIG_DIR", str(cache / "no settings"))
    monkeypatch.setenv("LITE_MODELS_DIR", str(small_model.parent))


@pytest.fixture
def lite(monkeypatch: pytest.MonkeyPatch) -> Lite:
    """`lite(*arguments, stdin="", terminal=False)`: with a terminal, stdout and stderr are watched and stdin is not
    piped."""

    def call(*arguments: object, stdin: str = "", terminal: bool = False) -> Ran:
        kind = Terminal if terminal else io.StringIO
        out, err = kind(), kind()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdin", Terminal() if terminal else io.StringIO(stdin))
            patched.setattr(sys, "stdout", out)
            patched.setattr(sys, "stderr", err)
            with pytest.raises(SystemExit) as end:
                main([str(argument) for argument in arguments])
        assert isinstance(end.value.code, int)
        return Ran(end.value.code, out.getvalue(), err.getvalue())

    return call
