"""JAX on several devices and as several hosts draws what it draws on one device; in processes of their own."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jax", reason="the extra 'jax' is not installed")
pytest.importorskip("flax", reason="the extra 'jax' is not installed")

from lite.backends.jax.mesh import mesh_of
from lite.errors import UsageError
from lite.quant.gguf import open_gguf
from tests.gguf_files import write_gguf

MESHES = ("data=8", "data=2,model=4", "data=4,model=2")
SECONDS = 300


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "m.gguf"
    return write_gguf(path, hidden_size=32, num_heads=8, num_kv_heads=4, head_dim=8, num_layers=1)


def started(model: Path, *words: str) -> subprocess.Popen[str]:
    environment = os.environ | {"LITE_CACHE_DIR": str(model.parent), "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-m", "tests.backends.jax_worker", str(model), *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> Any:
    output, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def on_devices(model: Path) -> Any:
    """By mesh, each row's prompt of 30 or 31 tokens and what was drawn; and the same where some rows are filtered."""
    return told(started(model, "devices", *MESHES))


@pytest.mark.parametrize("mesh", MESHES)
def test_a_mesh_draws_the_tokens_of_one_device(on_devices: Any, mesh: str) -> None:
    """64 rows of 256 tokens each."""
    rows = on_devices[0][mesh]
    assert [len(row) for row in rows] == [286, 287] * 32
    assert rows == on_devices[0][""]


def test_a_mesh_draws_the_tokens_of_one_device_where_some_rows_are_filtered(on_devices: Any) -> None:
    plain, filtered = on_devices
    assert filtered[MESHES[-1]] == filtered[""]
    assert filtered[""] != [row[:-192] for row in plain[""]]


def test_two_hosts_draw_the_tokens_of_one_and_both_know_them(model: Path, on_devices: Any) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    hosts = [started(model, "hosts", f"{index}/2@{address}", "data=2") for index in range(2)]
    assert [told(host) for host in hosts] == [[row[:-192] for row in on_devices[0][""]]] * 2


def test_a_mesh_beyond_the_devices_or_the_heads_is_a_usage_error(model: Path) -> None:
    with open_gguf(model) as file, pytest.raises(UsageError, match=r"needs 64 devices, there are 1"):
        mesh_of({"data": 16, "model": 4}, file.config)
