"""Prompts in files: found by their beginning, bounded in size, and never believed when they are damaged."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lite.engine.prompt_files import PromptFiles

TOKENS = list(range(100))
STATE = np.arange(1000, dtype=np.uint8)


def files(folder: Path, key: str = "model", max_bytes: int = 1 << 20, min_tokens: int = 10) -> PromptFiles:
    return PromptFiles(folder, key, max_bytes=max_bytes, min_tokens=min_tokens)


def kept(folder: Path) -> Path:
    files(folder).keep(TOKENS, STATE)
    (path,) = folder.iterdir()
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_finds_what_begins_like_the_prompt(tmp_path: Path) -> None:
    kept(tmp_path / "new")
    for ids, shared in ((TOKENS, 100), ([*TOKENS, 7], 100), ([*TOKENS[:60], 7, 7], 60), (TOKENS[:30], 30)):
        found = files(tmp_path / "new").find(ids, 0)
        assert found is not None
        assert (found.num_tokens, found.num_shared) == (100, shared)
        np.testing.assert_array_equal(found.state, STATE)


def test_the_longest_beginning_wins(tmp_path: Path) -> None:
    store = files(tmp_path)
    for length in (40, 90, 60):
        store.keep([*TOKENS[:length], 7], STATE[:length])
    found = store.find(TOKENS, 0)
    assert found is not None
    assert (found.num_shared, len(found.state)) == (90, 90)


def test_what_saves_too_little_is_left_alone(tmp_path: Path) -> None:
    kept(tmp_path)
    assert files(tmp_path).find([*TOKENS[:9], 7], 0) is None
    assert files(tmp_path).find(TOKENS, 91) is None
    assert files(tmp_path).find(TOKENS, 90) is not None
    assert files(tmp_path).find([7, *TOKENS], 0) is None
    assert not files(tmp_path).wants(9)
    assert files(tmp_path).wants(10)


def test_another_models_prompts_are_not_seen_even_under_another_name(tmp_path: Path) -> None:
    path = kept(tmp_path)
    assert files(tmp_path, key="other").find(TOKENS, 0) is None
    path.rename(tmp_path / path.name.replace("model", "other"))
    assert files(tmp_path, key="other").find(TOKENS, 0) is None


@pytest.mark.parametrize("place", [0, 10, 41, 46, 400, 600, -1])
def test_a_damaged_file_is_deleted_with_a_word(tmp_path: Path, place: int, caplog: pytest.LogCaptureFixture) -> None:
    """Magic, checksum, the two numbers, tokens, state."""
    path = kept(tmp_path)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert files(tmp_path).find(TOKENS, 0) is None
    assert not path.exists()
    assert "is damaged" in caplog.text


@pytest.mark.parametrize("length", [0, 20, 52, 200, 1000])
def test_a_torn_file_is_not_believed(tmp_path: Path, length: int) -> None:
    path = kept(tmp_path)
    path.write_bytes(path.read_bytes()[:length])
    assert files(tmp_path).find(TOKENS, 0) is None


def test_the_next_best_is_taken_where_the_best_is_damaged(tmp_path: Path) -> None:
    best = kept(tmp_path)
    files(tmp_path).keep(TOKENS[:50], STATE)
    best.write_bytes(best.read_bytes()[:-1])
    found = files(tmp_path).find(TOKENS, 0)
    assert found is not None
    assert found.num_shared == 50


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    store = files(tmp_path, max_bytes=4 * 1200)
    for start in range(3):
        store.keep([start] * 20, STATE)
    for age, path in enumerate(sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)):
        os.utime(path, (age, age))
    assert store.find([0] * 20, 0) is not None
    for start in (3, 4):
        store.keep([start] * 20, STATE)
    assert [store.find([start] * 20, 0) is not None for start in range(5)] == [True, False, True, True, True]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4 * 1200


def test_one_that_alone_is_too_large_is_not_kept(tmp_path: Path) -> None:
    files(tmp_path, max_bytes=1000).keep(TOKENS, STATE)
    assert list(tmp_path.iterdir()) == []


def test_a_dead_processs_draft_is_cleared_away_and_a_living_ones_is_not(tmp_path: Path) -> None:
    for name, last_use in (("old.part", 0.0), ("new.part", None), ("a stranger's", 0.0)):
        (tmp_path / name).write_bytes(b"half")
        if last_use is not None:
            os.utime(tmp_path / name, (last_use, last_use))
    kept_name = kept_beside(tmp_path)
    assert names(tmp_path) == {"new.part", "a stranger's", kept_name}


def kept_beside(folder: Path) -> str:
    before = names(folder)
    files(folder).keep(TOKENS, STATE)
    (name,) = names(folder) - before
    return name


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = files(tmp_path / "file" / "folder")
    store.keep(TOKENS, STATE)
    assert store.find(TOKENS, 0) is None


def test_two_processes_may_keep_and_read_at_once(tmp_path: Path) -> None:
    """Whatever is found is whole."""
    code = f"""
import numpy as np
from pathlib import Path
from lite.engine.prompt_files import PromptFiles
store = PromptFiles(Path({str(tmp_path)!r}), "model", max_bytes=40_000, min_tokens=10)
for turn in range(60):
    for start in range(4):
        store.keep([start] * 20, np.full(9000, start, np.uint8))
        found = store.find([start] * 20, 0)
        assert found is None or (found.state == start).all() and len(found.state) == 9000
"""
    running = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", code], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert (process.returncode, said) == (0, "")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2 * 40_000
