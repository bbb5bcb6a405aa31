"""The model of the suite in the types of weights that GGUF files have."""

from pathlib import Path

import gguf
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter

from lite.quant.gguf import GGUFFile

__all__ = ["write_as"]

_WRITTEN_BY_ITSELF = "general.architecture"
_LABELS = ("general.file_type", "general.quantization_version")  # of the old types


def write_as(file: GGUFFile, path: Path, weight_type: str) -> Path:
    """Write a model anew with its matrices in another type: F32, F16, BF16, Q8_0, Q4_0."""
    writer = GGUFWriter(path, file.config.architecture)
    _copy_metadata(file.path, writer)
    kind = GGMLQuantizationType[weight_type]
    for name, info in file.tensors.items():
        values = file.tensor(name)
        if len(info.shape) == 2 and kind != GGMLQuantizationType.F32:
            writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _copy_metadata(source: Path, writer: GGUFWriter) -> None:
    for key, field in GGUFReader(source).fields.items():
        if key.startswith("GGUF.") or key == _WRITTEN_BY_ITSELF or key in _LABELS:
            continue
        kind = field.types[0]
        items = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), kind, sub_type=items)
