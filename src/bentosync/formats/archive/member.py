"""What all archives have in common: their members, the contract of those who read and write them, and the limits.

Readers and writers stream: a member's bytes are handed on in pieces of bounded size, and nothing but headers is kept.
Format: docs/formats/archive.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from bentosync.manifest.rules import ENTRIES_MAX

Bytes: TypeAlias = bytes | bytearray | memoryview

PIECE_BYTES = 1 << 20
"""Most bytes of a member that are handed on at once."""


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file of `size` bytes, or a folder. `path` is as it was found, without `./` and trailing slash."""

    path: str
    size: int = 0
    executable: bool = False
    directory: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may cost whoever reads it."""

    entries_max: int = ENTRIES_MAX
    bytes_max: int = 1 << 44
    header_bytes_max: int = 1 << 20
    """Of one extended header."""
    ratio_max: int = 100
    """Bytes for each compressed byte, once there are more than `ratio_floor_bytes`."""
    ratio_floor_bytes: int = 64 << 20

    def bomb(self, produced: int, consumed: int) -> bool:
        """Whether `produced` bytes are suspiciously many for `consumed` compressed ones."""
        return produced > self.ratio_floor_bytes and produced > self.ratio_max * consumed


class Reader(Protocol):
    """An archive (or a folder) being read, once, from its start to its end."""

    @property
    def manifest(self) -> bytes | None:
        """The body of the manifest it carries, unchecked; known from the first member on."""

    def members(self) -> Iterator[tuple[Member, Iterator[Bytes]]]:
        """Each member with its bytes, in pieces that are valid until the next.

        Exactly `size` bytes come, or an error does. Pieces that nobody took are skipped. When the iterator ends, the
        whole archive was read and was well-formed; paths are unchecked.

        Raises:
            UnsafeInput: Malformed, hostile, or over a limit.
            OSError: It cannot be read.
        """


class Writer(Protocol):
    """An archive being written: first the manifest, then members in their order, then `finish`."""

    def manifest(self, body: bytes) -> None:
        """Carry the body of a manifest."""

    def directory(self, path: str) -> None:
        """Add a folder."""

    def file(self, member: Member, pieces: Iterable[Bytes]) -> None:
        """Add a file; `pieces` are its bytes, each valid until the next."""

    def finish(self) -> None:
        """Write what ends the archive."""
