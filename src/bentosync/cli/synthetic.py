"""A made-up model on disk: valid sharded safetensors whose every byte depends on where it stands.

Each 1 MiB block of a shard's data section starts with the shard's number and the block's number (8 bytes each,
little-endian) and goes on with pseudo-random words that also depend on both, so a block, or any part of one, at the
wrong place differs. One bit of every 16 is cleared, which keeps the bytes from being a NaN or an infinity in any
float type: loaded tensors compare equal to themselves. The demo, the tests and the benchmarks all write with this.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 1 << 20
DTYPES = (("BF16", 2), ("F32", 4), ("F16", 2))
COLUMNS = 64
NEVER_NAN = np.uint64(0xBFFF_BFFF_BFFF_BFFF)
SPREAD = 0x9E37_79B9_7F4A_7C15
"""An odd constant with well mixed bits (2^64 divided by the golden ratio): neighbouring blocks share no words."""


def write_model(
    directory: Path, *, size_bytes: int, shards: int, tensors_per_shard: int = 8, seed: int = 0
) -> list[Path]:
    """Write `config.json` and the shards, with their index when there are several, into an existing `directory`.

    Args:
        directory: Where to write.
        size_bytes: Tensor data in all; each tensor is rounded down to whole 4-byte words, and has at least one.
        shards: Number of safetensors files.
        tensors_per_shard: Tensors in each of them, of alternating types and equal size in bytes.
        seed: Another seed gives other bytes everywhere.

    Returns:
        The shards in order.
    """
    base = _base(seed)
    tensor_bytes = max(4, size_bytes // (shards * tensors_per_shard) // 4 * 4)
    paths: list[Path] = []
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        name = "model.safetensors" if shards == 1 else f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        header = _header(shard, tensors_per_shard, tensor_bytes)
        weight_map |= dict.fromkeys(header, name)
        with (directory / name).open("wb", buffering=0) as file:
            file.write(_encoded(header))
            for piece in _data(base, shard, tensors_per_shard * tensor_bytes):
                file.write(piece)
        paths.append(directory / name)
    if shards > 1:
        total = shards * tensors_per_shard * tensor_bytes
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    config = {"architectures": ["SyntheticModel"], "model_type": "synthetic", "seed": seed}
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return paths


def block_bytes(shard: int, block: int, *, seed: int = 0) -> bytes:
    """The 1 MiB that stands at block `block` of the data section of shard `shard` (both from 0)."""
    return _block(_base(seed), shard, block, np.empty(BLOCK_BYTES // 8, np.uint64)).tobytes()


def _base(seed: int) -> NDArray[np.uint64]:
    return np.frombuffer(Random(seed).randbytes(BLOCK_BYTES), np.uint64)


def _block(base: NDArray[np.uint64], shard: int, block: int, out: NDArray[np.uint64]) -> NDArray[np.uint64]:
    offset = np.uint64(((shard << 32) + block) * SPREAD % 2**64)
    np.add(base, offset, out=out)
    np.bitwise_and(out, NEVER_NAN, out=out)
    out[0], out[1] = shard, block
    return out


def _data(base: NDArray[np.uint64], shard: int, size: int) -> Iterator[memoryview]:
    buffer = np.empty_like(base)
    for block in range(-(-size // BLOCK_BYTES)):
        _block(base, shard, block, buffer)
        yield buffer.data.cast("B")[: size - block * BLOCK_BYTES]


def _header(shard: int, tensors: int, tensor_bytes: int) -> dict[str, dict[str, object]]:
    header: dict[str, dict[str, object]] = {}
    for index in range(tensors):
        dtype, width = DTYPES[index % len(DTYPES)]
        elements = tensor_bytes // width
        shape = [elements // COLUMNS, COLUMNS] if elements % COLUMNS == 0 else [elements]
        begin = index * tensor_bytes
        header[f"model.layers.{shard * tensors + index}.weight"] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [begin, begin + tensor_bytes],
        }
    return header


def _encoded(header: dict[str, dict[str, object]]) -> bytes:
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
