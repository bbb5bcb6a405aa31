"""Weights packed for OpenVINO: what is in them is the file's, in the layout that the graph wants."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lite.quant.gguf import GGUFFile, open_gguf
from lite.quant.openvino import FORMATS, Format, open_weights
from tests.gguf_files import write_gguf
from tests.reference import dequantised

MATRICES = ("token_embd.weight", "blk.0.attn_qkv.weight", "blk.1.ffn_up.weight", "blk.1.ffn_down.weight")


@pytest.fixture
def file(tmp_path: Path) -> GGUFFile:
    return open_gguf(write_gguf(tmp_path / "m.gguf", architecture="qwen2"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "graphs"


def unpacked(codes: NDArray[np.generic], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the graph computes from a packed matrix."""
    if codes.dtype == np.int8:
        return codes.astype(np.float32) * scales
    whole = codes.astype(np.uint8)
    if whole.shape[-1] == 16:
        whole = np.stack([whole & 15, whole >> 4], axis=-1).reshape(*whole.shape[:-1], 32)
    zero = 128 if codes.shape[-1] == 32 else 8
    blocks = (whole.astype(np.float32) - zero) * scales
    return blocks.reshape(len(blocks), -1)


def own(file: GGUFFile, name: str) -> NDArray[np.float32]:
    """A matrix of the file; rotary halves need no change where a head is 16 wide."""
    if "attn_qkv" in name:
        return np.concatenate([file.tensor(name.replace("attn_qkv", f"attn_{part}")) for part in "qkv"])
    return file.tensor(name)


@pytest.mark.parametrize("weight_format", FORMATS)
def test_what_is_packed_is_the_files(file: GGUFFile, folder: Path, weight_format: Format) -> None:
    with open_weights(file, weight_format, folder) as weights:
        for name in MATRICES:
            expected = own(file, name)
            if weight_format == "f32":
                np.testing.assert_array_equal(weights[name], expected)
                assert f"{name}.scales" not in weights
                continue
            found = unpacked(weights[name], weights[f"{name}.scales"])
            if weight_format == "int8-row":
                steps = np.abs(expected).max(axis=1, keepdims=True) / 127
                assert np.all(np.abs(found - expected) <= 0.501 * steps)
            else:
                bits = 8 if weight_format == "q8" or name == "token_embd.weight" else 4
                np.testing.assert_allclose(found, dequantised(expected.astype(np.float64), bits), rtol=1e-5)
        np.testing.assert_array_equal(weights["output_norm.weight"], file.tensor("output_norm.weight"))
        assert weights["blk.0.attn_qkv.bias"].dtype == np.float32
        assert all(array.ctypes.data % 4096 == 0 for array in weights.values())


def test_heads_are_padded_with_zeros_and_their_pairs_made_halves(tmp_path: Path, folder: Path) -> None:
    file = open_gguf(write_gguf(tmp_path / "m.gguf", architecture="llama", head_dim=12, num_heads=2, num_kv_heads=1))
    query = file.tensor("blk.0.attn_q.weight")
    with open_weights(file, "f32", folder) as weights:
        joint = weights["blk.0.attn_qkv.weight"]
        assert joint.shape == ((2 + 1 + 1) * 16, file.config.hidden_size)
        np.testing.assert_array_equal(joint[:6], query[0:12:2])
        np.testing.assert_array_equal(joint[8:14], query[1:12:2])
        np.testing.assert_array_equal(joint[[6, 7, 14, 15]], 0)
        np.testing.assert_array_equal(joint[48:60], file.tensor("blk.0.attn_v.weight"))
        assert weights["blk.0.attn_output.weight"].shape == (file.config.hidden_size, 2 * 16)


def test_rows_that_are_no_whole_blocks_are_kept_by_row(tmp_path: Path, folder: Path) -> None:
    file = open_gguf(write_gguf(tmp_path / "m.gguf", hidden_size=72, num_heads=3, num_kv_heads=1))
    with open_weights(file, "q4", folder) as weights:
        assert weights["blk.0.ffn_up.weight"].dtype == np.int8
        assert weights["blk.0.ffn_down.weight"].dtype == np.uint8


def test_weights_are_packed_once_and_mapped(file: GGUFFile, folder: Path) -> None:
    with open_weights(file, "q8", folder) as weights:
        kept = {name: array.copy() for name, array in weights.items()}
        assert all(isinstance(array.base, np.memmap) for array in weights.values())
    (entry,) = folder.iterdir()
    inode = (entry / "weights.bin").stat().st_ino
    with open_weights(file, "q8", folder) as weights:
        assert weights.keys() == kept.keys()
        for name, array in kept.items():
            np.testing.assert_array_equal(weights[name], array)
    assert (entry / "weights.bin").stat().st_ino == inode


@pytest.mark.parametrize("name", ["weights.bin", "index.json"])
def test_damaged_weights_are_packed_again(file: GGUFFile, folder: Path, name: str) -> None:
    with open_weights(file, "q4", folder):
        (entry,) = folder.iterdir()
    good = (entry / name).read_bytes()
    (entry / name).write_bytes(good[: len(good) // 2])
    with open_weights(file, "q4", folder):
        assert (entry / name).read_bytes() == good
