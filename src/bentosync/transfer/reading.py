"""The local files of an upload: read once and in order, digested while hot, and never taken for what they are not.

A file that changes while it is read ends the upload: the digests of half of it before and half of it after would belong
to bytes that never existed together.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from bentosync.errors import IntegrityError
from bentosync.formats.digester import FileDigester
from bentosync.manifest.digests import block_digest, leaf_digest
from bentosync.manifest.rules import TENSOR_SUFFIX
from bentosync.manifest.values import BLOCK_BYTES, FileEntry
from bentosync.native.checksum import Checksum
from bentosync.store.record import PartChecksums, Stamp
from bentosync.store.tree import TreeFile

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class Known(Struct, frozen=True):
    """A file's digests, and the stamp it had when they were proven; if it was pushed before, what was sent then."""

    entry: FileEntry
    stamp: Stamp
    parts: PartChecksums | None = None


class Source(Struct, frozen=True):
    """A local file to send. If the stamp in `known` still holds when it is opened, only checksums are computed."""

    root: Path
    file: TreeFile
    key: str
    known: Known | None = None


class Reading:
    """A source being read in order. Refuses to end if the file is not the one it was at the start.

    Args:
        source: What to read.
        trusting: Whether what is known of it may save reading. If not, it must turn out to be what is known.
    """

    def __init__(self, source: Source, *, trusting: bool = True) -> None:
        self._source = source
        self._trusting = trusting
        self._fd = -1
        self._before: Stamp | None = None
        self._known: Known | None = None
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
            self._known = known
            self._entry = known.entry if self._trusting else None
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
        self._values: list[bytes] = []

    @property
    def fd(self) -> int:
        """The open file."""
        return self._fd

    def next_into(self, data: memoryview, checksum: Checksum | None) -> bytes | None:
        """Fill `data` with the next bytes and digest them; return their checksum and add it to the whole file's."""
        # Block by block, so that every hash finds the bytes in the cache that the read has put them in.
        blocks = (data[begin : begin + BLOCK_BYTES] for begin in range(0, len(data), BLOCK_BYTES))
        return self._part(blocks, len(data), checksum)

    def next_through(self, scratch: memoryview, length: int, checksum: Checksum, known: bytes | None) -> bytes:
        """The checksum of the next `length` bytes, which are then in the kernel's memory: `known`, if that is given.

        If not, they are digested; `scratch` is the memory for a block of them.
        """
        blocks = (scratch[: min(BLOCK_BYTES, length - begin)] for begin in range(0, length, BLOCK_BYTES))
        if known is None:
            return self._part(blocks, length, checksum) or b""
        if self._is_held(length):
            self._offset += length
        else:
            for block in blocks:
                self._read(block)
        self._count(known, length, checksum)
        return known

    def known_parts(self, step: int, checksum: Checksum) -> Sequence[bytes]:
        """The checksum of every part of `step` bytes, if they were remembered and the file is still the same."""
        found = self._known.parts if self._known is not None and self._trusting else None
        count = -(-self._source.file.size // step)
        if found is None or (found.name, found.part_bytes) != (checksum.name, step):
            return []
        width = checksum.size_bytes
        values = [found.values[begin : begin + width] for begin in range(0, len(found.values), width)]
        return values if len(found.values) == count * width else []

    def parts(self, step: int, checksum: Checksum | None) -> PartChecksums | None:
        """What is worth remembering of a file that was gone through in parts of `step` bytes."""
        if checksum is None or len(self._values) != -(-self._source.file.size // step):
            return None
        return PartChecksums(checksum.name, step, b"".join(self._values))

    def _part(self, blocks: Iterable[memoryview], length: int, checksum: Checksum | None) -> bytes | None:
        value = 0
        for block in blocks:
            self._read(block)
            if checksum is not None:
                value = checksum.update(block, value)
        if checksum is None:
            return None
        self._count(packed(checksum, value), length, checksum)
        return packed(checksum, value)

    def _count(self, value: bytes, length: int, checksum: Checksum) -> None:
        self._whole = checksum.combine(self._whole, int.from_bytes(value, "big"), length)
        self._values.append(value)

    def _is_held(self, length: int) -> bool:
        """Whether the next bytes, by samples, are in memory; yes where the file system cannot say (tmpfs is memory)."""
        sample = bytearray(1)
        try:
            for at in range(self._offset, self._offset + length, BLOCK_BYTES):
                os.preadv(self._fd, [sample], at, os.RWF_NOWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

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
        self.require_unchanged()
        if self._digester is not None:
            self._entry, self._digester = self._digester.finish(), None
        if self._entry is None:
            raise AssertionError("a source is either known or digested")
        if self._known is not None and self._entry != self._known.entry:
            raise IntegrityError(
                f"{self._source.file.path} is not what it was when it was recorded, though its size and times are",
                hint="bentosync verify says where; nothing was published",
            )
        return self._entry

    def require_unchanged(self) -> None:
        """Raise `IntegrityError` if the file is not the one it was at the start."""
        if self.stamp() != self._before:
            raise self._changed("its size or times differ from when the push began")

    def stamp(self) -> Stamp:
        """The file's stamp as it is now. Raises `IntegrityError` if its size is another one."""
        now = Stamp.of(os.fstat(self._fd))
        if now.size != self._source.file.size:
            raise self._changed(f"it has {now.size} bytes instead of {self._source.file.size}")
        return now

    def _changed(self, how: str) -> IntegrityError:
        return _changed(self._source, how)


class Whole(Struct, frozen=True):
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
