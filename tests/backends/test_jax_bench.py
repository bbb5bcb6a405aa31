"""The script that measures decoding on an accelerator runs to its end on whatever there is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jax", reason="the extra 'jax' is not installed")

SCRIPT = Path(__file__).parents[2] / "bench" / "jax_decode.py"


def test_every_case_is_measured_and_written_down(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--small", "--repeats", "1", "--out", str(tmp_path / "found.json")]
    environment = os.environ | {"LITE_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.getcwd()}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    assert " GB/s" in ran.stdout.splitlines()[0]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["copy_bytes_a_second"] > 0
    assert {case["kind"] for case in found["results"]} >= {"shared", "replicated", "single", "unscored", "argmax"}
    assert all(case["median"] > 0 for case in found["results"])
