"""Buffers that are used again and again: memory is bounded, and a warm buffer costs no page faults."""

from __future__ import annotations

import asyncio
import mmap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class BufferPool:
    """At most `memory_bytes` of buffers of `buffer_bytes` each (one at least). Belongs to one event loop.

    A buffer is leased to one owner at a time. It goes back when the lease ends, which by the wire's contract is after
    its last writer let go.
    """

    def __init__(self, buffer_bytes: int, memory_bytes: int) -> None:
        self.buffer_bytes = buffer_bytes
        self.buffers_max = max(1, memory_bytes // buffer_bytes)
        self._free: list[memoryview] = []
        self._permits = asyncio.Semaphore(self.buffers_max)

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[memoryview]:
        """A buffer of `buffer_bytes`; waits while all are out."""
        buffer = await self.take()
        try:
            yield buffer
        finally:
            self.give(buffer)

    async def take(self) -> memoryview:
        """Like `lease`, for owners whose use does not nest; pair with `give`."""
        await self._permits.acquire()
        # An anonymous map is page-aligned and goes back to the system when dropped, unlike a large bytearray.
        return self._free.pop() if self._free else memoryview(mmap.mmap(-1, self.buffer_bytes))

    def give(self, buffer: memoryview) -> None:
        """End a lease. The last buffer returned is the first to go out again: its pages are warm."""
        self._free.append(buffer)
        self._permits.release()
