"""The drawing loop as it is handed to a GPU's or a TPU's compiler, which needs neither."""

import re
from collections.abc import Iterator

import pytest

pytest.importorskip("jax", reason="the extra 'jax' is not installed")

import jax

from lite.backends.jax.backend import JaxBackend
from lite.backends.jax.programs import draw_many
from lite.backends.jax.warmup import _draws
from lite.quant.gguf import GGUFFile, open_gguf
from tests.gguf_files import write_gguf

SIZES = {"hidden_size": 256, "num_heads": 4, "num_kv_heads": 2, "head_dim": 64, "intermediate_size": 512}
TYPES = re.compile(r" : \(tensor<(.*)>, tensor<(.*)>\) -> tensor<(.*)>")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> GGUFFile:
    return open_gguf(write_gguf(tmp_path_factory.mktemp("models") / "m.gguf", num_layers=2, **SIZES))


@pytest.fixture(autouse=True, scope="module")
def as_on_a_gpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The code asks for the platform while it is traced; nothing traced before or here is of use to the other."""
    jax.clear_caches()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: "gpu")
        patch.setenv("LITE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield
    jax.clear_caches()


def lowered(file: GGUFFile, weight_format: str, platform: str = "cuda", **settings: object) -> str:
    """The loop for four samples of a prompt, as StableHLO."""
    backend = JaxBackend(file, format=weight_format, num_slots=4)
    assert backend._model is not None
    lengths = {"num_samples": 4, "prompt_length": 100, "max_tokens": 100}
    *_, program, _ = _draws(backend._model, backend._end_mask(frozenset()), **lengths)
    traced = draw_many.trace(*program.args, **program.keywords | settings)
    return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_weights_enter_products_as_they_are_stored_and_what_is_summed_is_float32(
    model: GGUFFile, platform: str
) -> None:
    products = [line for line in lowered(model, "bf16", platform).splitlines() if "stablehlo.dot_general" in line]
    of_weights, of_attention = set(), []
    for product in products:
        left, right, result = (each.rpartition("x") for each in TYPES.findall(product)[0])
        assert left[2] == right[2] == "bf16"
        if "batching_dims" in product:
            of_attention.append(result[2])
        else:
            of_weights.add((right[0], result[2]))
    assert (
        of_attention == ["f32"] * 4
    )  # scores and sums, of rows' own stretches and of prompts; layers share a function
    assert (f"{model.config.vocab_size}x256", "f32") in of_weights  # the logits
    assert len(of_weights) == 5


def test_eight_bit_codes_are_widened_for_one_product_each(model: GGUFFile) -> None:
    """A compiler can widen them inside the product; whether it does, memory tells: see `bench/jax_decode.py`."""
    found = set()
    for function in re.split(r"^  func\.func ", lowered(model, "int8"), flags=re.MULTILINE):
        for name, shape in re.findall(
            r"(%\S+) = stablehlo\.convert .*: \(tensor<(\S+)xi8>\) -> tensor<\S+xbf16>", function
        ):
            uses = [line for line in function.splitlines() if re.search(rf"[ (]{name}\b(?! =)", line)]
            assert len(uses) == 1
            assert "stablehlo.dot_general" in uses[0]
            found.add(shape)
    vocab = model.config.vocab_size
    assert found == {"256x2x4x64", "256x256", "256x2x512", "512x256", f"{vocab}x256"}


def test_caches_are_written_in_place(model: GGUFFile) -> None:
    text = lowered(model, "bf16")
    assert text.count("tf.aliasing_output") == 2 * model.config.num_layers
    written = [line for line in text.splitlines() if "stablehlo.scatter" in line and "window_dims = [0, 2]" in line]
    assert written
    assert all("unique_indices = true" in line for line in written)  # no atomic writes


def test_the_loop_with_the_kernel_lowers_for_cuda(model: GGUFFile) -> None:
    assert "__gpu$xla.gpu.triton" in lowered(model, "bf16", kernel="pallas")
