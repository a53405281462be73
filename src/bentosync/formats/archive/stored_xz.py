"""An .xz file whose LZMA2 chunks are stored: as fast as copying, and every xz reader takes it.

Weights hardly compress, and the LZMA encoder needs half a second for a MiB of them; stored chunks are part of the
format for exactly such data. One stream with one block: stream header, block header, chunks of 64 KiB (control byte 1
where the dictionary starts afresh, 2 elsewhere; size - 1 in two bytes), end marker, padding to four bytes, CRC-32 of
the data, index, stream footer (https://tukaani.org/xz/xz-file-format.txt).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence

from bentosync.formats.archive.member import Bytes

CHUNK_BYTES = 1 << 16
_BATCH_CHUNKS = 256
_FLAGS = b"\x00\x01"  # check: CRC-32
_LZMA2 = 0x21
_DICTIONARY = 8  # 64 KiB: the least that a decoder allocates without looking further back than a chunk
_FIRST, _NEXT, _END = b"\x01", b"\x02", b"\x00"

WriteParts = Callable[[Sequence[Bytes]], None]


class StoredXz:
    """Wraps what is written to it; `write` gets the parts of the file in order, valid until it returns."""

    def __init__(self, write: WriteParts) -> None:
        self._write = write
        self._check = 0
        self._size = 0
        self._body_bytes = 0
        self._carry = bytearray()
        header = struct.pack("<BBBBB3x", 2, 0, _LZMA2, 1, _DICTIONARY)
        self._block_header = header + _crc(header)
        self._write([b"\xfd7zXZ\x00", _FLAGS, _crc(_FLAGS), self._block_header])

    def write(self, data: Bytes) -> None:
        """Take the next bytes; the buffer may be reused afterwards."""
        view = memoryview(data).cast("B")
        self._check = zlib.crc32(view, self._check)
        if self._carry:
            taken = CHUNK_BYTES - len(self._carry)
            self._carry += view[:taken]
            view = view[taken:]
            if len(self._carry) < CHUNK_BYTES:
                return
            self._chunks([self._carry])
            self._carry = bytearray()
        whole = len(view) - len(view) % CHUNK_BYTES
        for start in range(0, whole, _BATCH_CHUNKS * CHUNK_BYTES):
            end = min(whole, start + _BATCH_CHUNKS * CHUNK_BYTES)
            self._chunks([view[at : at + CHUNK_BYTES] for at in range(start, end, CHUNK_BYTES)])
        self._carry += view[whole:]

    def finish(self) -> None:
        """Write what ends the file."""
        if self._carry:
            self._chunks([self._carry])
        body_bytes = self._body_bytes + len(_END)
        padding = bytes(-body_bytes % 4)
        self._write([_END, padding, struct.pack("<I", self._check)])
        index = b"\x00\x01" + _integer(len(self._block_header) + body_bytes + 4) + _integer(self._size)
        index += bytes(-len(index) % 4)
        footer = struct.pack("<I", len(index) // 4) + _FLAGS
        self._write([index, _crc(index), _crc(footer), footer, b"YZ"])

    def _chunks(self, chunks: Sequence[Bytes]) -> None:
        parts: list[Bytes] = []
        for chunk in chunks:
            parts.append((_NEXT if self._size else _FIRST) + struct.pack(">H", len(chunk) - 1))
            parts.append(chunk)
            self._size += len(chunk)
            self._body_bytes += 3 + len(chunk)
        self._write(parts)


def _crc(data: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(data))


def _integer(value: int) -> bytes:
    """Seven bits a byte, lowest first; all bytes but the last have their high bit set."""
    spelled = bytearray()
    while value >= 0x80:
        spelled.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*spelled, value])
