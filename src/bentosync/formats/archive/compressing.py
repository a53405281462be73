"""Compression on all cores: pieces of fixed size, compressed side by side, written in their order.

Files of xz, gzip, bzip2 and zstd may be several streams in a row, and deflate data may pause at a byte border, so each
piece is compressed by itself and the result does not depend on the number of threads. At most `threads` + 2 pieces are
in memory.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from bentosync import cpus
from bentosync.formats.archive.member import Bytes

PIECE_BYTES = 16 << 20
THREADS_MAX = 8
"""An xz encoder takes 94 MiB."""

Compress = Callable[[Bytes, bool], bytes]
"""The compressed form of a piece; the flag says that it is the last one."""


def cores() -> int:
    """How many threads compress here."""
    return min(THREADS_MAX, cpus.usable())


def xz(piece: Bytes, last: bool) -> bytes:
    """A stream of xz."""
    return lzma.compress(piece, preset=6)


def bzip2(piece: Bytes, last: bool) -> bytes:
    """A stream of bzip2."""
    return bz2.compress(piece, 9)


def gzip(piece: Bytes, last: bool) -> bytes:
    """A member of a gzip file, without name and time."""
    return _deflated(piece, 6, 31, zlib.Z_FINISH)


def gzip_stored(piece: Bytes, last: bool) -> bytes:
    """The same, not compressed."""
    return _deflated(piece, 0, 31, zlib.Z_FINISH)


def deflate(piece: Bytes, last: bool) -> bytes:
    """A part of raw deflate data as in zip."""
    return _deflated(piece, 6, -15, zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH)


def _deflated(piece: Bytes, level: int, window: int, end: int) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, window)
    return compressor.compress(piece) + compressor.flush(end)


class Compressing:
    """Compresses what is written to it; `write` gets the result. Close the pool yourself."""

    def __init__(
        self,
        write: Callable[[Sequence[Bytes]], None],
        compress: Compress,
        pool: ThreadPoolExecutor,
        threads: int,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        self._write = write
        self._compress = compress
        self._pool = pool
        self._threads = threads
        self._piece_bytes = piece_bytes
        self._piece = bytearray()
        self._running: deque[Future[bytes]] = deque()

    def write(self, data: Bytes) -> None:
        """Take the next bytes; the buffer may be reused afterwards."""
        view = memoryview(data).cast("B")
        while view:
            if len(self._piece) == self._piece_bytes:
                self._submit(last=False)
            taken = self._piece_bytes - len(self._piece)
            self._piece += view[:taken]
            view = view[taken:]

    def finish(self) -> None:
        """Compress the rest and write all that is still to be written."""
        self._submit(last=True)
        while self._running:
            self._write([self._running.popleft().result()])

    def _submit(self, *, last: bool) -> None:
        piece, self._piece = self._piece, bytearray()
        self._running.append(self._pool.submit(self._compress, piece, last))
        while len(self._running) > self._threads:
            self._write([self._running.popleft().result()])
