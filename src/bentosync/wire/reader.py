"""One reply of HTTP/1.1, read piece by piece. Knows no socket: memory goes out, counts come in.

`buffer()` says where the next bytes belong. During a body that is the sink's own memory, so the kernel's copy out of
the socket is the only one. Heads, chunk sizes and trailers go into a scratch buffer that the caller lends; body bytes
that came behind one of them are copied over from there.

Bodies are framed as RFC 9112 says: none (HEAD, 204, 304), Content-Length, chunked, or up to the end of the connection.
Any other transfer coding is refused: we never ask for one.
"""

from __future__ import annotations

import re

from bentosync.errors import NetworkError, RemoteError
from bentosync.wire import head
from bentosync.wire.exchange import Judge, Reply, Sink

_INTERIM_MAX = 100
_LINE_END = b"\r\n"
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n\0]*)?")
_COLLECT_STEP_BYTES = 64 << 10
_ENDLESS = 1 << 62


class Nowhere:
    """The sink of an exchange: its judge wants nothing in it."""

    def buffer(self) -> memoryview:
        """Nobody asks."""
        raise AssertionError("nothing goes into this sink")

    def filled(self, count: int) -> None:
        """Nobody says so."""
        raise AssertionError("nothing went into this sink")


class _Collected:
    """A sink for bodies that are kept: refusals and documents. Grows as bytes come, up to `bytes_max`."""

    def __init__(self, bytes_max: int, host: str) -> None:
        self._memory = bytearray()
        self._bytes_max = bytes_max
        self._host = host
        self._filled = 0

    def expect(self, length: int) -> None:
        """Make room for `length` more bytes, which are announced."""
        self._check(self._filled + length)
        self._memory.extend(bytes(self._filled + length - len(self._memory)))

    def buffer(self) -> memoryview:
        if self._filled == len(self._memory):
            self._memory.extend(bytes(_COLLECT_STEP_BYTES))
        return memoryview(self._memory)[self._filled :]

    def filled(self, count: int) -> None:
        self._filled += count
        self._check(self._filled)

    def body(self) -> bytes:
        return bytes(memoryview(self._memory)[: self._filled])

    def _check(self, length: int) -> None:
        if length > self._bytes_max:
            raise RemoteError(f"The reply of {self._host} is longer than {self._bytes_max} bytes")


class ReplyReader:
    """Reads one reply; once `reply` is set it is complete.

    Args:
        host: For messages.
        scratch: Memory for heads, `head.HEAD_BYTES_MAX` of it, not used by anybody else meanwhile.
        judge: Asked when the final head is there.
        sink: Takes the body the judge wants; any other body is collected into the reply.
        collect_max: How long a body that is collected may be.
        bodyless: The request was a HEAD.
    """

    def __init__(
        self, host: str, scratch: bytearray, judge: Judge, sink: Sink, *, collect_max: int, bodyless: bool
    ) -> None:
        self.reply: Reply | None = None
        self.heard = False
        self._host = host
        self._scratch = scratch
        self._begin = 0
        self._filled = 0
        self._judge = judge
        self._sink = sink
        self._collected: _Collected | None = None
        self._collect_max = collect_max
        self._bodyless = bodyless
        self._interim = 0
        self._head: head.Head | None = None
        self._step = self._read_head
        self._left = 0  # of the body, or of the chunk, that goes into the sink
        self._wanted: int | None = None  # by the judge, of what comes after those; None: all there is
        self._excess = False  # the chunk is longer than wanted
        self._until_close = False

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another exchange: it may be kept, and nothing came behind the reply."""
        whole = self.reply is not None and not self._until_close and self._begin == self._filled
        return whole and self._head is not None and self._head.keep

    @property
    def expected(self) -> int:
        """Body bytes that are surely still to come."""
        return 0 if self._until_close else self._left

    def buffer(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._left:
            return self._sink.buffer()[: self._left]
        if self._filled == len(self._scratch):
            raise RemoteError(f"The head of {self._host}'s reply is longer than {len(self._scratch)} bytes")
        return memoryview(self._scratch)[self._filled :]

    def filled(self, count: int) -> None:
        """`count` bytes are where `buffer()` said; raises what the judge and the sink raise, and for a broken reply."""
        self.heard = True
        if self._left:
            self._pour(count)
        else:
            self._filled += count
        while self.reply is None and self._step():
            pass

    def end(self) -> None:
        """No more bytes will come: a body framed by that is complete now, everything else was cut short."""
        if self.reply is not None:
            return
        if self._head is None:
            raise NetworkError(f"The reply of {self._host} ended in its head")
        if not self._until_close or self._wanted:
            missing = self._left or self._wanted or 0
            raise NetworkError(f"The reply of {self._host} ended {missing} bytes early")
        self._finish()

    # --- steps: each takes something from the scratch buffer, or says that it needs more ------------------------------

    def _read_head(self) -> bool:
        data = self._taken_until(head.END)
        if data is None:
            return False
        found = head.parse(data, self._host)
        if found.interim:
            self._interim += 1
            if self._interim > _INTERIM_MAX:
                raise RemoteError(f"{self._host} sends interim replies without end")
            return True
        self._head = found
        wanted = self._judge(Reply(found.status, found.headers))
        if wanted is None:
            self._sink = self._collected = _Collected(self._collect_max, self._host)
        self._wanted = wanted
        self._begin_body(found)
        return True

    def _begin_body(self, found: head.Head) -> None:
        if self._bodyless or found.status in (204, 304):
            self._finish()
        elif found.length is not None:
            self._step = self._read_body
            self._begin_piece(found.length)
        elif found.chunked:
            self._step = self._read_chunk_size
        elif "transfer-encoding" in found.headers:
            raise RemoteError(f"{self._host} sent a reply coded as {found.headers['transfer-encoding'][:40]!r}")
        else:
            self._until_close = True
            self._step = self._read_rest
            self._left = _ENDLESS if self._wanted is None else self._wanted

    def _begin_piece(self, length: int) -> None:
        """`length` body bytes come next; more than are wanted go nowhere."""
        if self._collected is not None:
            self._collected.expect(length)
        self._left = length if self._wanted is None else min(length, self._wanted)
        self._excess = length > self._left
        if not self._left:
            self._end_piece()

    def _read_body(self) -> bool:
        if self._left:
            return self._copy()
        self._finish()
        return True

    def _read_chunk_size(self) -> bool:
        line = self._taken_until(_LINE_END)
        if line is None:
            return False
        size = _CHUNK_SIZE.fullmatch(line)
        if size is None:
            raise RemoteError(f"{self._host} sent a broken chunk: {line[:40]!r}")
        length = int(size[1], 16)
        self._step = self._read_chunk if length else self._read_trailer
        self._begin_piece(length)
        return True

    def _read_chunk(self) -> bool:
        if self._left:
            return self._copy()
        line = self._taken_until(_LINE_END)
        if line is None:
            return False
        if line:
            raise RemoteError(f"{self._host} sent a chunk that is longer than announced: {line[:40]!r}")
        self._step = self._read_chunk_size
        return True

    def _read_trailer(self) -> bool:
        line = self._taken_until(_LINE_END)
        if line is None:
            return False
        if not line:
            self._finish()
        return True

    def _read_rest(self) -> bool:
        if self._left:
            return self._copy()
        if self._begin < self._filled:
            self._refuse_excess()
        return False

    # --- bytes --------------------------------------------------------------------------------------------------------

    def _taken_until(self, end: bytes) -> bytes | None:
        """What comes before `end`, which is skipped; None if it is not there yet."""
        at = self._scratch.find(end, self._begin, self._filled)
        if at >= 0:
            data = bytes(memoryview(self._scratch)[self._begin : at])
            self._begin = at + len(end)
            return data
        if self._begin:
            rest = self._scratch[self._begin : self._filled]
            self._scratch[: len(rest)] = rest
            self._begin, self._filled = 0, len(rest)
        return None

    def _copy(self) -> bool:
        """Give the sink what came behind a head or a chunk size."""
        if self._begin == self._filled:
            self._begin = self._filled = 0
            return False
        target = self._sink.buffer()
        count = min(len(target), self._left, self._filled - self._begin)
        target[:count] = memoryview(self._scratch)[self._begin : self._begin + count]
        self._begin += count
        self._pour(count)
        return True

    def _pour(self, count: int) -> None:
        """`count` bytes of the body are in the sink's memory."""
        self._left -= count
        if self._wanted is not None:
            self._wanted -= count
        self._sink.filled(count)
        if not self._left:
            self._end_piece()

    def _end_piece(self) -> None:
        if self._excess:
            self._refuse_excess()

    def _refuse_excess(self) -> None:
        raise RemoteError(f"The reply of {self._host} goes on after the bytes it should have")

    def _finish(self) -> None:
        if self._head is None:
            raise AssertionError("a body before its head")
        if self._wanted:
            raise NetworkError(f"The reply of {self._host} ended {self._wanted} bytes early")
        body = b"" if self._collected is None else self._collected.body()
        self.reply = Reply(self._head.status, self._head.headers, body)
