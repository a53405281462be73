"""How files are cut, as pure functions: parts for uploads, ranges for downloads.

A part size is a function of the file size alone, so any host can go on with any other host's upload. Many stored parts
are worth having: one stored part of a standard bucket serves about 10 Gb/s.
"""

from __future__ import annotations

from msgspec import Struct

from bentosync.errors import InvalidArgument
from bentosync.manifest.values import LEAF_BYTES

PART_BYTES_MIN = 16 << 20
PARTS_MAX = 5000
PART_BYTES_LIMIT = 4 << 30


class Slice(Struct, frozen=True):
    """Bytes [start, start + length) of a file."""

    start: int
    length: int


def part_bytes(size: int) -> int:
    """The part size for a file of `size` bytes: the smallest power of two >= 16 MiB that needs <= 5,000 parts.

    Raises:
        InvalidArgument: The file is larger than 5,000 parts of 4 GiB.
    """
    part = PART_BYTES_MIN
    while part * PARTS_MAX < size:
        part *= 2
    if part > PART_BYTES_LIMIT:
        raise InvalidArgument(f"a file of {size} bytes is too large to upload ({PARTS_MAX} parts of 4 GiB at most)")
    return part


def parts(size: int) -> tuple[Slice, ...]:
    """The parts of a file of `size` bytes, in order; part n of the upload is element n - 1. Empty files have none."""
    step = part_bytes(size)
    return tuple(Slice(start, min(step, size - start)) for start in range(0, size, step))


def share(left: int, streams: int, limit: int) -> int:
    """How much one request asks for while `left` bytes wait: whole leaves, at least one, at most `limit`.

    So much that every stream gets two more requests: large ones at first, small ones at the end, where a large one
    would be what everybody waits for.
    """
    wanted = min(limit, left // (2 * max(1, streams)))
    return max(LEAF_BYTES, wanted - wanted % LEAF_BYTES)
