"""What only a process of its own can show: signals, closed pipes, and what is left behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LITE = (sys.executable, "-m", "lite")
LONG = ("run", "How many?", "-m", "small", "--samples", "2000", "-n", "200")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")


def started(*arguments: str) -> "subprocess.Popen[str]":
    """With Ctrl-C as a terminal has it, even where the tests run in the background."""
    return subprocess.Popen(
        [*LITE, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_ctrl_c_in_the_middle_ends_quietly_with_130(small_model: Path) -> None:
    process = started(*LONG)
    time.sleep(4)
    assert process.poll() is None, "the run ended before it could be interrupted"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)  # the whole run would take longer
    assert process.returncode == 130
    assert out == ""
    assert err == ""


def test_a_reader_that_goes_away_is_no_failure() -> None:
    process = started("strategies")
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=20)
    assert err == ""
    assert process.returncode in (0, 141)


def test_a_closed_standard_input_is_no_question() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$0" "$@" <&-', *LITE, "run"], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_the_whole_way_leaves_files_only_in_the_cache(small_model: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    cache = tmp_path / "cache"
    done = subprocess.run(
        [*LITE, "run", "?", "-m", str(small_model), "-n", "4", "--json"],
        env={"HOME": str(home), "LITE_CACHE_DIR": str(cache), "PATH": ""},
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [*home.iterdir()] == []
    assert [path.name for path in cache.iterdir()] == ["graphs"]


@pytest.mark.skipif(sys.platform == "win32", reason="a shell's own way to close a stream")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_was_closed_before_the_start_is_no_failure(closed: str) -> None:
    command = (
        f'"{sys.executable}" -c "from lite.cli import main; main()" run -t 1 --no-think --samples 2 "2+3?" {closed}'
    )
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert ("answer" in done.stdout) == (closed == "2>&-")
