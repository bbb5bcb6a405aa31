"""Run as a program: what a backend draws on several devices, or as one of several hosts, as JSON on stdout.

`jax_worker.py MODEL devices MESH...`: tokens on one device, then on each mesh of eight forced CPU devices.
`jax_worker.py MODEL hosts I/N@HOST:PORT MESH`: tokens on a mesh of all hosts' devices.
"""

import json
import os
import sys
from pathlib import Path

if sys.argv[2] == "devices":
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

from lite.backends.base import Row
from lite.backends.jax.backend import JaxBackend
from lite.backends.jax.mesh import Placement, join_hosts, mesh_of, parse_mesh
from lite.params import SamplingParams
from lite.quant.gguf import GGUFFile, open_gguf
from lite.random import branch_stream

ROWS, STEPS, TOKENS = 16, 2, 32
PROMPTS = tuple([(7 * index + 3 * prompt) % 300 for index in range(30 + prompt)] for prompt in range(2))


def row(slot: int, context: list[int]) -> Row:
    drawn = len(context) - len(PROMPTS[slot % 2])
    params = SamplingParams(top_k=50 if slot % 3 == 0 else 0)
    return Row(
        slot, len(context) - 1, context[-1], branch_stream(1, slot), drawn, params, context, len(context) - drawn, 99
    )


def tokens(file: GGUFFile, mesh: str) -> list[list[int]]:
    placement = Placement(mesh_of(parse_mesh(mesh), file.config)) if mesh else None
    backend = JaxBackend(file, format="f32", num_slots=ROWS, tokens_per_step=TOKENS, placement=placement)
    contexts = [list(PROMPTS[slot % 2]) for slot in range(ROWS)]
    for slot, context in enumerate(contexts):
        if slot < 2:
            backend.extend(slot, 0, context[:-1])
        else:
            backend.fork(slot % 2, slot, len(context) - 1)
    for _ in range(STEPS):
        drawn = backend.step([row(slot, context) for slot, context in enumerate(contexts)], frozenset())
        for context, ids in zip(contexts, drawn.ids.tolist(), strict=True):
            context += ids
    return contexts


def main(path: str, kind: str, *words: str) -> None:
    if kind == "hosts":
        join_hosts(words[0])
    with open_gguf(Path(path)) as file:
        print(json.dumps([tokens(file, mesh) for mesh in (["", *words] if kind == "devices" else words[1:])]))


if __name__ == "__main__":
    main(*sys.argv[1:])
