"""JAX on several devices and as several hosts draws what it draws on one device; in processes of their own."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jax", reason="the extra 'jax' is not installed")
pytest.importorskip("flax", reason="the extra 'jax' is not installed")

from lite.backends.jax.mesh import join_hosts, mesh_of, parse_mesh
from lite.errors import UsageError
from lite.quant.gguf import open_gguf
from tests.gguf_files import write_gguf

MESHES = ("data=8", "data=4,model=2", "data=2,model=4")
SECONDS = 300


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "m.gguf"
    return write_gguf(path, hidden_size=32, num_heads=8, num_kv_heads=4, head_dim=8, num_layers=1)


def started(model: Path, *words: str) -> subprocess.Popen[str]:
    environment = os.environ | {"LITE_CACHE_DIR": str(model.parent), "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-m", "tests.backends.jax_worker", str(model), *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> list[list[list[int]]]:
    output, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors
    found: list[list[list[int]]] = json.loads(output.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def on_devices(model: Path) -> list[list[list[int]]]:
    return told(started(model, "devices", *MESHES))


@pytest.mark.parametrize("mesh", MESHES)
def test_a_mesh_draws_the_tokens_of_one_device(on_devices: list[list[list[int]]], mesh: str) -> None:
    assert on_devices[1 + MESHES.index(mesh)] == on_devices[0]


def test_two_hosts_draw_the_tokens_of_one_and_both_know_them(model: Path, on_devices: list[list[list[int]]]) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    hosts = [started(model, "hosts", f"{index}/2@{address}", "data=2") for index in range(2)]
    assert [told(host) for host in hosts] == [[on_devices[0]], [on_devices[0]]]


@pytest.mark.parametrize("text", ["data=0", "data=2;model=2", "rows=2", "data", "data=two"])
def test_a_mesh_that_makes_no_sense_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="data=4,model=2"):
        parse_mesh(text)


@pytest.mark.parametrize("text", ["", "1", "2/2@localhost:1", "0/2", "0/2@localhost"])
def test_hosts_that_make_no_sense_are_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="host:port"):
        join_hosts(text)


def test_a_mesh_beyond_the_devices_or_the_heads_is_a_usage_error(model: Path) -> None:
    with open_gguf(model) as file, pytest.raises(UsageError, match=r"needs 64 devices, there are 1"):
        mesh_of({"data": 16, "model": 4}, file.config)
