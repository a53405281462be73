"""A request body made of buffers the caller owns: sent slice by slice, never joined, never after the call's end.

aiohttp runs the body writer as a task of its own, times out only its reads, and cancels that task without waiting for
it. Hence four measures here: every slice has its own stall time; the transport's buffer is kept empty, so that a
written slice has left our memory for the kernel's; the body counts as sent, and the wait for the reply begins, only
when the kernel has little of it left (a slow line may need a minute for the megabytes that it takes at once); and
`let_go` drops the transport at once, so that nothing can read the buffers after the exchange has returned.
"""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from collections.abc import Iterator, Sequence

from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter

from bentosync.wire.rate import Limiter

SLICE_BYTES = 256 << 10
_UNACKNOWLEDGED_BYTES_MAX = 256 << 10
_POLL_SECONDS = 0.01


class Buffers(Payload):
    """`buffers` one after the other, with their total as Content-Length."""

    def __init__(self, buffers: Sequence[memoryview], *, stall_seconds: float, limiter: Limiter) -> None:
        super().__init__(buffers)
        self._limiter = limiter
        self._buffers = buffers
        self._stall_seconds = stall_seconds
        self._size = sum(buffer.nbytes for buffer in buffers)
        self._transport: asyncio.WriteTransport | None = None
        self._sent = False

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Called by aiohttp, once a connection; again if a pooled connection turned out to be dead."""
        self._sent = False
        transport = self._transport = writer.transport
        if transport is None:
            raise ConnectionResetError("the connection was closed before the body was sent")
        # asyncio's TLS transport pauses at its limit, not above it: with 0 it would pause empty, and never go on.
        transport.set_write_buffer_limits(high=1 if transport.get_extra_info("ssl_object") else 0)
        for piece in self._slices():
            async with asyncio.timeout(self._stall_seconds):
                await writer.write(piece)
            await self._limiter.passed(len(piece))
        async with asyncio.timeout(self._stall_seconds):
            await writer.drain()
        await self._leave_the_kernel(transport)
        self._sent = True

    async def _leave_the_kernel(self, transport: asyncio.WriteTransport) -> None:
        left = _unacknowledged(transport)
        while left > _UNACKNOWLEDGED_BYTES_MAX:
            before = left
            async with asyncio.timeout(self._stall_seconds):
                while (left := _unacknowledged(transport)) >= before > 0:
                    await asyncio.sleep(_POLL_SECONDS)

    def let_go(self) -> None:
        """Make sure that nothing reads the buffers any more; an unfinished body costs the connection."""
        if self._transport is not None and not self._sent:
            self._transport.abort()

    def drop(self) -> None:
        """Close the connection the body was sent on, even if aiohttp has it back in its pool already."""
        if self._transport is not None:
            self._transport.abort()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Bodies are bytes; aiohttp asks only when it logs."""
        raise TypeError("a body of buffers is not text")

    def _slices(self) -> Iterator[memoryview]:
        for buffer in self._buffers:
            view = buffer.cast("B")
            for begin in range(0, len(view), SLICE_BYTES):
                yield view[begin : begin + SLICE_BYTES]


def _unacknowledged(transport: asyncio.WriteTransport) -> int:
    """Bytes that the kernel took and the other side has not; 0 where that cannot be asked, or the socket is gone."""
    socket = transport.get_extra_info("socket")
    try:
        return struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]  # type: ignore[no-any-return]
    except (OSError, AttributeError):
        return 0
