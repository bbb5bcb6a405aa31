"""The wheel holds what the tree holds: no more, no less."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_module_and_asset_of_the_tree(wheel_names: set[str]) -> None:
    tree = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "lite").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in wheel_names if name.startswith("lite/")} == tree


def test_the_wheel_has_no_other_top_level_package(wheel_names: set[str]) -> None:
    tops = {name.partition("/")[0] for name in wheel_names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"lite"}


def test_the_root_shows_links_into_the_package() -> None:
    for name in ("backends", "strategies", "quant"):
        assert (ROOT / name).resolve() == ROOT / "lite" / name
