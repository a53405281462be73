"""One connection of the compiled core, and one HTTP/1.1 exchange over it.

The core moves bytes and knows nothing of what they say. Here the head is parsed and judged by the same code as
everywhere else, and the sink's memory is lent to the core, as much of it as the sink offers at a time: a whole unit as
a rule, so the event loop wakes once for a mebibyte and not once for a packet. A sink that says where its units go and
what they must be (`landing`) is told of several at once, which the core has proven and written.

Memory is lent only while `_lend` waits. Whatever ends that wait before its time, cancellation included, goes through
`abort`, which returns when the core has let go.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from bentosync.errors import BentoMLException, NetworkError, RemoteError
from bentosync.native import _core
from bentosync.native.receiving import Fault
from bentosync.wire import head
from bentosync.wire.connection import QUIET_SECONDS, REFUSAL_BYTES_MAX, NotPlain, Unheard
from bentosync.wire.exchange import Judge, Reply, Sink
from bentosync.wire.faults import translate
from bentosync.wire.landing import Landing, LandingSink

_INTERIM_MAX = 100
# How often a sink hears of what has landed before all has. Who watches it takes silence for a stream that is stuck.
_TELL_SECONDS = 0.05


class Endings:
    """Tells who waits for an operation of the core that it has ended. Lives in the event loop that made it."""

    def __init__(self, receiver: _core.Receiver) -> None:
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._waiters: dict[int, asyncio.Future[None]] = {}
        self._loop.add_reader(receiver.fileno(), self._tell)

    @contextmanager
    def waiter(self, connection: _core.Connection) -> Iterator[asyncio.Future[None]]:
        """A future that is done once `connection`'s operation has ended."""
        waiter = self._waiters[connection.id] = self._loop.create_future()
        try:
            yield waiter
        finally:
            del self._waiters[connection.id]

    def close(self) -> None:
        """Tell no more; who still waits hears that the connection was closed."""
        self._loop.remove_reader(self._receiver.fileno())
        for waiter in self._waiters.values():
            if not waiter.done():
                waiter.set_result(None)

    def _tell(self) -> None:
        for number in self._receiver.ended():
            waiter = self._waiters.get(number)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)


class Link:
    """One exchange at a time. After an exception it is closed."""

    def __init__(self, connection: _core.Connection, endings: Endings, host: str) -> None:
        self.connection = connection
        self.endings = endings
        self.host = host
        self._loop = asyncio.get_running_loop()
        self.idle_since = self._loop.time()

    @property
    def usable(self) -> bool:
        """Whether another request may be sent on it."""
        return self.connection.is_parked()

    def abort(self) -> None:
        """Close the socket now; no lent memory is touched any more. Idempotent."""
        self.connection.abort()

    def rest(self, *, keep: bool) -> None:
        """An exchange is over: wait for the next one, if the connection may be kept and nothing is left of this one."""
        self.idle_since = self._loop.time()
        if not (keep and self.connection.park()):
            self.abort()

    async def shake_hands(self) -> None:
        """Wait for the TLS handshake, which is under way already."""
        with self.closing_on_error():
            with self.endings.waiter(self.connection) as waiter:
                await waiter
            fault, _, error, reason = self.connection.settle()
            if fault:
                raise self.translated(Fault(fault), error, reason, "during the TLS handshake")

    async def exchange(self, request: bytes, judge: Judge, sink: Sink, *, stall_seconds: float) -> Reply:
        """Send a request head and receive its reply; as `Wire.receive`.

        Raises:
            NotPlain: Let another client have this exchange.
        """
        with self.closing_on_error():
            found = await self._final_head(request, stall_seconds)
            if found.length is None:
                raise NotPlain
            reply = Reply(found.status, found.headers)
            wanted = judge(reply)
            if wanted is None:
                reply, wanted = await self._refused(found, found.length, stall_seconds), found.length
            else:
                await self._pour(min(wanted, found.length), sink, stall_seconds)
            self._check_length(found.length - wanted)
        self.rest(keep=found.keep)
        return reply

    @contextmanager
    def closing_on_error(self) -> Iterator[None]:
        """Abort whatever is under way if this block does not end well."""
        try:
            yield
        except BaseException:
            self.abort()
            raise

    # --- the parts of a reply -----------------------------------------------------------------------------------------

    async def _final_head(self, request: bytes, stall_seconds: float) -> head.Head:
        with self._watched(stall_seconds) as waiter:
            if not self.connection.ask(request):
                await waiter
        for interim in range(_INTERIM_MAX):
            fault, count, error, reason = self.connection.settle()
            if fault:
                raise self._no_head(Fault(fault), error, reason, heard=bool(interim or count))
            found = head.parse(self.connection.take_head(), self.host)
            if not found.interim:
                return found
            with self._watched(stall_seconds) as waiter:
                if not self.connection.next_head():
                    await waiter
        raise RemoteError(f"{self.host} sends interim replies without end")

    async def _pour(self, left: int, sink: Sink, stall_seconds: float) -> None:
        landing_sink = sink if isinstance(sink, LandingSink) else None
        while left:
            if landing_sink is not None and (landing := landing_sink.landing(left)) is not None:
                left -= await self._land(landing, landing_sink, left, stall_seconds)
                continue
            with sink.buffer()[:left] as memory:
                count, error = await self._lend(memory, left, stall_seconds)
            if count:
                sink.filled(count)
            if error is not None:
                raise error
            left -= count

    async def _land(self, landing: Landing, sink: LandingSink, left: int, stall_seconds: float) -> int:
        """Let the core prove and write some of the body; how much of it came."""
        told = _Told(self.connection, sink)
        try:
            with self.closing_on_error(), self._watched(stall_seconds) as waiter:
                if not self.connection.land(
                    landing.memory, fd=landing.fd, offset=landing.offset, bytes=landing.size, digests=landing.digests
                ):
                    await waiter
        finally:
            told.end()
            sink.spent(*self.connection.spent())
        fault, count, error, reason = self.connection.settle()
        if count:
            sink.filled(count)
        if fault:
            early = left - told.count - count
            raise self.translated(Fault(fault), error, reason, f"{early} bytes early")
        return told.count + count

    async def _refused(self, found: head.Head, length: int, stall_seconds: float) -> Reply:
        if length > REFUSAL_BYTES_MAX:
            raise RemoteError(f"{self.host} answers {found.status} with {length} bytes")
        body = bytearray(length)
        with memoryview(body) as memory:
            _, error = await self._lend(memory, length, stall_seconds)
        if error is not None:
            raise error
        return Reply(found.status, found.headers, bytes(body))

    async def _lend(self, memory: memoryview, left: int, stall_seconds: float) -> tuple[int, BentoMLException | None]:
        """Let the core fill `memory`; how far it came, and why not further. `left`: body bytes still to come."""
        with self.closing_on_error(), self._watched(stall_seconds) as waiter:
            if not self.connection.fill(memory):
                await waiter
        fault, count, error, reason = self.connection.settle()
        if not fault:
            return count, None
        return count, self.translated(Fault(fault), error, reason, f"{left - count} bytes early")

    def _check_length(self, beyond: int) -> None:
        if beyond > 0:
            raise RemoteError(f"The reply of {self.host} goes on for {beyond} bytes after those it should have")
        if beyond < 0:
            raise NetworkError(f"The reply of {self.host} ended {-beyond} bytes early")

    # --- what can go wrong --------------------------------------------------------------------------------------------

    def _no_head(self, fault: Fault, error: int, reason: str, *, heard: bool) -> BentoMLException:
        if fault is Fault.ENDLESS_HEAD:
            return RemoteError(f"The head of {self.host}'s reply is longer than {head.HEAD_BYTES_MAX} bytes")
        translated = self.translated(fault, error, reason, "in its head")
        return translated if heard else Unheard(translated.message, hint=translated.hint)

    def translated(self, fault: Fault, error: int, reason: str, where: str) -> BentoMLException:
        """The error that a fault of the core is; `where` says how far a reply had come that was cut short."""
        match fault:
            case Fault.SYSTEM:
                return translate(OSError(error, os.strerror(error)), self.host)
            case Fault.UNTRUSTED:
                return translate(ssl.SSLCertVerificationError(1, reason), self.host)
            case Fault.TLS:
                return translate(ssl.SSLError(1, reason), self.host)
            case Fault.ENDED:
                return NetworkError(f"The reply of {self.host} ended {where}")
            case _:
                return NetworkError(f"The connection to {self.host} was closed")

    @contextmanager
    def _watched(self, stall_seconds: float) -> Iterator[asyncio.Future[None]]:
        """A waiter for the operation that begins now; it fails when nothing has moved for `stall_seconds`."""
        with self.endings.waiter(self.connection) as waiter:
            watchdog = _Watchdog(self.connection, waiter, stall_seconds, self.host)
            try:
                yield waiter
            finally:
                watchdog.cancel()


class _Told:
    """What a sink was told of a landing in progress: now and then, and all of it at the end."""

    def __init__(self, connection: _core.Connection, sink: LandingSink) -> None:
        self.count = 0
        self._connection = connection
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_TELL_SECONDS, self._tell)

    def end(self) -> None:
        self._timer.cancel()
        landed = self._connection.landed()
        self._say(landed, landed)

    def _tell(self) -> None:
        landed = self._connection.landed()
        self._say(landed, max(landed, self._connection.arrived()))
        self._timer = self._loop.call_later(_TELL_SECONDS, self._tell)

    def _say(self, landed: int, arrived: int) -> None:
        news, self.count = landed - self.count, landed
        self._sink.landed(news, arrived - landed)


class _Watchdog:
    """Fails `waiter` when nothing has moved for `stall_seconds`.

    After a short silence it has what little came taken in, of which the thread is not told: the end of a TLS stream,
    say, whose server keeps the socket open.
    """

    def __init__(
        self, connection: _core.Connection, waiter: asyncio.Future[None], stall_seconds: float, host: str
    ) -> None:
        self._connection = connection
        self._waiter = waiter
        self._stall_seconds = stall_seconds
        self._host = host
        self._timer = asyncio.get_running_loop().call_later(min(QUIET_SECONDS, stall_seconds), self._look)

    def cancel(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        if self._connection.silent_seconds() >= min(QUIET_SECONDS, self._stall_seconds):
            self._connection.nudge()
        left = self._stall_seconds - self._connection.silent_seconds()
        if left <= 0:
            if not self._waiter.done():
                self._waiter.set_exception(translate(TimeoutError(), self._host))
            return
        self._timer = self._waiter.get_loop().call_later(min(QUIET_SECONDS, left), self._look)
