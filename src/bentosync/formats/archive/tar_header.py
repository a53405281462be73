"""The blocks of a tar file as values and back: pure, strict, no guessing.

Where two readers of tar could understand a header differently, it is refused (docs/formats/archive.md says what).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bentosync.errors import UnsafeInput

BLOCK_BYTES = 512
ZERO_BLOCK = bytes(BLOCK_BYTES)

FILE, OLD_FILE, FOLDER, PAX, PAX_GLOBAL, LONG_NAME = b"0", b"\x00", b"5", b"x", b"g", b"L"

KINDS: Mapping[bytes, str] = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a pipe",
    b"7": "a contiguous file",
    b"D": "a dumped folder",
    b"K": "the target of a long link",
    b"M": "a part of a multi-volume file",
    b"S": "a sparse file",
    b"V": "a volume label",
}

_NUMBER = re.compile(rb" *([0-7]*)[ \x00]*")
_RECORD = re.compile(rb"([1-9][0-9]{0,9}) ")
_SMALL_BYTES_MAX = 8**11 - 1
"""The largest size that the header itself can hold."""


@dataclass(frozen=True, slots=True)
class Header:
    """What one header block says. `kind` is its type flag; `name` is as written, prefix included."""

    name: bytes
    kind: bytes
    mode: int
    size: int


def parse(block: bytes) -> Header:
    """The header in a block that is not zero.

    Raises:
        UnsafeInput: It is not one.
    """
    if not is_header(block):
        raise UnsafeInput("archive: a tar header has a wrong checksum", hint="the archive is damaged, or no tar file")
    if block[345:500].strip(b"\0") and block[257:263] != b"ustar\0":
        raise UnsafeInput("archive: an old tar header with data where the prefix of a name would be")
    name, prefix = _text(block[:100]), _text(block[345:500])
    return Header(
        name=prefix + b"/" + name if prefix else name,
        kind=block[156:157],
        mode=_number("mode", block[100:108]),
        size=_size(block[124:136]),
    )


def is_header(block: bytes) -> bool:
    """Whether a block is a tar header: its checksum decides."""
    stated = _NUMBER.fullmatch(block[148:156])
    total = sum(block[:148]) + 8 * 0x20 + sum(block[156:])
    return len(block) == BLOCK_BYTES and stated is not None and bool(stated[1]) and int(stated[1], 8) == total


def records(data: bytes) -> dict[str, str]:
    """The keywords of a pax header.

    Raises:
        UnsafeInput: Lengths do not add up, text is no UTF-8, or a keyword appears twice.
    """
    found: dict[str, str] = {}
    at = 0
    while at < len(data):
        length = _RECORD.match(data, at)
        end = at + int(length[1]) if length is not None else 0
        if length is None or not length.end() < end <= len(data) or data[end - 1] != 0x0A:
            raise UnsafeInput("archive: a pax record is malformed")
        key, equals, value = data[length.end() : end - 1].partition(b"=")
        keyword = text("a pax keyword", key)
        if not equals or not keyword or keyword in found:
            raise UnsafeInput(f"archive: a pax record without keyword, or a second one of {keyword[:80]!a}")
        found[keyword] = text(f"the pax value of {keyword[:80]!a}", value)
        at = end
    return found


def text(what: str, data: bytes) -> str:
    """UTF-8 to text.

    Raises:
        UnsafeInput: It is not UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise UnsafeInput(f"archive: {what} is not UTF-8: {data[:80]!a}") from None


def agreed_size(header: Header, stated: str | None) -> int:
    """The size of a member whose pax header states one, which may only say what the header could not hold.

    Raises:
        UnsafeInput: They contradict each other.
    """
    if stated is None:
        return header.size
    size = int(stated) if re.fullmatch("[0-9]{1,19}", stated) else -1
    if size != header.size and not (size > _SMALL_BYTES_MAX and header.size in (0, _SMALL_BYTES_MAX)):
        raise UnsafeInput(f"archive: a pax header states the size {stated[:40]!a}, the tar header {header.size}")
    return size


def member_blocks(path: str, kind: bytes, size: int, mode: int) -> bytes:
    """The headers of a member."""
    name = path.encode()
    extended: dict[str, str] = {}
    if not path.isascii() or len(name) > 100:
        extended["path"] = path
    if size > _SMALL_BYTES_MAX:
        extended["size"] = str(size)
    head = extension_blocks(PAX, b"".join(_record(*item) for item in extended.items())) if extended else b""
    shown = path.encode("ascii", "replace")[:100]
    return head + _block(shown, kind, 0 if "size" in extended else size, mode)


def extension_blocks(kind: bytes, data: bytes) -> bytes:
    """A pax header and its records, padded."""
    return _block(b"pax_header", kind, len(data), 0o644) + data + padding(len(data))


def comment(value: bytes) -> bytes:
    """The pax record that every reader ignores."""
    return _spelled(b"comment", value)


def padding(size: int) -> bytes:
    """The zeros that follow `size` bytes."""
    return bytes(-size % BLOCK_BYTES)


def _record(keyword: str, value: str) -> bytes:
    return _spelled(keyword.encode(), value.encode())


def _spelled(keyword: bytes, value: bytes) -> bytes:
    r"""`<length> <keyword>=<value>\n`, where the length counts its own digits."""
    rest = b" " + keyword + b"=" + value + b"\n"
    length = len(rest) + 1
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest


def _block(name: bytes, kind: bytes, size: int, mode: int) -> bytes:
    block = bytearray(BLOCK_BYTES)
    block[: len(name)] = name
    block[100:108] = b"%07o\0" % mode
    block[108:124] = b"0000000\0" * 2
    block[124:136] = b"%011o\0" % size
    block[136:148] = b"00000000000\0"
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[329:345] = b"0000000\0" * 2
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _size(field: bytes) -> int:
    if field[0] == 0x80:  # GNU: the number itself, where octal digits are too few
        return int.from_bytes(field[1:])
    return _number("size", field)


def _number(what: str, field: bytes) -> int:
    found = _NUMBER.fullmatch(field)
    if found is None:
        raise UnsafeInput(f"archive: the {what} {field!a} in a tar header is no octal number")
    return int(found[1] or b"0", 8)
