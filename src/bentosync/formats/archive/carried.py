"""The manifest's way through containers that must not show it as a file: labelled pieces of its canonical body."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bentosync.errors import UnsafeInput
from bentosync.manifest.rules import MANIFEST_BYTES_MAX

PIECE_BYTES = 512 << 10
"""libarchive and Go refuse tar headers over 1 MiB."""

_MAGIC = b"bentosync-manifest "
_LABEL = re.compile(rb"bentosync-manifest ([1-9][0-9]{0,3})/([1-9][0-9]{0,3})\n")


def split(body: bytes, piece_bytes: int = PIECE_BYTES) -> Iterator[bytes]:
    """The labelled pieces of a body, each valid UTF-8 of about `piece_bytes` at most."""
    pieces: list[bytes] = []
    start = 0
    while start < len(body) or not pieces:
        end = min(start + piece_bytes, len(body))
        while end < len(body) and body[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(body[start:end])
        start = end
    for number, piece in enumerate(pieces, 1):
        yield b"%b%d/%d\n%b" % (_MAGIC, number, len(pieces), piece)


def is_piece(data: bytes) -> bool:
    """Whether this is meant to be a piece of a manifest."""
    return data.startswith(_MAGIC)


class Joining:
    """Joins pieces as they are met."""

    def __init__(self) -> None:
        self._body = bytearray()
        self._number = 0
        self._count = 0

    def take(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            UnsafeInput: It is not the next one, or the body gets too long.
        """
        label = _LABEL.match(piece)
        number, count = (int(label[1]), int(label[2])) if label is not None else (0, 0)
        if label is None or number != self._number + 1 or number > count or self._count not in (0, count):
            raise UnsafeInput(f"archive: piece {self._number + 1} of the manifest is not there: {piece[:40]!a}")
        self._number, self._count = number, count
        if len(self._body) + len(piece) - label.end() > MANIFEST_BYTES_MAX:
            raise UnsafeInput(f"archive: the manifest is longer than {MANIFEST_BYTES_MAX} bytes")
        self._body += piece[label.end() :]

    def finish(self) -> bytes | None:
        """The body; None if there was no piece.

        Raises:
            UnsafeInput: Pieces are missing.
        """
        if self._number != self._count:
            raise UnsafeInput(f"archive: {self._number} of {self._count} pieces of the manifest are there")
        return bytes(self._body) if self._count else None
