"""Ranges of a file, several under way and handed on in their order.

One stream of one connection is what a far store makes slow; so the next ranges are asked for while the first is read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from bentosync.formats.archive.member import Bytes

RANGE_BYTES = 8 << 20

Fetch = Callable[[int, int], Future[Bytes]]
"""Begins to fetch so many bytes from an offset."""


def in_order(fetch: Fetch, size: int, *, most: int, settle: Callable[[list[Future[Bytes]]], None]) -> Iterator[Bytes]:
    """The bytes of a file of `size` bytes, at most `most` ranges of them under way or waiting to be read.

    Args:
        fetch: Begins to fetch a range.
        size: Of the file.
        most: Bounds the memory, in ranges.
        settle: Called at the end, however it comes, with what is still under way; waits until it is not.
    """
    starts = iter(range(0, size, RANGE_BYTES))
    waiting: deque[Future[Bytes]] = deque()
    try:
        while True:
            while len(waiting) < most and (start := next(starts, None)) is not None:
                waiting.append(fetch(start, min(RANGE_BYTES, size - start)))
            if not waiting:
                return
            yield waiting[0].result()
            waiting.popleft()
    finally:
        settle(list(waiting))
