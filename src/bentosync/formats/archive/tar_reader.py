"""Tar files as members, from a stream that is read once.

A member is one or more headers and its bytes, padded to blocks. Extended headers are bounded and kept only until the
member they describe. After the end mark only zeros may follow, and they are read to the end, so that a truncated or
lengthened compressed stream is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bentosync.errors import UnsafeInput
from bentosync.formats.archive import carried, tar_header
from bentosync.formats.archive.member import Bytes, Limits, Member
from bentosync.formats.archive.tar_header import BLOCK_BYTES, ZERO_BLOCK, Header

_AFTER_END_BYTES_MAX = 1 << 20
_SPECIAL_BITS = 0o6000
_REFUSED_KEYWORDS = ("GNU.sparse.", "SCHILY.realsize", "linkpath", "hdrcharset")


class TarReader:
    """Reads a tar file from `pieces`, its bytes in any chunking. The contract is `member.Reader`'s."""

    def __init__(self, pieces: Iterable[bytes], limits: Limits) -> None:
        self.manifest: bytes | None = None
        self._limits = limits
        self._stream = _Stream(iter(pieces))
        self._carried = carried.Joining()
        self._entries = 0
        self._bytes = 0

    def members(self) -> Iterator[tuple[Member, Iterator[Bytes]]]:
        """Each member with its bytes."""
        while (found := self._next()) is not None:
            if self._entries == 0:
                self.manifest = self._carried.finish()
            self._entries += 1
            if self._entries > self._limits.entries_max:
                raise UnsafeInput(f"archive: more than {self._limits.entries_max} members")
            pieces = self._stream.pieces(found.size)
            yield found, pieces
            for _ in pieces:
                pass  # what the caller did not take
            self._stream.skip(-found.size % BLOCK_BYTES)
        self._stream.expect_zeros(_AFTER_END_BYTES_MAX)

    def _next(self) -> Member | None:
        """The member that the next headers describe; None at the end mark."""
        long_name: bytes | None = None
        extended: dict[str, str] | None = None
        while True:
            block = self._stream.exactly(BLOCK_BYTES)
            begun = long_name is not None or extended is not None
            if block == ZERO_BLOCK:
                if begun or self._stream.exactly(BLOCK_BYTES) != ZERO_BLOCK:
                    raise UnsafeInput("archive: the end mark of a tar file is in the wrong place, or half")
                return None
            header = tar_header.parse(block)
            if header.kind == tar_header.PAX_GLOBAL and not begun:
                self._take_global(self._extension(header))
            elif header.kind == tar_header.PAX and extended is None:
                extended = _checked(tar_header.records(self._extension(header)))
            elif header.kind == tar_header.LONG_NAME and long_name is None:
                long_name = self._extension(header).rstrip(b"\0")
            elif header.kind in (tar_header.PAX_GLOBAL, tar_header.PAX, tar_header.LONG_NAME):
                raise UnsafeInput("archive: two tar headers of one kind, or a global one, where a member was expected")
            else:
                return self._member(header, long_name, extended)

    def _member(self, header: Header, long_name: bytes | None, extended: dict[str, str] | None) -> Member:
        extended = extended or {}
        if long_name is not None and "path" in extended:
            raise UnsafeInput("archive: two long names for one member")
        path = extended.get("path")
        if path is None:
            path = tar_header.text("a name", header.name if long_name is None else long_name)
        path = path.removeprefix("./")
        size = tar_header.agreed_size(header, extended.get("size"))
        self._bytes += size
        if self._bytes > self._limits.bytes_max:
            raise UnsafeInput(f"archive: its files have more than {self._limits.bytes_max} bytes")
        if header.kind == tar_header.FOLDER:
            if size:
                raise UnsafeInput(f"archive: the folder {path[:200]!a} has a size")
            return Member(path.removesuffix("/") or ".", directory=True)
        if header.kind not in (tar_header.FILE, tar_header.OLD_FILE):
            what = tar_header.KINDS.get(header.kind, f"of the unknown type {header.kind!a}")
            raise UnsafeInput(
                f"archive: {path[:200]!a} is {what}; a model holds regular files and folders",
                hint="unpack the archive yourself and import the folder, if you trust it",
            )
        if header.mode & _SPECIAL_BITS:
            raise UnsafeInput(f"archive: {path[:200]!a} would run with the rights of its owner (set-user-id)")
        return Member(path, size, executable=bool(header.mode & 0o100))

    def _extension(self, header: Header) -> bytes:
        if header.size > self._limits.header_bytes_max:
            raise UnsafeInput(f"archive: a tar header has {header.size} bytes, over {self._limits.header_bytes_max}")
        data = self._stream.exactly(header.size)
        self._stream.skip(-header.size % BLOCK_BYTES)
        return data

    def _take_global(self, data: bytes) -> None:
        keywords = tar_header.records(data)
        comment = keywords.get("comment", "").encode()
        if carried.is_piece(comment):
            if self._entries:
                raise UnsafeInput("archive: a manifest behind the first member")
            self._carried.take(comment)
        elif {"path", "size"} & keywords.keys() or _checked(keywords) is None:
            raise UnsafeInput("archive: a global tar header gives all members one name or size")


def _checked(keywords: dict[str, str]) -> dict[str, str]:
    for keyword in keywords:
        if keyword.startswith(_REFUSED_KEYWORDS):
            raise UnsafeInput(f"archive: a tar header with {keyword[:80]!a}, for links or sparse files")
    return keywords


class _Stream:
    """Bytes in any chunking, taken in the amounts that headers ask for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._source = pieces
        self._rest = memoryview(b"")

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Exactly `size` bytes, without copying."""
        while size:
            if not self._rest and not self._refill():
                raise UnsafeInput("archive: the tar data ends early", hint="the file was not copied whole")
            piece, self._rest = self._rest[:size], self._rest[size:]
            size -= len(piece)
            yield piece

    def exactly(self, size: int) -> bytes:
        return b"".join(self.pieces(size))

    def skip(self, size: int) -> None:
        for _ in self.pieces(size):
            pass

    def expect_zeros(self, bytes_max: int) -> None:
        """Nothing but zeros, and not too many of them, up to the end."""
        total = 0
        while self._rest or self._refill():
            total += len(self._rest)
            if total > bytes_max or bytes(self._rest).strip(b"\0"):
                raise UnsafeInput("archive: something follows the end of the tar data")
            self._rest = memoryview(b"")

    def _refill(self) -> bool:
        self._rest = memoryview(next(self._source, b""))
        return bool(self._rest)
