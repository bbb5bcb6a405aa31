"""A Hugging Face folder as it lies: the model that its conversion to GGUF would give, without the file."""

import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lite.errors import ModelError
from lite.models import ModelConfig, TensorInfo
from lite.quant.converted import folder_hash
from lite.quant.folder_json import chat_template
from lite.quant.folder_tokenizer import read_tokenizer
from lite.quant.gguf_config import check_tensors, read_config, rope_divisors
from lite.quant.hf_config import HFConfig, read_hf_config
from lite.quant.hf_tensors import adds_one, tensor_names
from lite.quant.hf_weights import Weights, open_weights
from lite.tokenizer_json import JsonTokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HFFolder", "model_name", "named", "open_hf_folder", "read_settings"]

_Found = TypeVar("_Found")


@contextmanager
def open_hf_folder(path: str | os.PathLike[str]) -> "Iterator[HFFolder]":
    """Map a folder's files and check all but the numbers. Raises ModelError, one line that names what is wrong."""
    folder = Path(path)
    settings = read_settings(folder)
    config = named(folder, "config.json", lambda: read_hf_config(settings))
    with open_weights(folder) as weights:
        names = named(folder, "a weights file", lambda: tensor_names(config, weights.tensors))
        yield named(folder, "config.json", lambda: HFFolder(folder, settings, config, weights, names))


class HFFolder:
    """A checked folder, a `ModelFile`: tensors go by GGUF's names and are read one by one from the mapped files.

    Rotary pairs are halves in it, whatever the architecture.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        config: HFConfig,
        weights: Weights,
        names: Mapping[str, str],
    ) -> None:
        """`names` has the folder's name of each tensor. Raises ModelError, which does not name the folder."""
        self._path = path
        self._settings = settings
        self._hf_config = config
        self._weights = weights
        self._names = names
        self._tensors = {ours: _info(ours, weights, name) for ours, name in names.items()}
        self._config = _model_config(config, self._tensors)

    @property
    def path(self) -> Path:
        return self._path

    @property
    def config(self) -> ModelConfig:
        return self._config

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """By GGUF's names; output.weight is absent when the embeddings are tied."""
        return self._tensors

    @cached_property
    def metadata(self) -> Mapping[str, object]:
        """What a description tells, by GGUF's keys."""
        return {
            "general.name": model_name(self._path),
            "tokenizer.chat_template": named(self._path, "a template", lambda: chat_template(self._path)),
            "tokenizer.ggml.model": "tokenizer.json",
            "tokenizer.ggml.tokens": self.tokenizer.tokens,
        }

    @cached_property
    def tokenizer(self) -> JsonTokenizer:
        """Raises ModelError."""
        return named(self._path, "tokenizer.json", self._read_tokenizer)

    def tensor(self, name: str) -> "NDArray[Any]":
        """Of the type that it has, (out, in) for a matrix; F64 and Gemma's gains become float32.

        It may lie in the mapped file: copy what is to outlive that. KeyError for a name that is not there.
        """
        import numpy as np

        values = self._weights.view(self._names[name])
        with np.errstate(over="ignore"):  # what is no finite float32 is refused where it is read
            if adds_one(self._hf_config, name):
                return values.astype(np.float32) + np.float32(1)
            return values.astype(np.float32) if values.dtype == np.float64 else values

    def content_hash(self) -> str:
        """32 hexadecimal digits that name the content, for caches; see `folder_hash`."""
        return folder_hash(self._path)

    def _read_tokenizer(self) -> JsonTokenizer:
        tokenizer = read_tokenizer(self._path, (self._settings,))
        if len(tokenizer.tokens) > self._config.vocab_size:
            rows = self._config.vocab_size
            raise ModelError(f"tokenizer.json has {len(tokenizer.tokens)} tokens, but the embedding has {rows} rows")
        return tokenizer


def read_settings(folder: Path) -> dict[str, Any]:
    """The content of config.json. Raises ModelError."""
    path = folder / "config.json"
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ModelError(f"cannot read {path}: {reason}; give a folder with a Hugging Face model") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds no JSON object")
    return found


def named(folder: Path, file: str, read: Callable[[], _Found]) -> _Found:
    """Errors with the folder's name before them; a value of a kind that nobody expects damages the file."""
    try:
        return read()
    except ModelError as error:
        raise ModelError(f"{folder}: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise ModelError(f"{folder}: {file} is damaged ({type(error).__name__}: {error}): download it again") from None


def model_name(folder: Path) -> str:
    """The folder's; in Hugging Face's cache, where that is a checksum, the repository's."""
    path = folder.resolve()
    return path.parent.parent.name.rpartition("--")[2] if path.parent.name == "snapshots" else path.name


def _info(ours: str, weights: Weights, name: str) -> TensorInfo:
    stored = weights.tensors[name]
    return TensorInfo(ours, stored.shape, stored.type, stored.start, stored.num_bytes)


def _model_config(config: HFConfig, tensors: Mapping[str, TensorInfo]) -> ModelConfig:
    """As read from the file that the conversion writes, whose numbers are float32; all tensors are checked."""
    keys = {f"{config.architecture}.{name}": _stored(value) for name, value in config.keys.items()}
    metadata = {"general.architecture": config.architecture, **keys}
    found = read_config(metadata, tensors)
    check_tensors(found, tensors)
    factors = config.rope.factors(config.head_dim, config.rope_theta) if config.rope else []
    divisors = rope_divisors(found, metadata, tuple(map(_single, factors)))
    return replace(found, rope_factors=divisors, rope_interleaved=False)


def _stored(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return _single(value) if isinstance(value, float) else value


def _single(number: float) -> float:
    """The float32 that is nearest."""
    return float(struct.unpack("<f", struct.pack("<f", number))[0])
