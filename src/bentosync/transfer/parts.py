"""How files are cut, as pure functions: parts for uploads, ranges for downloads.

A part size is a function of the file size alone, so any host can go on with any other host's upload. Many stored parts
are worth having: one stored part of a standard bucket serves about 10 Gb/s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bentosync.errors import InvalidArgument
from bentosync.manifest.values import LEAF_BYTES

PART_BYTES_MIN = 16 << 20
PARTS_MAX = 5000
PART_BYTES_LIMIT = 4 << 30

_SMALL_FILE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Slice:
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


def range_bytes(file_size: int, limit: int) -> int:
    """How much one request asks for: one leaf for files under 256 MiB, else `limit` in whole leaves."""
    return LEAF_BYTES if file_size < _SMALL_FILE_BYTES else max(LEAF_BYTES, limit - limit % LEAF_BYTES)


def ranges(missing: Iterable[tuple[int, int]], step: int) -> Iterator[Slice]:
    """Cut runs of missing bytes (start, length) into requests that end on multiples of `step`."""
    for start, length in missing:
        end = start + length
        while start < end:
            stop = min(end, (start // step + 1) * step)
            yield Slice(start, stop - start)
            start = stop
