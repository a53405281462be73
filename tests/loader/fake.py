"""A device that copies as late as it may, and fails where it is told to.

A copy happens when somebody waits for an event after it, not before: bytes are taken from the slot as it is then. So a
slot that is reused too early, or a tensor that is handed out too early, shows as wrong bytes, on every run and
without a clock. Fresh blocks are poisoned.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import torch

from bentosync.errors import OutOfMemory
from bentosync.loader.device import Block, HostMemory, PinRefused, pageable

POISON = 0xA5


class FakeEvent:
    def __init__(self, device: FakeDevice, copies: int) -> None:
        self._device = device
        self._copies = copies

    def query(self) -> bool:
        return self._device.copied >= self._copies

    def synchronize(self) -> None:
        self._device.run(self._copies)


class FakeDevice:
    """`fail` maps an operation ("allocate", "copy", "host") to the call (from 1) that fails, and every later one."""

    name = "fake:0"

    def __init__(self, *, fail: dict[str, int] | None = None, on_copy: Callable[[], None] = lambda: None) -> None:
        self._fail = fail or {}
        self._on_copy = on_copy
        self._lock = threading.RLock()
        self._calls: dict[str, int] = {}
        self._queue: list[tuple[Any, ...]] = []
        self.copied = 0
        self.blocks: list[weakref.ref[torch.UntypedStorage]] = []
        self.block_bytes: list[int] = []
        self.hosts: list[HostMemory] = []
        self.kept = 0
        self.attached: set[int] = set()
        self.most_alive_bytes = 0

    def attach(self) -> None:
        with self._lock:
            self.attached.add(threading.get_ident())

    def allocate(self, size: int) -> Block:
        with self._lock:
            if size and self._fails("allocate"):
                raise OutOfMemory(f"fake:0 has no room for {size} bytes more")
            tensor = torch.full((size + 256,), POISON, dtype=torch.uint8)
            start = -tensor.data_ptr() % 256
            block = Block(tensor[start : start + size])
            if size:
                self.blocks.append(weakref.ref(tensor.untyped_storage()))
                self.block_bytes.append(size)
                self.most_alive_bytes = max(self.most_alive_bytes, self.alive_bytes())
            return block

    def host(self, size: int, *, pinned: bool) -> HostMemory:
        with self._lock:
            if pinned and self._fails("host"):
                raise PinRefused("RLIMIT_MEMLOCK")
            memory = pageable(size)
            memory = HostMemory(memory.view, memory.tensor, pinned=pinned)
            self.hosts.append(memory)
            return memory

    def release(self, memory: HostMemory, *, keep: bool) -> None:
        with self._lock:
            self.hosts.remove(memory)
            self.kept += keep

    def copy(self, target: Block, target_offset: int, source: HostMemory, source_offset: int, size: int) -> None:
        self._on_copy()
        with self._lock:
            assert threading.get_ident() in self.attached
            if self._fails("copy"):
                raise RuntimeError("the device fell off the bus")
            self._queue.append((target, target_offset, source, source_offset, size))

    def record(self) -> FakeEvent:
        with self._lock:
            return FakeEvent(self, self.copied + len(self._queue))

    def wait_for(self, event: Any) -> None:
        event.synchronize()

    def synchronize(self) -> None:
        self.record().synchronize()

    def peak_bytes(self) -> int:
        return sum(self.block_bytes)

    def run(self, until: int) -> None:
        with self._lock:
            while self.copied < until:
                target, target_offset, source, source_offset, size = self._queue.pop(0)
                target.tensor[target_offset : target_offset + size] = source.tensor[
                    source_offset : source_offset + size
                ]
                self.copied += 1

    def alive_bytes(self) -> int:
        return sum(size for size, block in zip(self.block_bytes, self.blocks, strict=True) if block() is not None)

    def _fails(self, operation: str) -> bool:
        self._calls[operation] = self._calls.get(operation, 0) + 1
        return self._calls[operation] >= self._fail.get(operation, 1 << 60)
