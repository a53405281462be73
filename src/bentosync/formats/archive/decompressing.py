"""Compressed archives as a stream of bounded pieces, with an eye on what they cost.

Files of xz, gzip, bzip2 and zstd may be several streams in a row; all are read, and nothing else may follow. A decoder
never produces more than a piece at once and never gets more than 512 MiB of memory (an xz file may ask for 4 GiB).
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Literal, Protocol, TypeAlias

from bentosync.errors import UnsafeInput
from bentosync.formats.archive import zstd
from bentosync.formats.archive.member import PIECE_BYTES, Limits

Compression: TypeAlias = Literal["xz", "gz", "bz2", "zst"]
Read: TypeAlias = Callable[[int], bytes]
"""At most that many next bytes of a file; empty at its end."""

_READ_BYTES = 256 << 10
_MEMORY_BYTES_MAX = 512 << 20
_FAULTS = (lzma.LZMAError, zlib.error, OSError, EOFError, ValueError)


class _Decoder(Protocol):
    eof: bool
    unused_data: bytes
    needs_input: bool

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's decoder in the shape that lzma and bz2 share."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


_DECODERS: dict[Compression, Callable[[], object]] = {
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_BYTES_MAX),
    "gz": _Gzip,
    "bz2": bz2.BZ2Decompressor,
    "zst": zstd.decoder,
}
_PADDED = ("xz", "gz")
"""Xz pads between streams, and gzip writes to tapes, with zeros."""


def pieces(read: Read, compression: Compression, limits: Limits) -> Iterator[bytes]:
    """The decompressed bytes.

    Raises:
        UnsafeInput: They are damaged, end early, are followed by something else, or expand suspiciously.
        OSError: `read` failed.
    """
    consumed = produced = 0
    decoder: _Decoder | None = None
    data = read(_READ_BYTES)
    while True:
        consumed += len(data)
        if decoder is None or decoder.eof:
            if decoder is not None and not data:
                return
            decoder = _new(compression)
        piece = _decompress(decoder, data, compression)
        produced += len(piece)
        if limits.bomb(produced, consumed):
            raise UnsafeInput(
                f"archive: {consumed} bytes of {compression} expand to more than {produced}",
                hint="if you trust it, unpack it yourself and import the folder",
            )
        if piece:
            yield piece
        if decoder.eof:
            rest = _unpadded(decoder.unused_data, compression)
            consumed -= len(rest)
            data = rest or _next_stream(read, compression)
        else:
            data = read(_READ_BYTES) if decoder.needs_input else b""
            if not data and not piece and decoder.needs_input:
                raise UnsafeInput(f"archive: the {compression} data ends early")


def _new(compression: Compression) -> _Decoder:
    return _DECODERS[compression]()  # type: ignore[return-value]


def _decompress(decoder: _Decoder, data: bytes, compression: Compression) -> bytes:
    faults = (*_FAULTS, zstd.library().ZstdError) if compression == "zst" else _FAULTS
    try:
        return decoder.decompress(data, PIECE_BYTES)
    except faults as error:
        raise UnsafeInput(f"archive: the {compression} data is damaged: {error}") from error


def _unpadded(data: bytes, compression: Compression) -> bytes:
    return data.lstrip(b"\0") if compression in _PADDED else data


def _next_stream(read: Read, compression: Compression) -> bytes:
    data = read(_READ_BYTES)
    return data.lstrip(b"\0") or (read(_READ_BYTES) if data else b"") if compression in _PADDED else data
