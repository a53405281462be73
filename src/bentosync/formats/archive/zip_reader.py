"""Zip files as members, in the order of their bytes.

The central directory decides, and everything else must agree with it: entries follow each other without gap or overlap
from byte 0 (which leaves no room for shared or hidden data), local headers say the same, data have the stated length
and CRC. So there is one way to read the file.
"""

from __future__ import annotations

import stat
import zlib
from collections.abc import Callable, Iterator, Sequence

from bentosync.errors import UnsafeInput
from bentosync.formats.archive import carried, zip_records
from bentosync.formats.archive.member import PIECE_BYTES, Bytes, Limits, Member
from bentosync.formats.archive.zip_records import Entry
from bentosync.manifest.rules import MANIFEST_BYTES_MAX

_DIRECTORY_BYTES_MAX = 256 << 20
_CARRIED_BYTES_MAX = MANIFEST_BYTES_MAX + 1024

ReadAt = Callable[[int, int], bytes]
"""`size` bytes from an offset, fewer at the end of the file."""


class ZipReader:
    """Reads a zip file of `file_size` bytes through `read_at`. The contract is `member.Reader`'s."""

    def __init__(self, read_at: ReadAt, file_size: int, limits: Limits) -> None:
        self.manifest: bytes | None = None
        self._read_at = read_at
        self._file_size = file_size
        self._limits = limits

    def members(self) -> Iterator[tuple[Member, Iterator[Bytes]]]:
        """Each member with its bytes."""
        tail_bytes = min(self._file_size, zip_records.END_BYTES_MAX)
        end = zip_records.find_ending(self._exactly(self._file_size - tail_bytes, tail_bytes), self._file_size)
        if end.entries > self._limits.entries_max or end.size > _DIRECTORY_BYTES_MAX:
            raise UnsafeInput(f"archive: {end.entries} zip entries in {end.size} bytes of directory, over the limit")
        entries = sorted(
            zip_records.central_entries(self._exactly(end.offset, end.size), end), key=lambda entry: entry.offset
        )
        self._check_total(entries)
        starts = self._starts(entries, end.offset)
        for entry, start in zip(entries, starts, strict=True):
            member = _member(entry)
            pieces = self._pieces(entry, start)
            yield member, pieces
            for _ in pieces:
                pass  # what the caller did not take

    def _check_total(self, entries: Sequence[Entry]) -> None:
        total = sum(entry.size for entry in entries)
        if total > self._limits.bytes_max or self._limits.bomb(total, self._file_size):
            raise UnsafeInput(
                f"archive: {self._file_size} bytes of zip expand to {total}",
                hint="if you trust it, unpack it yourself and import the folder",
            )

    def _starts(self, entries: Sequence[Entry], directory: int) -> list[int]:
        """Where the data of each entry start; every byte in front of the central directory is accounted for."""
        starts: list[int] = []
        for index, entry in enumerate(entries):
            zip_records.check_flags(entry)
            expected = 0 if index == 0 else self._end(entries[index - 1], starts[-1], entry.offset)
            if entry.offset != expected:
                raise UnsafeInput(
                    f"archive: the zip entry {entry.name[:200]!a} begins at {entry.offset}, not {expected}"
                )
            head = self._exactly(entry.offset, zip_records.LOCAL_BYTES)
            rest = self._exactly(entry.offset + len(head), zip_records.check_local(head, entry))
            zip_records.check_local_rest(head, rest, entry)
            starts.append(entry.offset + len(head) + len(rest))
        if entries:
            self._take_extra(self._end(entries[-1], starts[-1], None), directory)
        elif directory:
            raise UnsafeInput("archive: a zip file with data and no entries")
        return starts

    def _end(self, entry: Entry, start: int, following: int | None) -> int:
        """Where an entry with its descriptor ends; with a descriptor, the next entry tells which form it has."""
        end = start + entry.packed
        forms = zip_records.descriptors(entry)
        longest = max(map(len, forms))
        behind = self._read_at(end, longest)
        fitting = [len(form) for form in forms if behind.startswith(form)]
        if following is not None and following - end in fitting:
            return following
        if following is None and fitting:
            return end + max(fitting)
        if not fitting:
            raise UnsafeInput(f"archive: what follows the zip entry {entry.name[:200]!a} is not its descriptor")
        return end + fitting[0]

    def _take_extra(self, start: int, directory: int) -> None:
        if start == directory:
            return
        if not 0 < directory - start <= _CARRIED_BYTES_MAX:
            raise UnsafeInput("archive: the entries of a zip file do not end where its central directory begins")
        found = zip_records.extra_data_of(self._exactly(start, directory - start))
        if carried.is_piece(found):
            joining = carried.Joining()
            joining.take(found)
            self.manifest = joining.finish()

    def _pieces(self, entry: Entry, start: int) -> Iterator[bytes]:
        """Exactly `entry.size` bytes with its CRC."""
        crc = total = 0
        source = self._raw(start, entry.packed)
        for piece in source if entry.method == zip_records.STORED else _inflated(source, entry):
            crc = zlib.crc32(piece, crc)
            total += len(piece)
            if total > entry.size:
                break
            yield piece
        if total != entry.size or crc != entry.crc:
            raise UnsafeInput(f"archive: the zip entry {entry.name[:200]!a} does not have the size or CRC it says")

    def _raw(self, start: int, size: int) -> Iterator[bytes]:
        for offset in range(start, start + size, PIECE_BYTES):
            yield self._exactly(offset, min(PIECE_BYTES, start + size - offset))

    def _exactly(self, offset: int, size: int) -> bytes:
        data = self._read_at(offset, size) if size and offset >= 0 else b""
        if len(data) != size:
            raise UnsafeInput("archive: the zip file ends early", hint="the file was not copied whole")
        return data


def _member(entry: Entry) -> Member:
    path = entry.name.decode(errors="surrogateescape").removeprefix("./")
    kind = stat.S_IFMT(entry.mode)
    folder = entry.name.endswith(b"/")
    if kind not in (0, stat.S_IFDIR if folder else stat.S_IFREG):
        raise UnsafeInput(
            f"archive: {path[:200]!a} has the mode {entry.mode:#o}; a model holds regular files and folders",
            hint="unpack the archive yourself and import the folder, if you trust it",
        )
    if folder:
        if entry.size:
            raise UnsafeInput(f"archive: the folder {path[:200]!a} has a size")
        return Member(path[:-1] or ".", directory=True)
    if entry.mode & (stat.S_ISUID | stat.S_ISGID):
        raise UnsafeInput(f"archive: {path[:200]!a} would run with the rights of its owner (set-user-id)")
    return Member(path, entry.size, executable=bool(entry.mode & stat.S_IXUSR))


def _inflated(source: Iterator[bytes], entry: Entry) -> Iterator[bytes]:
    """Raw deflate data, which must end exactly where `source` does."""
    inner = zlib.decompressobj(-15)
    try:
        for data in source:
            while data and not inner.eof:
                yield inner.decompress(data, PIECE_BYTES)
                data = inner.unconsumed_tail
        while not inner.eof and (piece := inner.decompress(b"", PIECE_BYTES)):
            yield piece
    except zlib.error as error:
        raise UnsafeInput(f"archive: the zip entry {entry.name[:200]!a} is damaged: {error}") from error
    if not inner.eof or inner.unused_data or next(source, b""):
        raise UnsafeInput(f"archive: the zip entry {entry.name[:200]!a} ends early, or goes on after its end")
