"""Graphs are built once and kept, and no state of the cache's folder is a failure."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from lite.errors import BackendError, ModelError
from lite.quant import graph_cache
from lite.quant.gguf import GGUFFile, open_gguf
from lite.quant.onnx import open_graph
from tests.gguf_files import write_gguf


@pytest.fixture
def file(tmp_path: Path) -> GGUFFile:
    return open_gguf(write_gguf(tmp_path / "m.gguf", num_layers=1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "graphs"


def load(path: Path) -> None:
    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def built(file: GGUFFile, folder: Path) -> Path:
    """The entry of the file's graph."""
    with open_graph(file, "f32", folder) as path:
        load(path)
    return path.parent


def test_a_graph_is_built_once(file: GGUFFile, folder: Path) -> None:
    entry = built(file, folder)
    inode = (entry / "weights.bin").stat().st_ino
    assert built(file, folder) == entry
    assert (entry / "weights.bin").stat().st_ino == inode
    assert list(folder.iterdir()) == [entry]


def test_another_format_or_content_is_another_entry(file: GGUFFile, folder: Path, tmp_path: Path) -> None:
    other = open_gguf(write_gguf(tmp_path / "other.gguf", num_layers=1, seed=1))
    with open_graph(file, "f32", folder), open_graph(file, "q4", folder), open_graph(other, "f32", folder):
        assert len(list(folder.iterdir())) == 3


def test_the_folder_is_the_one_of_the_environment(
    file: GGUFFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITE_CACHE_DIR", str(tmp_path / "chosen"))
    with open_graph(file, "f32") as path:
        assert path.is_relative_to(tmp_path / "chosen")


@pytest.mark.parametrize("name", ["model.onnx", "weights.bin", "manifest.json"])
@pytest.mark.parametrize("damage", ["lost", "cut", "empty", "changed"])
def test_a_damaged_entry_is_built_again(file: GGUFFile, folder: Path, name: str, damage: str) -> None:
    entry = built(file, folder)
    good = (entry / name).read_bytes()
    middle = len(good) // 2
    bad = {"cut": good[:middle], "empty": b"", "changed": good[:middle] + b"\xff\x00" + good[middle + 2 :]}
    (entry / name).unlink()
    if damage != "lost":
        (entry / name).write_bytes(bad[damage])
    built(file, folder)
    assert (entry / name).read_bytes() == good
    assert list(folder.iterdir()) == [entry]


def test_a_folder_that_cannot_be_written_costs_one_log_line(
    file: GGUFFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a file").write_text("")
    with open_graph(file, "f32", tmp_path / "a file" / "graphs") as path:
        load(path)
    assert not path.exists()
    (record,) = caplog.records
    assert "built anew in each process" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_no_folder_at_all_is_an_error_with_a_way_out(
    file: GGUFFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(BackendError, match="set LITE_CACHE_DIR"), open_graph(file, "f32", tmp_path / "a file"):
        pass


def test_builders_at_the_same_time_end_with_one_whole_entry(file: GGUFFile, folder: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        entries = set(pool.map(lambda _: built(file, folder), range(4)))
    assert list(folder.iterdir()) == list(entries)


def test_a_build_that_fails_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    broken = {"output_norm.weight": np.full(64, np.nan, np.float32)}
    file = open_gguf(write_gguf(tmp_path / "nan.gguf", extra_tensors=broken))
    with pytest.raises(ModelError), open_graph(file, "f32", folder):
        pass
    assert list(folder.iterdir()) == []


def test_the_least_recently_used_entries_give_way(
    file: GGUFFile, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = built(file, folder)
    for age, name in ((300, "used"), (500, "forgotten")):
        shutil.copytree(first, folder / name)
        os.utime(folder / name, (time.time() - age,) * 2)
    size = sum(path.stat().st_size for path in first.iterdir())
    monkeypatch.setattr(graph_cache, "_CACHE_LIMIT", int(2.9 * size))  # two of these and the smaller one of q8
    with open_graph(file, "q8", folder) as path:
        assert {entry.name for entry in folder.iterdir()} == {first.name, "used", path.parent.name}


def test_what_a_dead_process_left_unfinished_goes(file: GGUFFile, folder: Path) -> None:
    for age, name in ((10, ".living"), (100_000, ".dead")):
        (folder / name).mkdir(parents=True)
        os.utime(folder / name, (time.time() - age,) * 2)
    entry = built(file, folder)
    assert {path.name for path in folder.iterdir()} == {entry.name, ".living"}
