"""Zip files from members. A header is written twice: without CRC, and over that when the data are known.

What cannot be patched gets data descriptors behind the data instead, and readers take CRC and size from the central
directory.
"""

from __future__ import annotations

import stat
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

from bentosync.formats.archive import carried, compressing, zip_records
from bentosync.formats.archive.compressing import Compressing
from bentosync.formats.archive.member import Bytes, Member
from bentosync.formats.archive.zip_records import DEFLATED, STORED, STREAMED, UTF8, Ending, Entry

_FILE = stat.S_IFREG | 0o644
_EXECUTABLE = stat.S_IFREG | 0o755
_FOLDER = stat.S_IFDIR | 0o755


class Output(Protocol):
    """A file that is written from its start to its end, and patched."""

    @property
    def position(self) -> int:
        """How many bytes were written."""

    def write(self, parts: Sequence[Bytes]) -> None:
        """Append."""

    def patch(self, offset: int, data: bytes) -> None:
        """Overwrite what was written at `offset`."""


class ZipWriter:
    """Writes a zip file. The contract is `member.Writer`'s.

    Args:
        output: Where it goes.
        pool: Threads to compress with; without them entries are stored.
        threads: How many.
        patching: Whether `output` can be patched.
    """

    def __init__(
        self, output: Output, pool: ThreadPoolExecutor | None = None, threads: int = 1, *, patching: bool = True
    ) -> None:
        self._output = output
        self._pool = pool
        self._threads = threads
        self._patching = patching
        self._entries: list[Entry] = []
        self._body: bytes | None = None

    def manifest(self, body: bytes) -> None:
        """Carry a manifest in front of the central directory."""
        self._body = body

    def directory(self, path: str) -> None:
        """Add a folder."""
        self._begin(_entry(f"{path}/", STORED, 0, self._output.position, _FOLDER))

    def file(self, member: Member, pieces: Iterable[Bytes]) -> None:
        """Add a file."""
        pool = self._pool if member.size else None
        mode = _EXECUTABLE if member.executable else _FILE
        entry = _entry(member.path, DEFLATED if pool else STORED, member.size, self._output.position, mode)
        if not self._patching:
            entry = replace(entry, flags=entry.flags | STREAMED)
        self._begin(entry)
        start, crc = self._output.position, 0
        packing = None
        if pool is not None:
            packing = Compressing(self._output.write, compressing.deflate, pool, self._threads)
        for piece in pieces:
            crc = zlib.crc32(piece, crc)
            if packing is None:
                self._output.write([piece])
            else:
                packing.write(piece)
        if packing is not None:
            packing.finish()
        entry = replace(entry, crc=crc, packed=self._output.position - start)
        self._entries[-1] = entry
        if self._patching:
            self._output.patch(entry.offset, zip_records.local_header(entry))
        else:
            self._output.write([zip_records.descriptor(entry)])

    def finish(self) -> None:
        """Write the manifest, the central directory and the end."""
        if self._body is not None:
            (piece,) = carried.split(self._body, len(self._body))
            self._output.write([zip_records.extra_data(piece)])
        start = self._output.position
        for entry in self._entries:
            self._output.write([zip_records.central_header(entry)])
        self._output.write([zip_records.ending(Ending(start, self._output.position - start, len(self._entries)))])

    def _begin(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._output.write([zip_records.local_header(entry)])


def _entry(path: str, method: int, size: int, offset: int, mode: int) -> Entry:
    flags = 0 if path.isascii() else UTF8
    return Entry(path.encode(), flags, method, crc=0, packed=size, size=size, offset=offset, mode=mode)
