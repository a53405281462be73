"""One HTTP/1.1 connection whose response bodies land in memory that the caller owns.

`asyncio.BufferedProtocol` asks where to put the next bytes before it reads them. During a body that is the sink's own
buffer, so the kernel's copy out of the socket is the only one: no `bytes`, no join. Heads go into a small buffer of the
connection; what came behind a head belongs to the body and is copied over, at most once a response.

Everything happens on the event loop's thread. Once an exchange has ended, by whatever way, `_exchange` is None and
bytes that still arrive find a connection that is closed: nothing can reach the sink any more.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bentosync.errors import NetworkError, RemoteError
from bentosync.wire import head
from bentosync.wire.exchange import Judge, Reply, Sink
from bentosync.wire.faults import translate

REFUSAL_BYTES_MAX = 1 << 20
_INTERIM_MAX = 100


class NotPlain(Exception):
    """The reply is HTTP, but not framed by a Content-Length; nothing of it was shown to judge or sink."""


class Unheard(NetworkError):
    """The connection was closed before a byte of the reply came; a pooled one may just have been too old."""


@dataclass(slots=True)
class _Exchange:
    """A request that waits for its reply.

    `left` counts the body bytes still to come; None until the head was judged. `beyond` is how many bytes the reply has
    more (or, negative, less) than the judge wants.
    """

    judge: Judge
    sink: Sink
    done: asyncio.Future[Reply]
    reply: Reply | None = None
    left: int | None = None
    beyond: int = 0
    keep: bool = False
    interim: int = 0


class _Refusal:
    """Collects the body of a reply that the judge did not want."""

    def __init__(self, length: int) -> None:
        self.memory = bytearray(length)
        self._filled = 0

    def buffer(self) -> memoryview:
        return memoryview(self.memory)[self._filled :]

    def filled(self, count: int) -> None:
        self._filled += count


class Connection(asyncio.BufferedProtocol):
    """Made by `loop.create_connection`; one exchange at a time."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._head = bytearray(head.HEAD_BYTES_MAX)
        self._head_filled = 0
        self._exchange: _Exchange | None = None
        self._moved_at = self._loop.time()
        self._watchdog: asyncio.TimerHandle | None = None
        self.idle_since = self._moved_at

    @property
    def usable(self) -> bool:
        """Whether another request may be sent on it."""
        return self._transport is not None and not self._transport.is_closing() and self._exchange is None

    async def exchange(self, request: bytes, judge: Judge, sink: Sink, *, stall_seconds: float) -> Reply:
        """Send a request head and receive its reply; as `Wire.receive`.

        Raises:
            NotPlain: Let another client have this exchange.
        """
        if self._transport is None:
            raise Unheard(f"{self._host} closed the connection before it was used")
        exchange = self._exchange = _Exchange(judge, sink, self._loop.create_future())
        self._head_filled = 0
        self._moved_at = self._loop.time()
        self._watch(stall_seconds)
        self._transport.write(request)
        try:
            reply = await exchange.done
        except BaseException:
            self.abort()
            raise
        self._forget()
        if not exchange.keep:
            self.abort()
        return reply

    def abort(self) -> None:
        """Close the socket now. Idempotent."""
        self._forget()
        if self._transport is not None:
            self._transport.abort()

    def _forget(self) -> None:
        """From here on nothing of the exchange can be reached by bytes that still come in."""
        self._exchange = None
        self._head_filled = 0
        self.idle_since = self._loop.time()
        if self._watchdog is not None:
            self._watchdog.cancel()

    # --- asyncio.BufferedProtocol -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: into the sink during a body, else behind what there is of a head."""
        exchange = self._exchange
        if exchange is None or not exchange.left:
            return memoryview(self._head)[self._head_filled :]
        return exchange.sink.buffer()[: exchange.left]

    def buffer_updated(self, nbytes: int) -> None:
        """Count bytes in. Whatever goes wrong ends the exchange with it."""
        self._moved_at = self._loop.time()
        exchange = self._exchange
        if exchange is None or exchange.done.done():
            # Nobody asked: a reply to nothing.
            self.abort()
            return
        try:
            if exchange.left is None:
                self._head_filled += nbytes
                self._read_head(exchange)
            else:
                self._count(exchange, nbytes)
        except Exception as error:
            self._end(exchange, error)

    def eof_received(self) -> None:
        """The other side sends no more; the transport closes itself."""

    def connection_lost(self, error: Exception | None) -> None:
        """Closed by either side."""
        exchange = self._exchange
        self._transport = None
        if exchange is None or exchange.done.done():
            return
        if exchange.left is None and not self._head_filled and not exchange.interim:
            # A pooled connection that was closed as the request went out ends in a reset as often as in an end.
            exchange.done.set_exception(Unheard(f"{self._host} closed the connection without a reply"))
        elif error is not None:
            exchange.done.set_exception(translate(error, self._host))
        elif exchange.left is not None:
            exchange.done.set_exception(NetworkError(f"The reply of {self._host} ended {exchange.left} bytes early"))
        else:
            exchange.done.set_exception(NetworkError(f"The reply of {self._host} ended in its head"))

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read_head(self, exchange: _Exchange) -> None:
        while True:
            end = self._head.find(head.END, 0, self._head_filled)
            if end < 0:
                if self._head_filled == len(self._head):
                    raise RemoteError(f"The head of {self._host}'s reply is longer than {len(self._head)} bytes")
                return
            found = head.parse(bytes(self._head[:end]), self._host)
            rest = bytes(self._head[end + len(head.END) : self._head_filled])
            self._head_filled = 0
            if not found.interim:
                self._begin_body(exchange, found, rest)
                return
            exchange.interim += 1
            if exchange.interim > _INTERIM_MAX:
                raise RemoteError(f"{self._host} sends interim replies without end")
            self._head[: len(rest)] = rest
            self._head_filled = len(rest)

    def _begin_body(self, exchange: _Exchange, found: head.Head, rest: bytes) -> None:
        if found.length is None:
            raise NotPlain
        reply = exchange.reply = Reply(found.status, found.headers)
        wanted = exchange.judge(reply)
        if wanted is None:
            if found.length > REFUSAL_BYTES_MAX:
                raise RemoteError(f"{self._host} answers {found.status} with {found.length} bytes")
            exchange.sink = _Refusal(found.length)
            wanted = found.length
        exchange.beyond = found.length - wanted
        exchange.left = min(wanted, found.length)
        exchange.keep = found.keep and exchange.beyond == 0 and len(rest) <= wanted
        self._pour(exchange, memoryview(rest)[: exchange.left])

    def _pour(self, exchange: _Exchange, rest: memoryview) -> None:
        """Copy what came behind the head."""
        if not rest:
            self._count(exchange, 0)
        while rest:
            buffer = exchange.sink.buffer()
            count = min(len(buffer), len(rest))
            buffer[:count] = rest[:count]
            rest = rest[count:]
            self._count(exchange, count)

    def _count(self, exchange: _Exchange, count: int) -> None:
        if exchange.left is None or exchange.reply is None:
            raise AssertionError("body bytes before a head")
        exchange.left -= count
        if count:
            exchange.sink.filled(count)
        if exchange.left:
            return
        if exchange.beyond > 0:
            raise RemoteError(
                f"The reply of {self._host} goes on for {exchange.beyond} bytes after those it should have"
            )
        if exchange.beyond < 0:
            raise NetworkError(f"The reply of {self._host} ended {-exchange.beyond} bytes early")
        body = bytes(exchange.sink.memory) if isinstance(exchange.sink, _Refusal) else b""
        exchange.done.set_result(Reply(exchange.reply.status, exchange.reply.headers, body))

    def _end(self, exchange: _Exchange, error: Exception) -> None:
        if not exchange.done.done():
            exchange.done.set_exception(error)
        self.abort()

    def _watch(self, stall_seconds: float) -> None:
        """Ends the exchange when nothing has moved for `stall_seconds`; else looks again when that may be so."""
        exchange = self._exchange
        if exchange is None or exchange.done.done():
            return
        left = self._moved_at + stall_seconds - self._loop.time()
        if left > 0:
            self._watchdog = self._loop.call_later(left, self._watch, stall_seconds)
        else:
            self._end(exchange, translate(TimeoutError(), self._host))
