"""The local files of an upload: read once and in order, digested while hot, and never taken for what they are not.

A file that changes while it is read ends the upload: the digests of half of it before and half of it after would belong
to bytes that never existed together.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from bentosync.errors import IntegrityError
from bentosync.formats.digester import FileDigester
from bentosync.manifest.digests import block_digest, leaf_digest
from bentosync.manifest.rules import TENSOR_SUFFIX
from bentosync.manifest.values import BLOCK_BYTES, FileEntry
from bentosync.native.checksum import Checksum
from bentosync.store.record import Stamp
from bentosync.store.tree import TreeFile

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Known:
    """A file's digests, and the stamp it had when they were proven."""

    entry: FileEntry
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Source:
    """A local file to send. If the stamp in `known` still holds when it is opened, only checksums are computed."""

    root: Path
    file: TreeFile
    key: str
    known: Known | None = None


class Reading:
    """A source being read in order. Refuses to end if the file is not the one it was at the start."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._fd = -1
        self._before: Stamp | None = None
        self._entry: FileEntry | None = None
        self.settled: Stamp | None = None

    def __enter__(self) -> Reading:
        path = self._source.root / self._source.file.path
        try:
            self._fd = os.open(path, _FLAGS)
        except FileNotFoundError:
            raise self._changed("it is gone") from None
        self._before = self.stamp()
        self.settled = self._before if self._before.settled(time.time_ns()) else None
        known = self._source.known
        if known is not None and (known.stamp, known.entry.executable) == (self._before, self._source.file.executable):
            self._entry = known.entry
        self.restart()
        return self

    def __exit__(self, *failure: object) -> None:
        os.close(self._fd)

    def restart(self) -> None:
        """Begin again at byte 0."""
        file = self._source.file
        self._digester = None if self._entry else FileDigester(file.path, file.size, file.executable)
        self._offset = 0
        self._whole = 0

    def next_into(self, data: memoryview, checksum: Checksum | None) -> bytes | None:
        """Fill `data` with the next bytes and digest them; return their checksum and add it to the whole file's."""
        value = 0
        for begin in range(0, len(data), BLOCK_BYTES):
            # Block by block, so that every hash finds the bytes in the cache that the read has put them in.
            block = data[begin : begin + BLOCK_BYTES]
            self._read(block)
            if checksum is not None:
                value = checksum.update(block, value)
        if checksum is None:
            return None
        self._whole = checksum.combine(self._whole, value, len(data))
        return packed(checksum, value)

    def _read(self, data: memoryview) -> None:
        filled = 0
        while filled < len(data):
            count = os.preadv(self._fd, [data[filled:]], self._offset + filled)
            if count == 0:
                raise self._changed(f"it ends at {self._offset + filled} of {self._source.file.size} bytes")
            filled += count
        self._offset += len(data)
        if self._digester is not None:
            self._digester.update(data)

    def checksum_bytes(self, checksum: Checksum | None) -> bytes | None:
        """The checksum of everything read so far, big-endian."""
        return None if checksum is None else packed(checksum, self._whole)

    def skip_through(self, checksum: Checksum | None) -> None:
        """Read and digest the whole file without sending it."""
        buffer = memoryview(bytearray(BLOCK_BYTES))
        while self._offset < self._source.file.size:
            data = buffer[: min(BLOCK_BYTES, self._source.file.size - self._offset)]
            self._read(data)
            if checksum is not None:
                self._whole = checksum.update(data, self._whole)

    def entry(self) -> FileEntry:
        """The file's digests, once every byte was read; proves that the file did not change meanwhile."""
        if self.stamp() != self._before:
            raise self._changed("its size or times differ from when the push began")
        if self._digester is not None:
            self._entry, self._digester = self._digester.finish(), None
        if self._entry is None:
            raise AssertionError("a source is either known or digested")
        return self._entry

    def stamp(self) -> Stamp:
        """The file's stamp as it is now. Raises `IntegrityError` if its size is another one."""
        now = Stamp.of(os.fstat(self._fd))
        if now.size != self._source.file.size:
            raise self._changed(f"it has {now.size} bytes instead of {self._source.file.size}")
        return now

    def _changed(self, how: str) -> IntegrityError:
        return _changed(self._source, how)


@dataclass(frozen=True, slots=True)
class Whole:
    """A small file that was read at once: its digests, its stamp if that may be remembered, and its checksum."""

    entry: FileEntry
    settled: Stamp | None
    checksum: bytes | None


def read_whole(source: Source, data: memoryview, checksum: Checksum | None) -> Whole:
    """Fill `data`, as long as the file and at most one block, with the file's bytes; what `Reading` does, in one go.

    Raises:
        IntegrityError: The file is not what was listed, or changes while it is read.
        OSError: The disk refuses.
    """
    file = source.file
    try:
        fd = os.open(f"{source.root}/{file.path}", _FLAGS)
    except FileNotFoundError:
        raise _changed(source, "it is gone") from None
    try:
        before = Stamp.of(os.fstat(fd))
        filled = 0
        while filled < file.size:
            count = os.preadv(fd, [data[filled:]], filled)
            if count == 0:
                raise _changed(source, f"it ends at {filled} of {file.size} bytes")
            filled += count
        after = Stamp.of(os.fstat(fd))
    finally:
        os.close(fd)
    if before.size != file.size or after != before:
        raise _changed(source, "its size or times differ from when the push began")
    known = source.known
    if known is not None and known.stamp == before and known.entry.executable == file.executable:
        entry = known.entry
    elif file.path.endswith(TENSOR_SUFFIX) or not file.size:
        digester = FileDigester(file.path, file.size, file.executable)
        digester.update(data)
        entry = digester.finish()
    else:
        leaves, blocks = leaf_digest(data), block_digest(data)
        entry = FileEntry(file.path, file.size, file.executable, leaves, blocks)
    value = None if checksum is None else packed(checksum, checksum.update(data))
    return Whole(entry, before if before.settled(time.time_ns()) else None, value)


def packed(checksum: Checksum, value: int) -> bytes:
    """A checksum as it goes over the wire: big-endian."""
    return value.to_bytes(checksum.size_bytes, "big")


def _changed(source: Source, how: str) -> IntegrityError:
    return IntegrityError(
        f"{source.file.path} changed while it was read: {how}",
        hint="nothing was published; push again when the file is no longer written to",
    )
