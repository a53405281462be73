"""Weight files written by hand, byte by byte, so that tests may also make what no writer would."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np

from bentosync.formats.safetensors import DTYPE_BITS


def payload(name: str, size: int) -> bytes:
    """Bytes that no other tensor and no other place has."""
    return np.random.default_rng(crc32(name.encode())).bytes(size)


def size_of(dtype: str, shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * DTYPE_BITS[dtype] // 8


def write(
    path: Path,
    tensors: Mapping[str, tuple[str, Sequence[int]]],
    *,
    metadata: Mapping[str, str] | None = None,
    shift: int = 0,
) -> Path:
    """A file with these tensors, in this order; the data section starts `shift` bytes past a multiple of 8."""
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    offset, data = 0, []
    for name, (dtype, shape) in tensors.items():
        size = size_of(dtype, shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        # A bool is 0 or 1; anything else is undefined in torch, not in the file.
        data.append(bytes(b & 1 for b in payload(name, size)) if dtype == "BOOL" else payload(name, size))
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8 + shift)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data))
    return path


def write_index(path: Path, weight_map: Mapping[str, str]) -> Path:
    path.write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": dict(weight_map)}))
    return path
