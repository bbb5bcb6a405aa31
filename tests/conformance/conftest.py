"""The embedded model in several types of weights, and a report of what was compared."""

from collections.abc import Iterator

import pytest

from lite.config import embedded_model
from lite.quant.gguf import GGUFFile, open_gguf
from tests.conformance.cases import TYPES
from tests.conformance.draws import Report
from tests.conformance.models import write_as

_REPORT = pytest.StashKey[dict[str, Report]]()


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, GGUFFile]:
    """By the type of the matrices. Written from one copy, for training may replace the embedded model meanwhile."""
    folder = tmp_path_factory.mktemp("models")
    shipped = folder / "Q8_0.gguf"
    shipped.write_bytes(embedded_model().read_bytes())
    with open_gguf(shipped) as file:
        for kind in TYPES:
            if kind != "Q8_0":
                write_as(file, folder / f"{kind}.gguf", kind)
    return {kind: open_gguf(folder / f"{kind}.gguf") for kind in TYPES}


@pytest.fixture
def report(request: pytest.FixtureRequest) -> dict[str, Report]:
    """By what was compared; told when all tests are done."""
    return request.config.stash.setdefault(_REPORT, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for name, found in config.stash.get(_REPORT, {}).items():
        terminalreporter.write_line(f"conformance, {name}: {found}")
