"""The records of a zip file as values and back: pure, strict. PKWARE's APPNOTE.TXT 6.3 gives names and layouts.

Only the simplest zip is written and understood: one disk, entries one behind the other from byte 0, stored or deflated.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from bentosync.errors import UnsafeInput

LOCAL, CENTRAL, EXTRA_DATA = b"PK\x03\x04", b"PK\x01\x02", b"PK\x06\x08"
_END, _END64, _LOCATOR64, _DESCRIPTOR = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08"

STORED, DEFLATED = 0, 8
ENCRYPTED, STREAMED, UTF8 = 0x0001, 0x0008, 0x0800
_FLAGS_KNOWN = 0x0002 | 0x0004 | STREAMED | UTF8  # bits 1 and 2: how hard deflate tried

END_BYTES_MAX = 22 + 0xFFFF + 56 + 20
"""The end of a zip file begins within this many bytes from its end."""

_LOCAL_HEAD = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL_HEAD = struct.Struct("<4sBBHHHHHIIIHHHHHII")
_END_HEAD = struct.Struct("<4sHHHHIIH")
_END64_HEAD = struct.Struct("<4sQBBHIIQQQQ")
_LOCATOR64_HEAD = struct.Struct("<4sIQI")
LOCAL_BYTES = _LOCAL_HEAD.size

_FULL32, _FULL16 = 0xFFFFFFFF, 0xFFFF
_ZIP64_KEY = 1
_UNIX = 3
_VERSION, _VERSION64 = 20, 45
_1980 = 0x0021  # 1 January, the earliest day there is


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as the central directory has it. `mode` is 0 where the maker was no Unix."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    mode: int


@dataclass(frozen=True, slots=True)
class Ending:
    """Where the central directory lies, from byte `offset` for `size` bytes, and how many entries it has."""

    offset: int
    size: int
    entries: int


def find_ending(tail: bytes, file_size: int) -> Ending:
    """Where the central directory of a file of `file_size` bytes lies, from its last `END_BYTES_MAX` bytes.

    Raises:
        UnsafeInput: There is no end, more than one, or it contradicts itself.
    """
    places = [at for at in _occurrences(tail, _END) if _ends_here(tail, at)]
    if len(places) != 1:
        raise UnsafeInput(f"archive: {len(places)} ends of a zip file were found, where there must be one")
    at = places[0]
    _, disk, first_disk, here, entries, size, offset, _ = _END_HEAD.unpack_from(tail, at)
    before = at
    if _LOCATOR64_HEAD.size <= at and tail[at - _LOCATOR64_HEAD.size :].startswith(_LOCATOR64):
        before, (here, entries, size, offset) = _ending64(tail, at - _LOCATOR64_HEAD.size, file_size)
    if (disk, first_disk) != (0, 0) or here != entries:
        raise UnsafeInput("archive: a zip file over several disks")
    if offset + size != file_size - len(tail) + before:
        raise UnsafeInput("archive: the central directory of a zip file is not where its end says")
    return Ending(offset, size, entries)


def central_entries(data: bytes, ending: Ending) -> Iterator[Entry]:
    """The entries of a central directory.

    Raises:
        UnsafeInput: It is malformed, or holds more or fewer entries than its end says.
    """
    at, count = 0, 0
    while at < len(data):
        if len(data) - at < _CENTRAL_HEAD.size or not data.startswith(CENTRAL, at):
            raise UnsafeInput("archive: the central directory of a zip file is malformed")
        (_, _, system, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes, comment_bytes, disk, _,
         attributes, offset) = _CENTRAL_HEAD.unpack_from(data, at)  # fmt: skip
        at += _CENTRAL_HEAD.size
        name, extra = data[at : at + name_bytes], data[at + name_bytes : at + name_bytes + extra_bytes]
        at += name_bytes + extra_bytes + comment_bytes
        if at > len(data) or disk:
            raise UnsafeInput("archive: the central directory of a zip file is malformed")
        size, packed, offset = _widened(extra, size, packed, offset)
        yield Entry(name, flags, method, crc, packed, size, offset, attributes >> 16 if system == _UNIX else 0)
        count += 1
    if count != ending.entries:
        raise UnsafeInput(f"archive: a zip file with {count} entries, where its end says {ending.entries}")


def check_flags(entry: Entry) -> None:
    """Refuse what this reader does not know.

    Raises:
        UnsafeInput: Encrypted, compressed by another method, or with a flag of unknown meaning.
    """
    if entry.flags & ENCRYPTED:
        raise UnsafeInput(f"archive: {entry.name[:200]!a} is encrypted")
    if entry.flags & ~_FLAGS_KNOWN or entry.method not in (STORED, DEFLATED):
        raise UnsafeInput(f"archive: {entry.name[:200]!a} has method {entry.method} and flags {entry.flags:#x}")
    if not entry.flags & UTF8 and not entry.name.isascii():
        raise UnsafeInput(
            f"archive: the name {entry.name[:200]!a} is in no known encoding", hint="unpack it and import the folder"
        )


def check_local(head: bytes, entry: Entry) -> int:
    """Refuse a local header that contradicts the central directory; returns how many bytes follow it.

    Raises:
        UnsafeInput: The message names the entry.
    """
    if len(head) != LOCAL_BYTES or not head.startswith(LOCAL):
        raise UnsafeInput(f"archive: there is no entry {entry.name[:200]!a} where the central directory says")
    _, _, flags, method, _, _, _, _, _, name_bytes, extra_bytes = _LOCAL_HEAD.unpack(head)
    if (flags, method, name_bytes) != (entry.flags, entry.method, len(entry.name)):
        raise _contradiction(entry)
    return int(name_bytes + extra_bytes)


def check_local_rest(head: bytes, rest: bytes, entry: Entry) -> None:
    """The same for name and sizes, which are zero in a streamed entry.

    Raises:
        UnsafeInput: The message names the entry.
    """
    crc, packed, size = _LOCAL_HEAD.unpack(head)[6:9]
    name, extra = rest[: len(entry.name)], rest[len(entry.name) :]
    size, packed, _ = _widened(extra, size, packed, 0)
    known = {(entry.crc, entry.packed, entry.size)}
    if entry.flags & STREAMED:
        known |= {(0, 0, 0)}
    if name != entry.name or (crc, packed, size) not in known:
        raise _contradiction(entry)


def descriptors(entry: Entry) -> set[bytes]:
    """What may stand behind the data of a streamed entry."""
    if not entry.flags & STREAMED:
        return {b""}
    bodies = [struct.pack("<IQQ", entry.crc, entry.packed, entry.size)]
    if max(entry.packed, entry.size) <= _FULL32:
        bodies.append(struct.pack("<III", entry.crc, entry.packed, entry.size))
    return {head + body for head in (b"", _DESCRIPTOR) for body in bodies}


def descriptor(entry: Entry) -> bytes:
    """What is written behind the data of a streamed entry."""
    form = "<IQQ" if _is_wide(entry) else "<III"
    return _DESCRIPTOR + struct.pack(form, entry.crc, entry.packed, entry.size)


def local_header(entry: Entry) -> bytes:
    """The header in front of an entry's data. Its length depends on name and size alone."""
    wide = _is_wide(entry)
    if entry.flags & STREAMED:
        entry = replace(entry, crc=0, packed=0, size=0)
    extra = struct.pack("<HHQQ", _ZIP64_KEY, 16, entry.size, entry.packed) if wide else b""
    packed, size = (_FULL32, _FULL32) if wide else (entry.packed, entry.size)
    version = _VERSION64 if wide else _VERSION
    head = _LOCAL_HEAD.pack(
        LOCAL, version, entry.flags, entry.method, 0, _1980, entry.crc, packed, size, len(entry.name), len(extra)
    )
    return head + entry.name + extra


def central_header(entry: Entry) -> bytes:
    """An entry of the central directory."""
    values = b""
    packed, size, offset = entry.packed, entry.size, entry.offset
    if _is_wide(entry):
        values, packed, size = struct.pack("<QQ", size, packed), _FULL32, _FULL32
    if offset >= _FULL32:
        values, offset = values + struct.pack("<Q", offset), _FULL32
    extra = struct.pack("<HH", _ZIP64_KEY, len(values)) + values if values else b""
    version = _VERSION64 if values else _VERSION
    attributes = entry.mode << 16 | (0x10 if entry.name.endswith(b"/") else 0)
    head = _CENTRAL_HEAD.pack(
        CENTRAL, version, _UNIX, version, entry.flags, entry.method, 0, _1980, entry.crc, packed, size,
        len(entry.name), len(extra), 0, 0, 0, attributes, offset,
    )  # fmt: skip
    return head + entry.name + extra


def ending(end: Ending) -> bytes:
    """What ends a zip file."""
    small = end.entries < _FULL16 and end.size < _FULL32 and end.offset < _FULL32
    wide = b""
    if not small:
        wide = _END64_HEAD.pack(
            _END64, _END64_HEAD.size - 12, _VERSION64, _UNIX, _VERSION64, 0, 0, end.entries, end.entries, end.size,
            end.offset,
        )  # fmt: skip
        wide += _LOCATOR64_HEAD.pack(_LOCATOR64, 0, end.offset + end.size, 1)
    entries = min(end.entries, _FULL16) if small else _FULL16
    size, offset = (end.size, end.offset) if small else (_FULL32, _FULL32)
    return wide + _END_HEAD.pack(_END, 0, 0, entries, entries, size, offset, 0)


def extra_data(data: bytes) -> bytes:
    """The record that may stand in front of the central directory."""
    return EXTRA_DATA + struct.pack("<I", len(data)) + data


def extra_data_of(record: bytes) -> bytes:
    """What such a record holds.

    Raises:
        UnsafeInput: It is something else.
    """
    if record[:4] != EXTRA_DATA or record[4:8] != struct.pack("<I", max(0, len(record) - 8)):
        raise UnsafeInput("archive: something unknown stands in front of the central directory of a zip file")
    return record[8:]


def _is_wide(entry: Entry) -> bool:
    # Deflate may make data a little longer, which is not known when the header is first written.
    return entry.size >= 0xFF000000


def _widened(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The three numbers, each from the zip64 field where it says that it is there."""
    wide = _fields(extra).get(_ZIP64_KEY)
    numbers = [size, packed, offset]
    missing = [index for index, number in enumerate(numbers) if number == _FULL32]
    if wide is None:
        return size, packed, offset
    if len(wide) != 8 * len(missing):
        raise UnsafeInput("archive: a zip64 field does not have the numbers that are missing")
    for index, number in zip(missing, struct.unpack(f"<{len(missing)}Q", wide), strict=True):
        numbers[index] = number
    return numbers[0], numbers[1], numbers[2]


def _fields(extra: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(extra):
        if len(extra) - at < 4:
            raise UnsafeInput("archive: the extra fields of a zip entry are malformed")
        key, length = struct.unpack_from("<HH", extra, at)
        at += 4 + length
        if at > len(extra) or key in found:
            raise UnsafeInput("archive: the extra fields of a zip entry are malformed")
        found[key] = extra[at - length : at]
    return found


def _ending64(tail: bytes, at: int, file_size: int) -> tuple[int, tuple[int, int, int, int]]:
    _, disk, where, disks = _LOCATOR64_HEAD.unpack_from(tail, at)
    start = where - (file_size - len(tail))
    if disk or disks != 1 or start != at - _END64_HEAD.size or start < 0 or not tail.startswith(_END64, start):
        raise UnsafeInput("archive: the zip64 end of a zip file is not where it must be")
    _, length, _, _, _, disk, first_disk, here, entries, size, offset = _END64_HEAD.unpack_from(tail, start)
    if length != _END64_HEAD.size - 12 or disk or first_disk:
        raise UnsafeInput("archive: the zip64 end of a zip file is malformed")
    return start, (here, entries, size, offset)


def _ends_here(tail: bytes, at: int) -> bool:
    if len(tail) - at < _END_HEAD.size:
        return False
    return bool(_END_HEAD.unpack_from(tail, at)[-1] == len(tail) - at - _END_HEAD.size)


def _occurrences(data: bytes, what: bytes) -> Iterator[int]:
    at = data.find(what)
    while at >= 0:
        yield at
        at = data.find(what, at + 1)


def _contradiction(entry: Entry) -> UnsafeInput:
    return UnsafeInput(f"archive: the two headers of the zip entry {entry.name[:200]!a} differ")
