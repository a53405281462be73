"""Checkpoints for `bench_load`: random bytes that differ at every place of every file, no zeros, nothing sparse."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

_CHUNK_BYTES = 8 << 20


@dataclass(frozen=True)
class Checkpoint:
    """`shards` files of `shard_bytes` each, with `tensors` tensors in all."""

    name: str
    shards: int
    shard_bytes: int
    tensors: int


def checkpoints(scale: float) -> list[Checkpoint]:
    """L: few large tensors. M: as many as a mixture of experts has. S: fixed costs show."""
    return [
        Checkpoint("L", 4, int(5e9 * scale), 300),
        Checkpoint("M", 4, int(4e9 * scale), 19_000),
        Checkpoint("S", 1, int(5e8 * scale), 60),
    ]


def generate(checkpoint: Checkpoint, folder: Path) -> list[Path]:
    """Its files, made unless they are there already."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for shard in range(checkpoint.shards):
        path = folder / f"model-{shard + 1:05}-of-{checkpoint.shards:05}.safetensors"
        per_shard = checkpoint.tensors // checkpoint.shards
        width = checkpoint.shard_bytes // per_shard // 2 // 64 * 64
        header = {
            f"model.layers.{n // 100}.experts.{n % 100}.{shard}.weight": {
                "dtype": "BF16",
                "shape": [width // 64, 64],
                "data_offsets": [n * width * 2, (n + 1) * width * 2],
            }
            for n in range(per_shard)
        }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        size = per_shard * width * 2
        if not path.exists() or path.stat().st_size != 8 + len(text) + size:
            _write(path, text, size, shard)
        files.append(path)
    return files


def _write(path: Path, header: bytes, size: int, shard: int) -> None:
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for chunk in range(-(-size // _CHUNK_BYTES)):
            length = min(_CHUNK_BYTES, size - chunk * _CHUNK_BYTES)
            file.write(np.random.default_rng((shard, chunk)).bytes(length))
        file.flush()
        os.fsync(file.fileno())


def digest_of_files(files: Iterable[Path]) -> str:
    """What every arm's tensors must hash to, computed without any loader."""
    entries = []
    for path in files:
        data = np.memmap(path, dtype=np.uint8, mode="r")
        start = 8 + int.from_bytes(data[:8].tobytes(), "little")
        for name, spec in json.loads(data[8:start].tobytes()).items():
            begin, end = spec["data_offsets"]
            entries.append(name + xxhash.xxh3_64_hexdigest(data[start + begin : start + end]))
    return xxhash.xxh3_64_hexdigest("".join(sorted(entries)).encode())


def digest_of_tensors(tensors: dict[str, Any]) -> str:
    """The same of tensors, wherever they are."""
    import torch

    def digest(tensor: Any) -> str:
        return xxhash.xxh3_64_hexdigest(tensor.cpu().contiguous().view(torch.uint8).numpy())

    return xxhash.xxh3_64_hexdigest("".join(sorted(name + digest(t) for name, t in tensors.items())).encode())


def set_state(files: Iterable[Path], state: str) -> None:
    """Have the files in the page cache (`warm`) or out of it (`cold`)."""
    memory = bytearray(_CHUNK_BYTES)
    for path in files:
        with path.open("rb", buffering=0) as file:
            if state == "cold":
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                while file.readinto(memory):
                    pass
