"""Run as a program: whether meshes of four forced CPU devices hold what one device holds, as JSON on stdout.

`jax_weights_worker.py FOLDER CHECKPOINT`: a Hugging Face folder, and where to put a checkpoint of it.
"""

import json
import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import jax
import numpy as np

from lite.backends.jax.checkpoint import open_checkpoint, save_checkpoint
from lite.backends.jax.mesh import Placement, mesh_of
from lite.backends.jax.model import Weights
from lite.backends.jax.weights import load_weights
from lite.devices import parse_mesh
from lite.quant.hf_folder import HFFolder, open_hf_folder


def loaded(source: HFFolder, mesh: str, integers: bool = False) -> Weights:
    return load_weights(source, placement_of(source, mesh), dtype="float32", integers=integers, num_positions=16)


def placement_of(source: HFFolder, mesh: str) -> Placement:
    return Placement(mesh_of(parse_mesh(mesh), source.config) if mesh else None)


def told(expected: Weights, *found: Weights) -> str:
    for weights in found:
        jax.tree.map(np.testing.assert_array_equal, weights, expected)
    first, *others = (jax.tree.map(lambda leaf: leaf.sharding, weights) for weights in found)
    return "equal" if all(one == first for one in others) else "elsewhere"


def main(folder: str, path: str) -> None:
    with open_hf_folder(folder) as source:
        plain, answers = loaded(source, ""), {}
        save_checkpoint(f"{path}-f32", source.config, plain)
        checkpoint = open_checkpoint(f"{path}-f32")
        for mesh in ("data=2,model=2", "data=4"):
            split = loaded(source, mesh)
            gate = split.layers[0].gate_up
            assert isinstance(gate, jax.Array)
            assert {shard.data.shape for shard in gate.addressable_shards} == {(32, 2, 24 if "model" in mesh else 48)}
            placement = placement_of(source, mesh)
            again = checkpoint.weights(placement, dtype="float32", integers=False, num_positions=16)
            answers[mesh] = told(plain, split, again)
        split = loaded(source, "data=2,model=2", integers=True)
        save_checkpoint(f"{path}-int8", source.config, split)
        placement = placement_of(source, "")
        again = open_checkpoint(f"{path}-int8").weights(placement, dtype="float32", integers=True, num_positions=16)
        answers["int8"] = told(loaded(source, "", integers=True), split) and told(split, again)
        print(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
