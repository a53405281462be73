"""Buffers that are used again and again: memory is bounded, and a warm buffer costs no page faults.

One pool holds the buffers of a whole operation, whatever their sizes, so that its bound is the operation's. Buffers
that nobody has are kept for the next of their size; if another size needs the room they go back to the system.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_HUGE_BYTES = 2 << 20


class BufferPool:
    """At most `memory_bytes` of buffers; one at least, however large. Belongs to one event loop.

    `held_bytes` is the memory of all buffers, leased or kept. A buffer is leased to one owner at a time. It goes back
    when the lease ends, which by the wire's contract is after its last writer let go. Who waits is served in turn, so
    that a large buffer is not overtaken for ever by small ones; an owner of one buffer must not wait for another.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._leased_bytes = 0  # those whose turn it is included
        self.held_bytes = 0
        self._free: list[memoryview] = []
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

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
        if self._waiting or not self._fits(buffer_bytes):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            entry = (buffer_bytes, turn)
            self._waiting.append(entry)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leased_bytes -= buffer_bytes  # its turn came in the same moment
                with contextlib.suppress(ValueError):
                    self._waiting.remove(entry)
                self._serve()
                raise
        else:
            self._leased_bytes += buffer_bytes
        return self._buffer(buffer_bytes)

    def give(self, buffer: memoryview) -> None:
        """End a lease. The last buffer returned is the first to go out again: its pages are warm."""
        self._leased_bytes -= len(buffer)
        self._free.append(buffer)
        self._serve()

    def _fits(self, buffer_bytes: int) -> bool:
        return self._leased_bytes == 0 or self._leased_bytes + buffer_bytes <= self._memory_bytes

    def _serve(self) -> None:
        """Whose turn it is gets the room at once; the buffer itself follows when it wakes."""
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._leased_bytes += size
                turn.set_result(None)

    def _buffer(self, size: int) -> memoryview:
        for index in range(len(self._free) - 1, -1, -1):
            if len(self._free[index]) == size:
                return self._free.pop(index)
        while self._free and self._leased_bytes + sum(map(len, self._free)) > self._memory_bytes:
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
