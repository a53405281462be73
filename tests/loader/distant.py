"""A version on a fault server, loaded into an empty store; what came of it is compared byte by byte."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace

from bentosync import aio
from bentosync.loader.distant import Distant, open_distant
from bentosync.loader.load import iter_tensors, load_to_device
from bentosync.loader.options import Options
from bentosync.loader.selection import select
from bentosync.loader.stream import LoadedTensors, TensorStream
from bentosync.settings import Settings
from bentosync.store.store import Store
from tests.faults.bench import TRANSFER, settings
from tests.loader.weights import payload, size_of, write, write_index
from tests.servers.faulty.server import FaultyS3

MIB = 1 << 20
Shapes = Mapping[str, tuple[str, tuple[int, ...]]]

LAYERS: Shapes = {f"layer.{number}": ("F32", (256, 1024)) for number in range(22)}
WEIGHTS: Mapping[str, Shapes] = {
    "model-1.safetensors": {"odd": ("U8", (777,)), "none": ("F32", (0,))} | dict(list(LAYERS.items())[:11]),
    "model-2.safetensors": dict(list(LAYERS.items())[11:]) | {"last": ("BF16", (7, 3))},
}
"""Two shards of eleven tensors of 1 MiB, everything in the first one misaligned, and some of odd sizes."""
FILES = {"config.json": b"{}\n", "tokenizer.json": payload("tokenizer", 300_000)}
WEIGHT_BYTES = 22 * MIB + 777 + 42


def write_version(folder: Path, weights: Mapping[str, Shapes], files: Mapping[str, bytes]) -> None:
    """Shards, their index, and other files."""
    for name, tensors in weights.items():
        write(folder / name, tensors)
    names = {tensor: name for name, tensors in weights.items() for tensor in tensors}
    if len(weights) > 1:
        write_index(folder / "model.safetensors.index.json", names)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def true_bytes(name: str) -> bytes:
    """What tensor `name` must hold."""
    dtype, shape = next(tensors[name] for tensors in WEIGHTS.values() if name in tensors)
    return payload(name, size_of(dtype, shape))


def bytes_of(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def wrong(tensors: Iterable[tuple[str, torch.Tensor]]) -> list[str]:
    """Names of tensors that hold other bytes than they should."""
    return [name for name, tensor in tensors if bytes_of(tensor) != true_bytes(name)]


@dataclass
class Distance:
    """The server, the home the versions were published from, and the home they are loaded into."""

    server: FaultyS3
    publisher: Path
    home: Path

    def settings(self, **transfer: Any) -> Settings:
        return settings(self.home, self.server.url, transfer=replace(TRANSFER, **transfer))

    def load(self, ref: str = "m:v1", device: Any = "cpu", **options: Any) -> LoadedTensors:
        return load_to_device(ref, device, **({"settings": self.settings()} | options))

    def stream(self, ref: str = "m:v1", device: Any = "cpu", **options: Any) -> TensorStream:
        return iter_tensors(ref, device, **({"settings": self.settings()} | options))

    def onto(self, device: Any, ref: str = "m:v1", **options: Any) -> TensorStream:
        """A load onto a backend of the test's own."""
        asked = Options(device="cpu", settings=self.settings(), **options)
        opened = open_distant(ref, asked, backend=device)
        assert isinstance(opened, Distant)
        wanted = select(opened.checkpoint.headers, asked.tensors, asked.plan)
        return TensorStream(opened, wanted, began=0.0, closes=True)

    def push(self, tag: str, weights: Mapping[str, Shapes], files: Mapping[str, bytes] = FILES) -> None:
        """One more version on the server, from a store that is used for nothing else."""
        store = Store(self.home.with_name("writer"))
        with store.create(tag) as model:
            write_version(Path(model.path), weights, files)
        asyncio.run(aio.push(tag, settings=settings(store.home, self.server.url)))
        self.server.forget()

    def pull(self, tag: str = "m:v1") -> None:
        asyncio.run(aio.pull(tag, settings=self.settings()))

    @property
    def versions(self) -> list[str]:
        return [str(model.tag) for model in Store(self.home).list()] if self.home.exists() else []

    @property
    def sent_bytes(self) -> int:
        """Bodies of everything the server was asked for."""
        return self.server.sent_bytes["GetObject"]

    def asked(self, part: str) -> int:
        """Requests for keys that hold `part`."""
        return sum(call.operation == "GetObject" and part in call.key for call in self.server.calls)

    def same_trees(self, tag: str = "m/v1") -> bool:
        """Whether the version here is the publisher's, file for file."""
        mine, theirs = (_tree(home / "models" / tag) for home in (self.home, self.publisher))
        return bool(mine) and mine == theirs


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))
