"""One HTTP/1.1 connection: a non-blocking socket, plain or TLS, that the event loop watches; one exchange at a time.

Bodies do not pass through the loop's transports. `recv` goes straight into the memory that the reader names, and `send`
takes from the caller's buffers: what the kernel has no room for stays where it is, where a transport would copy it.
Under TLS OpenSSL works on the socket itself, so it decrypts into that memory and encrypts out of those buffers;
asyncio's own TLS has two copies more each way. What both buy: docs/adr/0011. A body that is an extent of a file is sent
by the kernel, out of its cache and without a copy (docs/adr/0020).

Sending and receiving go on side by side: a server may refuse a body before it has read it. Then its reply counts, what
is left of the body is not sent, and the connection is closed. When sending fails, a reply that came before is still
looked for.

Silence is measured where it can be seen. A request's body counts as sent when the kernel has little of it left (a slow
line may need a minute for the megabytes that it takes at once), and only then does the wait for the reply begin.

Everything happens on the event loop's thread, and nothing is pending anywhere else: once `exchange` has returned or
raised, neither a buffer of the request nor one of the sink is touched again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import ssl
import struct
import termios
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from msgspec import Struct

from bentosync.errors import BentoMLException, IntegrityError, LocalIOError, NetworkError, from_os_error
from bentosync.wire import head
from bentosync.wire.exchange import Extent, Reply
from bentosync.wire.faults import translate
from bentosync.wire.reader import ReplyReader

REFUSAL_BYTES_MAX = 1 << 20

# A body this small leaves together with its head: copying it costs less than a second system call and packet.
_JOINED_BYTES_MAX = 32 << 10
# One call of `send`, and what one connection may move before the loop looks at the others. Calls of 256 KiB cost a
# fifth more: for each the queues are run and the other side is woken. TLS must be given the same bytes again when it
# was interrupted, so there is a bound.
_TURN_BYTES = 2 << 20
# Being woken for every packet costs more than the packet. The kernel waits for this much of a long body.
_LOW_WATER_BYTES = 128 << 10
# Then a little may have come, too little to be told of: the end of a TLS stream whose server waits for ours, above all.
QUIET_SECONDS = 1.0
UNACKNOWLEDGED_BYTES_MAX = 256 << 10
# While a body is being sent, silence is measured to this part of the time allowed.
LOOKS = 8

# File systems without `sendfile`: their files are read a little at a time.
_NO_SENDFILE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EOVERFLOW})
_READ_BYTES = 1 << 20
# What goes wrong with the file and not with the socket.
_UNREADABLE = frozenset({errno.EIO, errno.ESTALE})

_Piece: TypeAlias = memoryview | Extent

BLOCKED = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class NotPlain(Exception):
    """The reply is HTTP, but not framed by a Content-Length, and the wire that got it knows no other framing."""


class Unheard(NetworkError):
    """The connection was closed before a byte of the reply came; a pooled one may just have been too old."""


class Stale(Unheard):
    """It was closed before anything of the request was sent."""


class Patience(Struct, frozen=True):
    """How long nothing may move: while a body is being sent, and then before and within the reply."""

    stall_seconds: float
    reply_seconds: float


class _Exchange(Struct):
    """A request on its way, and the reader that waits for its reply."""

    reader: ReplyReader
    patience: Patience
    done: asyncio.Future[Reply]
    unsent: deque[_Piece]
    moved_at: float
    sending: bool
    unacknowledged: int = 0
    send_error: OSError | None = None


class Connection:
    """Owns `channel`, a connected non-blocking socket; under TLS its handshake is done."""

    def __init__(self, channel: socket.socket, host: str) -> None:
        self._channel = channel
        self._tls = channel if isinstance(channel, ssl.SSLSocket) else None
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._scratch = bytearray(head.HEAD_BYTES_MAX)
        self._exchange: _Exchange | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._low_water = 1
        self._writing = False
        self._closed = False
        self.idle_since = self._loop.time()
        # Watched while idle, too: a connection that the server closes is then known to be of no use.
        self._loop.add_reader(channel.fileno(), self._readable)

    @property
    def usable(self) -> bool:
        """Whether another request may be sent on it."""
        return not self._closed and self._exchange is None

    @property
    def scratch(self) -> bytearray:
        """What a reader of this connection's next reply works with."""
        return self._scratch

    async def exchange(self, request: bytes, body: Sequence[_Piece], reader: ReplyReader, patience: Patience) -> Reply:
        """Send a head and a body, receive the reply. A connection that cannot be used again is closed.

        Raises:
            Unheard: The connection was closed, and nothing of a reply had come.
            Stale: It was closed before the request was sent.
            BentoMLException: As `Wire`; and what judge and sink raise.
        """
        self._expect_silence()
        pieces, large = _pieces(request, body)
        if self._tls is not None and any(isinstance(piece, Extent) for piece in pieces):
            raise AssertionError("a file would go past TLS")
        self._exchange = exchange = _Exchange(
            reader, patience, self._loop.create_future(), pieces, self._loop.time(), sending=large
        )
        self._writable()
        self._look()
        try:
            reply = await exchange.done
        except BaseException:
            self.abort()
            raise
        if not reader.reusable or exchange.unsent or exchange.send_error:
            self.abort()
        self._forget()
        return reply

    def lend(self, readable: Callable[[], None] | None) -> socket.socket:
        """Let somebody else use the socket of a resting connection; `regain` or `abort` ends that.

        The event loop tells `readable`; None: it does not watch the socket meanwhile.

        Raises:
            Stale: It is closed.
        """
        self._expect_silence()
        if readable is None:
            self._loop.remove_reader(self._channel.fileno())
        else:
            self._loop.add_reader(self._channel.fileno(), readable)
        return self._channel

    def regain(self) -> None:
        """The socket rests again, unless it was closed meanwhile."""
        if self._closed:
            return
        self._loop.add_reader(self._channel.fileno(), self._readable)
        self.idle_since = self._loop.time()

    def close(self) -> None:
        """Close the socket; an exchange that still goes on fails. Idempotent."""
        self._fail(self._exchange, NetworkError(f"The connection to {self._host} was closed"))

    def abort(self) -> None:
        """Close the socket now. Idempotent."""
        self._forget()
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._channel.fileno())
        self._stop_writing()
        self._channel.close()

    def _expect_silence(self) -> None:
        """What has come before a request is sent is no reply to it: the end, or something that nobody asked for."""
        try:
            if not self._closed:
                self._look_while_idle()
        except BLOCKED:
            return
        except OSError:
            self.abort()
        if self._closed:
            raise Stale(f"{self._host} closed the connection before it was used")

    def _forget(self) -> None:
        """From here on nothing of the exchange can be reached by what still happens on the socket."""
        self._exchange = None
        self.idle_since = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- receiving ----------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        exchange = self._exchange
        try:
            if exchange is None:
                self._look_while_idle()
            elif not exchange.done.done():
                self._receive(exchange)
        except BLOCKED:
            return
        except Exception as error:
            self._fail(exchange, error)

    def _look_while_idle(self) -> None:
        """The end, or a reply to nothing. A TLS session ticket is neither: then reading blocks."""
        self._channel.recv_into(self._scratch)
        self.abort()

    def _receive(self, exchange: _Exchange) -> None:
        reader = exchange.reader
        count, ended = self._filled(exchange, reader.buffer())
        if count:
            exchange.moved_at = self._loop.time()
            reader.filled(count)
        if ended:
            self._end(exchange)
        self._wake_for(reader.expected)
        if reader.reply is not None:
            exchange.done.set_result(reader.reply)
        elif self._tls is not None and self._tls.pending():
            # OpenSSL holds bytes that the socket does not show any more.
            self._loop.call_soon(self._readable)

    def _filled(self, exchange: _Exchange, memory: memoryview) -> tuple[int, bool]:
        """Put what has come into `memory`: how much it was, and whether it was the last."""
        try:
            return self._fill(memory)
        except BLOCKED:
            raise
        except OSError as error:
            broken = translate(error, self._host)
            raise (broken if exchange.reader.heard else Unheard(broken.message, hint=broken.hint)) from error

    def _fill(self, memory: memoryview) -> tuple[int, bool]:
        """A plain socket gives all it has at once; TLS gives a record of 16 KiB at a time."""
        if self._tls is None:
            count = self._channel.recv_into(memory)
            return count, not count
        filled = 0
        try:
            while filled < len(memory):
                count = self._tls.recv_into(memory[filled:])
                if not count:
                    return filled, True
                filled += count
        except BLOCKED:
            pass
        return filled, False

    def _wake_for(self, expected: int) -> None:
        """How much must have come before the loop is told; `expected` will come unless the server stalls."""
        low_water = _LOW_WATER_BYTES if expected >= 2 * _LOW_WATER_BYTES else 1
        if low_water != self._low_water:
            self._low_water = low_water
            with contextlib.suppress(OSError):
                self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low_water)

    def _end(self, exchange: _Exchange) -> None:
        """The server sends no more."""
        if not exchange.reader.heard:
            # A pooled connection that was closed as the request went out ends in a reset as often as in an end.
            raise Unheard(f"{self._host} closed the connection without a reply") from exchange.send_error
        exchange.reader.end()

    # --- sending ------------------------------------------------------------------------------------------------------

    def _writable(self) -> None:
        exchange = self._exchange
        if exchange is None or exchange.done.done():
            self._stop_writing()
            return
        try:
            self._send(exchange)
        except BLOCKED:
            pass
        except OSError as error:
            # What the server said before it hung up is worth more than that it hung up.
            exchange.send_error = error
            exchange.unsent.clear()
        except BentoMLException as error:
            self._fail(exchange, error)
            return
        if not exchange.unsent:
            self._stop_writing()
        elif not self._writing:
            self._writing = True
            self._loop.add_writer(self._channel.fileno(), self._writable)

    def _send(self, exchange: _Exchange) -> None:
        turn = 0
        while exchange.unsent and turn < _TURN_BYTES:
            piece = exchange.unsent[0]
            if isinstance(piece, Extent):
                size, count = piece.length, self._send_extent(piece)
            else:
                size, count = len(piece), self._channel.send(piece[:_TURN_BYTES])
            turn += count
            exchange.moved_at = self._loop.time()
            if count == size:
                exchange.unsent.popleft()
            else:
                exchange.unsent[0] = piece.after(count) if isinstance(piece, Extent) else piece[count:]

    def _send_extent(self, piece: Extent) -> int:
        try:
            count = os.sendfile(self._channel.fileno(), piece.fd, piece.start, min(piece.length, _TURN_BYTES))
        except OSError as error:
            if error.errno in _UNREADABLE:
                raise self._unreadable(error) from error
            if error.errno not in _NO_SENDFILE:
                raise
            count = self._send_read(piece)
        if not count:
            missing = f"{piece.length} bytes before what was announced of it"
            raise IntegrityError(f"A file that is being sent to {self._host} ends at byte {piece.start}, {missing}")
        return count

    def _send_read(self, piece: Extent) -> int:
        try:
            data = os.pread(piece.fd, min(piece.length, _READ_BYTES), piece.start)
        except OSError as error:
            raise self._unreadable(error) from error
        return self._channel.send(data) if data else 0

    def _unreadable(self, error: OSError) -> LocalIOError:
        return from_os_error(error, f"reading what is sent to {self._host}")

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._channel.fileno())

    # --- what can go wrong --------------------------------------------------------------------------------------------

    def _fail(self, exchange: _Exchange | None, error: Exception) -> None:
        if exchange is not None and not exchange.done.done():
            exchange.done.set_exception(error)
        self.abort()

    def _look(self) -> None:
        """Ends the exchange when nothing has moved for too long; else looks again when that may be so."""
        exchange = self._exchange
        if exchange is None or exchange.done.done():
            return
        if exchange.sending:
            self._look_at_the_kernel(exchange)
        patience = exchange.patience
        limit = patience.stall_seconds if exchange.sending else patience.reply_seconds
        silent = self._loop.time() - exchange.moved_at
        left = limit - silent
        if self._low_water > 1 and silent >= min(QUIET_SECONDS, limit):
            self._wake_for(0)
            left = max(left, limit / LOOKS)
        if left <= 0:
            self._fail(exchange, translate(TimeoutError(), self._host))
            return
        self._timer = self._loop.call_later(min(left, limit / LOOKS if exchange.sending else QUIET_SECONDS), self._look)

    def _look_at_the_kernel(self, exchange: _Exchange) -> None:
        """Notice what it has delivered of the body, and when that was nearly all."""
        held = _unacknowledged(self._channel)
        if held < exchange.unacknowledged:
            exchange.moved_at = self._loop.time()
        exchange.unacknowledged = held
        if not exchange.unsent and held <= UNACKNOWLEDGED_BYTES_MAX:
            exchange.sending = False
            exchange.moved_at = self._loop.time()


def _pieces(request: bytes, body: Sequence[_Piece]) -> tuple[deque[_Piece], bool]:
    """What to send, and whether its way through the kernel must be watched."""
    buffers = [piece for piece in body if not isinstance(piece, Extent)]
    if len(buffers) < len(body):
        return deque([memoryview(request), *body]), True
    if sum(buffer.nbytes for buffer in buffers) <= _JOINED_BYTES_MAX:
        return deque([memoryview(b"".join([request, *buffers]))]), False
    return deque([memoryview(request), *(buffer.cast("B") for buffer in buffers if buffer.nbytes)]), True


def _unacknowledged(channel: socket.socket) -> int:
    """Bytes that the kernel took and the other side has not; 0 where that cannot be asked."""
    try:
        return struct.unpack("i", fcntl.ioctl(channel.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]  # type: ignore[no-any-return]
    except OSError:
        return 0
