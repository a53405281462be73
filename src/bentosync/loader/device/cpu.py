"""The CPU as a device: blocks in ordinary memory, which readers may fill without a detour.

Blocks of a few MiB and more come from the kernel and go back to it with their last tensor. While the load goes on a few
of them are used again instead, whatever their size: a caller who drops tensors as they come pays for fresh pages once.
"""

from __future__ import annotations

import mmap
import weakref
from collections import deque
from contextlib import suppress
from typing import Any

import numpy as np

from bentosync.errors import OutOfMemory
from bentosync.loader.device.backend import ALIGN_BYTES, Event, HostMemory
from bentosync.loader.device.block import Block
from bentosync.loader.device.framework import torch
from bentosync.loader.device.host import anonymous, pageable

_LARGE_BYTES = 4 << 20
"""Below this torch's own allocator serves as well and takes no mapping for each."""

_RETURNED_BYTES_MAX = 256 << 20
"""What readers may fill while the caller drops what came before."""


class Done:
    """The event of a device whose copies are done when they return."""

    def query(self) -> bool:
        """Always."""
        return True

    def synchronize(self) -> None:
        """Nothing to wait for."""


class Cpu:
    """Ordinary memory. Copies are done when they return, so events are nothing."""

    name = "cpu"

    def __init__(self) -> None:
        self._allocated = 0
        self._returned = _Returned()

    def __del__(self) -> None:
        self._returned.close()

    def attach(self) -> None:
        """Nothing to do."""

    def allocate(self, size: int) -> Block:
        """`size` bytes; large blocks of this load whose tensors are all gone are used again."""
        try:
            return self._large(size) if size >= _LARGE_BYTES else self._small(size)
        except (OSError, RuntimeError, MemoryError) as error:  # torch raises a RuntimeError when malloc fails
            raise OutOfMemory(
                f"cannot allocate {size} bytes of host memory: {error}",
                hint="free memory, load fewer (tensors=, plan=), or leave out staging to map the files",
            ) from None

    def host(self, size: int, *, pinned: bool) -> HostMemory:
        """Pageable memory: nothing copies from it but CPUs."""
        return pageable(size)

    def release(self, memory: HostMemory, *, keep: bool) -> None:
        """Nothing to do: it goes with its last reference."""

    def copy(self, target: Block, target_offset: int, source: HostMemory, source_offset: int, size: int) -> None:
        """Copy at once."""
        assert target.memory is not None
        # numpy, because torch's copy_ would start a team of OpenMP threads in every reader; both release the GIL.
        np.copyto(
            np.frombuffer(target.memory, np.uint8, size, target_offset),
            np.frombuffer(source.view, np.uint8, size, source_offset),
        )

    def record(self) -> Event:
        """An event that is over."""
        return Done()

    def wait_for(self, event: Event) -> None:
        """Nothing to wait for."""

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def peak_bytes(self) -> int:
        """All blocks together: some may have been freed, or used again, before others were there."""
        return self._allocated

    def _small(self, size: int) -> Block:
        memory = torch.empty(size + ALIGN_BYTES, dtype=torch.uint8)
        self._allocated += size
        start = -memory.data_ptr() % ALIGN_BYTES
        tensor = memory[start : start + size]
        return Block(tensor, tensor.numpy().data)

    def _large(self, size: int) -> Block:
        memory, warm_bytes = self._returned.take(size) or (anonymous(size), 0)
        self._allocated += max(0, size - warm_bytes)
        # torch keeps the array alive as long as a tensor lies in it, and the array the mapping: its end is theirs.
        array = np.frombuffer(memory, np.uint8)
        self._returned.watch(array, memory)
        return Block(torch.from_numpy(array)[:size], array.data[:size], fresh=warm_bytes < size)


class _Returned:
    """Mappings whose tensors are all gone, for the rest of a load. Any thread may be the one that drops the last."""

    def __init__(self) -> None:
        self._idle: deque[mmap.mmap] = deque()
        self._watched: dict[int, weakref.ref[Any]] = {}
        self._closed = False

    def watch(self, array: Any, memory: mmap.mmap) -> None:
        """Take `memory` back when `array`, through which it is used, is gone."""

        def gone(_: object) -> None:
            self._watched.pop(id(memory), None)
            # Only operations of the interpreter that are atomic: this may run anywhere, even inside `take`.
            if not self._closed and sum(map(len, tuple(self._idle))) + len(memory) <= _RETURNED_BYTES_MAX:
                self._idle.append(memory)

        self._watched[id(memory)] = weakref.ref(array, gone)

    def take(self, size: int) -> tuple[mmap.mmap, int] | None:
        """One of at least `size` bytes, and how many of them had pages before; None if there is none."""
        while idle := tuple(reversed(tuple(self._idle))):  # what was used last is still in the cache
            fitting = [memory for memory in idle if size <= len(memory) <= 2 * size]
            memory = min(fitting, key=len) if fitting else max(idle, key=len)
            try:
                self._idle.remove(memory)
            except ValueError:
                continue  # another reader was faster
            had_bytes = len(memory)
            if fitting:
                return memory, had_bytes
            with suppress(BufferError, OSError, SystemError):  # still being given back, no room, no such call
                memory.resize(size)  # its pages move along
                return memory, had_bytes
        return None

    def close(self) -> None:
        """Keep nothing any more."""
        self._closed = True
        self._idle.clear()
