"""What of the engine jax the command line shows: warming up, devices, hosts."""

import importlib.util

import pytest

from tests.cli.conftest import Lite

needs_jax = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("jax", "flax")), reason="the extra 'jax' is not installed"
)


@needs_jax
def test_warmup_says_how_many_programs_are_ready_and_a_run_answers_on_them(lite: Lite) -> None:
    few = ("--samples", 1, "--max-tokens", 4)
    warmed = lite("warmup", "-m", "small", "--prompt-tokens", 30, *few)
    assert (warmed.code, warmed.err) == (0, "")
    assert warmed.out.startswith("3 programs are ready (")
    ran = lite("run", "-m", "small", "--backend", "jax", "--strategy", "sample", *few, "two")
    assert ran.code == 0, ran.err
    assert "jax f32" in ran.err


@needs_jax
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--mesh", "data=64"), "needs 64 devices, there are 1"),
        (("--mesh", "rows=2"), "data=4,model=2"),
        (("--hosts", "2/2@localhost:1"), "host:port"),
    ],
)
def test_devices_that_are_not_there_are_a_usage_error(lite: Lite, options: tuple[str, ...], told: str) -> None:
    ran = lite("run", "-m", "small", "--backend", "jax", *options, "two")
    assert ran.code == 2
    assert told in ran.err


def test_an_engine_of_one_device_refuses_a_mesh(lite: Lite) -> None:
    ran = lite("run", "-m", "small", "--backend", "onnx", "--mesh", "data=2", "two")
    assert ran.code == 2
    assert "the engine onnx runs on one device" in ran.err
