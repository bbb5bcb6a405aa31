"""GGUF files of Hugging Face folders, converted once and kept in the cache.

An entry is named by what the folder's files hold: the small ones are read whole, of weights the header, the size and
the time of the last change count.
"""

import hashlib
import logging
import os
import shutil
import struct
from contextlib import suppress
from pathlib import Path

from lite.config import converted_folder
from lite.errors import BackendError

__all__ = ["folder_hash", "gguf_of_folder", "input_files", "is_hf_folder"]

_VERSION = 1  # of the conversion; raise it when it writes other files
_LIMIT = 64 << 30  # bytes of all entries; the least recently used go first
_HEADER_BYTES = 1 << 20  # of a weights file
_SETTINGS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
)

_log = logging.getLogger(__name__)


def is_hf_folder(path: str | os.PathLike[str]) -> bool:
    """Whether it is a folder with weights and a configuration as Hugging Face has them."""
    folder = Path(path)
    with suppress(OSError, ValueError):
        return (folder / "config.json").is_file() and any(folder.glob("model*.safetensors"))
    return False


def input_files(folder: Path) -> list[Path]:
    """What the conversion reads of a folder. Raises ModelError for weights that are missing."""
    from lite.quant.hf_weights import weight_files

    return [path for path in (folder / name for name in _SETTINGS) if path.is_file()] + weight_files(folder)


def gguf_of_folder(folder: Path) -> Path:
    """The folder's model as a GGUF file with the weights' own types.

    Raises ModelError for a folder that cannot be converted, UsageError without room for the file, and BackendError
    where the cache cannot be written.
    """
    from lite.quant.convert import convert
    from lite.quant.hf_folder import model_name

    try:
        entry = converted_folder() / folder_hash(folder) / f"{model_name(folder)}.gguf"
        if not entry.exists():
            entry.parent.mkdir(parents=True, exist_ok=True)
            _log.info("converting %s to %s", folder, entry)
            convert(folder, entry, force=True)
            _prune(entry.parent)
        with suppress(OSError):  # a read-only cache still serves
            os.utime(entry.parent)
    except OSError as error:
        raise BackendError(
            f"cannot keep the converted model in {converted_folder()} ({error.strerror}): set LITE_CACHE_DIR to"
            " a folder that can be written, or convert it with `lite convert`"
        ) from None
    return entry


def folder_hash(folder: Path) -> str:
    """32 hexadecimal digits that name the content. Raises ModelError for weights that are missing."""
    from lite.quant.hf_weights import weight_files

    digest = hashlib.blake2b(str(_VERSION).encode(), digest_size=16)
    for path in (folder / name for name in _SETTINGS):
        if path.is_file():
            digest.update(path.name.encode() + hashlib.blake2b(path.read_bytes()).digest())
    for path in weight_files(folder):
        status = path.stat()
        digest.update(path.name.encode() + struct.pack("<Qq", status.st_size, status.st_mtime_ns))
        with open(path, "rb") as file:
            digest.update(file.read(_HEADER_BYTES))
    return digest.hexdigest()


def _prune(keep: Path) -> None:
    """Delete the least recently used entries beyond the limit; what another process is about to write has no size."""
    with suppress(OSError):
        entries = [(path.stat().st_mtime, path) for path in keep.parent.iterdir() if path != keep]
        room = _LIMIT - _num_bytes(keep)
        for _, path in sorted(entries, reverse=True):
            room -= _num_bytes(path)
            if room < 0:
                shutil.rmtree(path, ignore_errors=True)


def _num_bytes(entry: Path) -> int:
    return sum(path.stat().st_size for path in entry.iterdir())
