"""A volley on the event loop: every connection of it is a lane.

The next request of a lane goes out in the callback that saw the last reply; one timer looks after all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence

from bentosync.errors import RemoteError
from bentosync.wire.connection import BLOCKED, REFUSAL_BYTES_MAX, Connection, Stale
from bentosync.wire.exchange import Reply
from bentosync.wire.reader import Nowhere, ReplyReader
from bentosync.wire.volley import Result, Volley

_LOOKS = 4


async def fire(volley: Volley, connections: Sequence[Connection], stall_seconds: float) -> None:
    """Send what waits over `connections`, which rest; those that can be used again do so afterwards.

    Returns when nothing waits or every connection has ended. What was sent and not answered waits no more.
    """
    loop = asyncio.get_running_loop()
    waiting = volley.waiting[::-1]
    lanes: list[_Lane] = []
    try:
        for connection in connections:
            with contextlib.suppress(Stale):
                lanes.append(_Lane(volley, waiting, connection, loop))
        for lane in lanes:
            lane.next()
        ends = [lane.ended for lane in lanes]
        while not all(end.done() for end in ends):
            await asyncio.wait(ends, timeout=stall_seconds / _LOOKS)
            for lane in lanes:
                lane.end_if_silent(stall_seconds)
    finally:
        for lane in lanes:
            lane.end(broken=True)


def _wants_nothing(reply: Reply) -> None:
    return None


class _Lane:
    """One connection of a volley. `ended` is done when it will do no more."""

    def __init__(
        self, volley: Volley, waiting: list[int], connection: Connection, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._volley = volley
        self._waiting = waiting
        self._connection = connection
        self._loop = loop
        self._channel = connection.lend(self._readable)
        self._tls = self._channel if isinstance(self._channel, ssl.SSLSocket) else None
        self._unsent = memoryview(b"")
        self._writing = False
        self._index = -1
        self._reader: ReplyReader | None = None
        self._moved_at = loop.time()
        self.ended: asyncio.Future[None] = loop.create_future()

    def next(self) -> None:
        """Send the next request that waits; without one the connection rests again."""
        volley = self._volley
        if not self._waiting:
            self.end(broken=False)
            return
        self._index = index = self._waiting.pop()
        volley.results[index] = Result.UNKNOWN
        self._reader = ReplyReader(
            volley.host, self._connection.scratch, _wants_nothing, Nowhere(),
            collect_max=REFUSAL_BYTES_MAX, bodyless=False,
        )  # fmt: skip
        head, body, _ = volley.messages[index]
        # Such bodies are cheaper to copy than to send by themselves.
        self._unsent = memoryview(head + body)
        self._send()

    def end(self, *, broken: bool) -> None:
        """Give the connection back. Idempotent."""
        if self.ended.done():
            return
        self.ended.set_result(None)
        self._stop_writing()
        if broken:
            self._connection.abort()
        else:
            self._connection.regain()

    def end_if_silent(self, stall_seconds: float) -> None:
        """Give up what has not moved for so long."""
        if self._loop.time() - self._moved_at >= stall_seconds:
            self.end(broken=True)

    def _send(self) -> None:
        if self.ended.done():
            return
        try:
            count = self._channel.send(self._unsent)
        except BLOCKED:
            count = 0
        except OSError:
            self.end(broken=True)
            return
        self._moved_at = self._loop.time()
        self._unsent = self._unsent[count:]
        if not self._unsent:
            self._stop_writing()
        elif not self._writing:
            self._writing = True
            self._loop.add_writer(self._channel.fileno(), self._send)

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._channel.fileno())

    def _readable(self) -> None:
        reader = self._reader
        if self.ended.done() or reader is None:
            return
        try:
            count = self._channel.recv_into(reader.buffer())
            if not count:
                reader.end()
                self.end(broken=True)
            else:
                self._moved_at = self._loop.time()
                reader.filled(count)
            if reader.reply is not None:
                self._answered(reader, reader.reply)
            elif self._tls is not None and self._tls.pending():
                self._loop.call_soon(self._readable)
        except BLOCKED:
            return
        except Exception:
            # Whatever it was: an exchange of its own will say.
            self.end(broken=True)

    def _answered(self, reader: ReplyReader, reply: Reply) -> None:
        echo = self._volley.messages[self._index][2].decode()
        if reply.headers.get(self._volley.echo, echo) != echo:
            raise RemoteError(f"{self._volley.host} sent a reply to another request")
        success = 200 <= reply.status < 300
        self._volley.results[self._index] = Result.SUCCESS if success else Result.REFUSED
        if reader.reusable and not self._unsent and not self.ended.done():
            self.next()
        else:
            self.end(broken=True)
