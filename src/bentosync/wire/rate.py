"""A bound for how many bytes a second pass, by waiting after each piece: a token bucket that holds a tenth of a second.

`Bucket` is arithmetic over a clock that somebody else reads; `Limiter` waits by the running event loop. One limiter is
shared by all connections of all remotes that were given the same bound in this process, and counts both directions
together.
"""

from __future__ import annotations

import asyncio
import threading
from functools import cache

from bentosync.commons import Commons

_BURST_SECONDS = 0.1


class Bucket:
    """Bytes pass at `bytes_per_second` on average, and at most a tenth of a second's worth more at any moment."""

    def __init__(self, bytes_per_second: float, *, burst_seconds: float = _BURST_SECONDS) -> None:
        self._seconds_per_byte = 1 / bytes_per_second
        self._burst_seconds = burst_seconds
        self._due = float("-inf")

    def passed(self, count: int, now: float) -> float:
        """`count` bytes have passed; how many seconds to wait before the next ones."""
        self._due = max(self._due, now - self._burst_seconds) + count * self._seconds_per_byte
        return max(0.0, self._due - now)


class Limiter:
    """A bucket, and the waiting. Without a rate nothing waits.

    Event loops of several threads may share it: they read the same steady clock of the system.
    """

    def __init__(self, bytes_per_second: float | None) -> None:
        self._lock = threading.Lock()
        self._bucket = None if bytes_per_second is None else Bucket(bytes_per_second)

    async def passed(self, count: int) -> None:
        """`count` bytes have passed; return when the next ones may."""
        if self._bucket is None:
            return
        with self._lock:
            seconds = self._bucket.passed(count, asyncio.get_running_loop().time())
        if seconds > 0:
            await asyncio.sleep(seconds)


@cache
def _limiters() -> Commons[float | None, Limiter]:
    return Commons(Limiter)


def shared_limiter(bytes_per_second: float | None) -> Limiter:
    """The limiter of the process for that rate: remotes that were given this bound share it."""
    return _limiters().of(bytes_per_second)
