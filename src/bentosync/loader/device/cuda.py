"""One CUDA device.

What torch promises about streams, and how it is kept here:

- A block of torch's caching allocator belongs to the stream that was current when it was allocated, and is handed out
  again as soon as it is freed, to work on that stream. So blocks are allocated on the caller's stream, the copies first
  wait for what that stream still does with recycled memory, and the caller's stream waits for the copies before a
  tensor is handed out: whatever is freed later is freed in the order of that one stream. As with any tensor of torch,
  who uses one on yet another stream says so to the allocator (`Tensor.record_stream`).
- The current device and stream are each thread's own, and a thread begins at device 0. A reader sets both once
  (`attach`): else its first call would make a context, half a GiB, on a device that nobody asked for.
- Events sleep when they are waited for (`blocking=True`); by default a waiting thread spins, and readers are many.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from functools import cache

from bentosync.errors import OutOfMemory
from bentosync.loader.device.backend import Event, HostMemory, PinRefused
from bentosync.loader.device.block import Block
from bentosync.loader.device.framework import torch
from bentosync.loader.device.host import anonymous, pageable, populate, staging, touch
from bentosync.loader.device.pinned import PinnedPool

_PORTABLE = 1
"""cudaHostRegisterPortable: pinned for every device of the process, not only for the one that was current."""


class Cuda:
    """Copies on a stream of their own, memory from torch's caching allocator on the caller's stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.name = str(device)
        self._caller = torch.cuda.current_stream(device)
        self._stream = torch.cuda.Stream(device)
        self._before = torch.cuda.memory_allocated(device)
        self._peak = 0

    def attach(self) -> None:
        """The thread's device is this one, its stream that of the copies."""
        torch.cuda.set_device(self._device)
        torch.cuda.set_stream(self._stream)

    def allocate(self, size: int) -> Block:
        """A block on the caller's stream; copies that are started later wait for what that stream does now."""
        try:
            with torch.cuda.stream(self._caller):
                tensor = torch.empty(size, dtype=torch.uint8, device=self._device)
        except torch.cuda.OutOfMemoryError:
            free, total = torch.cuda.mem_get_info(self._device)
            raise OutOfMemory(
                f"{self.name} has no room for {size} bytes more: {free} of {total} bytes are free",
                hint="free tensors, load fewer (tensors=, plan=), or another device",
            ) from None
        ready = torch.cuda.Event()
        ready.record(self._caller)
        self._stream.wait_event(ready)
        self._peak = max(self._peak, torch.cuda.memory_allocated(self._device) - self._before)
        return Block(tensor)

    def host(self, size: int, *, pinned: bool) -> HostMemory:
        """Pinned memory from the process's pool, or pageable memory."""
        return _pool().take(size) if pinned else pageable(size)

    def release(self, memory: HostMemory, *, keep: bool) -> None:
        """Give pinned memory back to the pool."""
        if memory.pinned:
            _pool().give(memory, keep=keep)

    def copy(self, target: Block, target_offset: int, source: HostMemory, source_offset: int, size: int) -> None:
        """Start a copy on the stream of this thread (see `attach`); asynchronous from pinned memory only."""
        target.tensor[target_offset : target_offset + size].copy_(
            source.tensor[source_offset : source_offset + size], non_blocking=True
        )

    def record(self) -> Event:
        """An event on the stream of the copies."""
        event = torch.cuda.Event(blocking=True)
        event.record(self._stream)
        return event  # type: ignore[no-any-return]

    def wait_for(self, event: Event) -> None:
        """The calling thread's current stream goes on after `event`."""
        torch.cuda.current_stream(self._device).wait_event(event)

    def synchronize(self) -> None:
        """Wait for the stream of the copies."""
        self._stream.synchronize()

    def peak_bytes(self) -> int:
        """As torch counts it; what other threads allocated meanwhile is in it."""
        return self._peak


@cache
def _pool() -> PinnedPool:
    """The process's own: pinned memory is the machine's, and outlives the load that paid for it."""
    return PinnedPool(_pin, _unpin)


# CUDA does not survive a fork, and a lock that another thread held would never be free again in the child.
os.register_at_fork(after_in_child=_pool.cache_clear)


def _pin(size: int) -> HostMemory:
    try:
        pages = anonymous(size)
        # A child must not share these pages: a write of ours could then go to a copy that the device never reads.
        pages.madvise(mmap.MADV_DONTFORK)
        memory = staging(pages, pinned=True)
        populate(memory.tensor.data_ptr(), size)
        touch(memory)
    except (OSError, MemoryError) as error:
        raise PinRefused(f"no {size >> 20} MiB of host memory: {error}") from None
    status = int(torch.cuda.cudart().cudaHostRegister(memory.tensor.data_ptr(), size, _PORTABLE))
    if status != 0:
        _forget_error()
        raise PinRefused(f"cudaHostRegister refused {size >> 20} MiB: CUDA error {status}")
    return memory


def _unpin(memory: HostMemory) -> None:
    torch.cuda.cudart().cudaHostUnregister(memory.tensor.data_ptr())


def _forget_error() -> None:
    """The runtime keeps the last error until somebody asks; torch would report it as the next kernel's own."""
    with suppress(RuntimeError):
        torch.zeros(1, device="cuda")
