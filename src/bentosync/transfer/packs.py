"""Packs: the small files of a version once more, one behind the other, so that a pull gets many by one request. Pure.

Which files are in which pack follows from paths and sizes alone, so the manifest need not say it, and a remote may have
packs or not. Nobody trusts one either: what comes out of it is held against the digests of its files.
Format: docs/formats/remote-layout.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from bentosync.manifest.rules import INLINE_FILE_BYTES_MAX, inlined

FILE_BYTES_MAX = INLINE_FILE_BYTES_MAX
"""Larger files are in no pack: their requests are worth it."""
PACK_BYTES_MAX = 4 << 20
PACK_FILES_MAX = 4096
FILES_MIN = 32
"""With fewer files than this there are no packs: they would save next to nothing."""


class Member(Struct, frozen=True):
    """A file of a pack, and where in it its bytes begin."""

    path: str
    offset: int
    size: int


class Pack(Struct, frozen=True):
    """Files that lie in one object of `size` bytes, without holes. Packs are numbered from 0."""

    number: int
    size: int
    members: Sequence[Member]


def packs(files: Iterable[tuple[str, int]]) -> list[Pack]:
    """The packs of a tree, given path and size in bytes of all its files in path order.

    Raises:
        UnsafeInput: The tree can have no manifest: it has no `model.yaml`, or too large a one.
    """
    files = list(files)
    inline = inlined(files)
    small = [(path, size) for path, size in files if 0 < size <= FILE_BYTES_MAX and path not in inline]
    if len(small) < FILES_MIN:
        return []
    found: list[Pack] = []
    members: list[Member] = []
    filled = 0
    for path, size in small:
        if filled + size > PACK_BYTES_MAX or len(members) == PACK_FILES_MAX:
            found.append(Pack(len(found), filled, members))
            members, filled = [], 0
        members.append(Member(path, filled, size))
        filled += size
    found.append(Pack(len(found), filled, members))
    return found
