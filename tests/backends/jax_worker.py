"""Run as a program: what a backend draws on several devices, or as one of several hosts, as JSON on stdout.

`jax_worker.py MODEL devices MESH...`: by mesh of eight forced CPU devices ("": one device) 64 rows of 256 tokens; then
the same of 64 tokens, for the last mesh only, where some rows draw from their 50 likeliest tokens.
`jax_worker.py MODEL hosts I/N@HOST:PORT MESH`: 64 rows of 64 tokens on a mesh of all hosts' devices.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

if sys.argv[2] == "devices":
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

from lite.backends.base import Row
from lite.backends.jax.backend import JaxBackend
from lite.backends.jax.hosts import join_hosts
from lite.backends.jax.mesh import Placement, mesh_of
from lite.devices import parse_hosts, parse_mesh
from lite.params import SamplingParams
from lite.quant.gguf import GGUFFile, open_gguf
from lite.random import branch_stream

ROWS, TOKENS = 64, 64
PROMPTS = tuple([(7 * index + 3 * prompt) % 300 for index in range(30 + prompt)] for prompt in range(2))


def row(slot: int, context: list[int], top_k: int) -> Row:
    drawn = len(context) - len(PROMPTS[slot % 2])
    params = SamplingParams(top_k=top_k if slot % 3 == 0 else 0)
    return Row(
        slot, len(context) - 1, context[-1], branch_stream(1, slot), drawn, params, context, len(context) - drawn, 999
    )


def tokens(file: GGUFFile, mesh: str, steps: int, top_k: int = 0) -> list[list[int]]:
    """Each row's context at the end."""
    placement = Placement(mesh_of(parse_mesh(mesh), file.config)) if mesh else None
    backend = JaxBackend(file, format="f32", num_slots=ROWS, tokens_per_step=TOKENS, placement=placement)
    contexts = [list(PROMPTS[slot % 2]) for slot in range(ROWS)]
    for slot, context in enumerate(contexts):
        if slot < 2:
            backend.extend(slot, 0, context[:-1])
        else:
            backend.fork(slot % 2, slot, len(context) - 1)
    for _ in range(steps):
        drawn = backend.step([row(slot, context, top_k) for slot, context in enumerate(contexts)], frozenset())
        for context, ids in zip(contexts, drawn.ids.tolist(), strict=True):
            context += ids
    return contexts


def on_devices(file: GGUFFile, meshes: Sequence[str]) -> list[dict[str, list[list[int]]]]:
    plain = {mesh: tokens(file, mesh, 4) for mesh in ("", *meshes)}
    return [plain, {mesh: tokens(file, mesh, 1, top_k=50) for mesh in ("", meshes[-1])}]


def main(path: str, kind: str, *words: str) -> None:
    if kind == "hosts":
        join_hosts(parse_hosts(words[0]))
    with open_gguf(Path(path)) as file:
        print(json.dumps(on_devices(file, words) if kind == "devices" else tokens(file, words[1], 1)))


if __name__ == "__main__":
    main(*sys.argv[1:])
