"""Buffers that are used again and again: memory is bounded, and a warm buffer costs no page faults.

One pool holds all buffers of the operations that share it, whatever their sizes, so that its bound is that of the
process. Buffers that nobody has are kept for the next of their size; if another size needs the room they go back to the
system, and so do all of them when the last operation has ended.
"""

from __future__ import annotations

import contextlib
import mmap
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from bentosync.commons import Commons
from bentosync.transfer.room import Room

_HUGE_BYTES = 2 << 20


class BufferPool:
    """At most `memory_bytes` of buffers; one at least, however large. Every method may be called from any thread.

    `held_bytes` is the memory of all buffers, leased or kept. A buffer is leased to one owner at a time. It goes back
    when the lease ends, which by the wire's contract is after its last writer let go. An owner of one buffer must not
    wait for another.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._room = Room(memory_bytes)
        self._lock = threading.Lock()  # guards everything below
        self.held_bytes = 0
        self._free: list[memoryview] = []

    def count(self, buffer_bytes: int) -> int:
        """How many buffers of that size can be out at once."""
        return max(1, self._memory_bytes // buffer_bytes)

    @asynccontextmanager
    async def lease(self, buffer_bytes: int) -> AsyncIterator[memoryview]:
        """A buffer of that size; waits while there is no room."""
        buffer = await self.take(buffer_bytes)
        try:
            yield buffer
        finally:
            self.give(buffer)

    async def take(self, buffer_bytes: int) -> memoryview:
        """Like `lease`, for owners whose use does not nest; pair with `give`."""
        await self._room.take(buffer_bytes)
        try:
            with self._lock:
                return self._buffer(buffer_bytes)
        except BaseException:
            self._room.give(buffer_bytes)
            raise

    def give(self, buffer: memoryview) -> None:
        """End a lease. The last buffer returned is the first to go out again: its pages are warm."""
        with self._lock:
            self._free.append(buffer)
        self._room.give(len(buffer))

    def _buffer(self, size: int) -> memoryview:
        for index in range(len(self._free) - 1, -1, -1):
            if len(self._free[index]) == size:
                return self._free.pop(index)
        while self._free and self._room.taken + sum(map(len, self._free)) > self._memory_bytes:
            self.held_bytes -= len(self._free.pop(0))
        self.held_bytes += size
        return memoryview(_pages(size))


def _pages(size: int) -> mmap.mmap:
    """Memory that is page-aligned and goes back to the system when dropped, unlike a large bytearray.

    Private, because Python's default of a shared map is a file of the kernel's: that has no huge pages, and touching it
    for the first time costs twice as much.
    """
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= _HUGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


@cache
def _pools() -> Commons[int, BufferPool]:
    return Commons(BufferPool)


def shared_pool(memory_bytes: int) -> BufferPool:
    """The pool of the process for that much memory: operations that were given this bound share it."""
    return _pools().of(memory_bytes)
