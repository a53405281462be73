"""So much of something, for everybody in turn: bytes of buffers, requests in flight.

Whoever asks waits until there is room, in the order of asking, so that a large wish is not overtaken for ever by small
ones. Operations in several threads, each with an event loop of its own, may share one room.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from msgspec import Struct

from bentosync.commons import Commons


class _Turn(Struct, eq=False):
    """Somebody who waits, and the loop that must wake him."""

    size: int
    loop: asyncio.AbstractEventLoop
    come: asyncio.Future[None]
    served: bool = False


class Room:
    """At most `size` is taken at a time; one wish at least, however large. Every method may be called from any thread.

    Who has taken something must not wait for more of it; who needs two things takes them in the order in which all do:
    first the buffer, then the stream.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0  # what those have whose turn it is included
        self._waiting: deque[_Turn] = deque()
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """How much is out."""
        return self._taken

    @asynccontextmanager
    async def held(self, size: int) -> AsyncIterator[None]:
        """`size` is ours in this block; waits while there is no room."""
        await self.take(size)
        try:
            yield
        finally:
            self.give(size)

    async def take(self, size: int) -> None:
        """Like `held`, for owners whose use does not nest; pair with `give`."""
        with self._lock:
            if not self._waiting and self._fits(size):
                self._taken += size
                return
            loop = asyncio.get_running_loop()
            turn = _Turn(size, loop, loop.create_future())
            self._waiting.append(turn)
        try:
            await turn.come
        except asyncio.CancelledError:
            with self._lock:
                if turn.served:
                    self._taken -= size  # its turn came in the same moment
                else:
                    self._waiting.remove(turn)
                self._serve()
            raise

    def give(self, size: int) -> None:
        """End what `take` began."""
        with self._lock:
            self._taken -= size
            self._serve()

    def _fits(self, size: int) -> bool:
        return self._taken == 0 or self._taken + size <= self._size

    def _serve(self) -> None:
        while self._waiting and self._fits(self._waiting[0].size):
            turn = self._waiting.popleft()
            self._taken += turn.size
            turn.served = True
            if not _told(turn):
                self._taken -= turn.size


def _told(turn: _Turn) -> bool:
    """Wake who waits; False if his loop has ended without him."""
    with contextlib.suppress(RuntimeError):
        if asyncio.get_running_loop() is turn.loop:
            _wake(turn)
            return True
    with contextlib.suppress(RuntimeError):
        turn.loop.call_soon_threadsafe(_wake, turn)
        return True
    return False


def _wake(turn: _Turn) -> None:
    if not turn.come.done():
        turn.come.set_result(None)


@cache
def _streams() -> Commons[int, Room]:
    return Commons(Room)


def shared_streams(jobs: int) -> Room:
    """The room of the process for `jobs` requests in flight: operations that were given this bound share it."""
    return _streams().of(jobs)
