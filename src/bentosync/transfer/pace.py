"""How many parts are sent at once: a gate whose width `plateau` decides, and a second try for parts that hang.

A part that takes four times as long as nearly all others is sent again over another connection, once: the first call is
cancelled, and its buffer is ours again, before the second begins. What that costs is bounded by a share of all bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from bentosync.transfer import engine
from bentosync.transfer.meter import Meter
from bentosync.transfer.plateau import Plateau
from bentosync.transfer.room import Room
from bentosync.transfer.window import Seen

T = TypeVar("T")

_TICK_SECONDS = 0.05
_LATE_FACTOR = 4.0
_LATE_SECONDS_MIN = 2.0
_SAMPLES_MIN = 8
_SAMPLES_MAX = 64
_TWICE_SHARE_MAX = 0.05


class Pace:
    """One per operation. Calls go through `send`, inside `running`.

    `streams` has room for as many calls as there may be at once, those of other operations included.
    """

    def __init__(self, plateau: Plateau, meter: Meter, *, total_bytes: int, streams: Room | None = None) -> None:
        self._plateau = plateau
        self._streams = streams
        self._meter = meter
        self._twice_bytes = int(total_bytes * _TWICE_SHARE_MAX)
        self._sending = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._moved = 0
        self._done_since = 0
        self._seconds: deque[float] = deque(maxlen=_SAMPLES_MAX)
        self._now = asyncio.get_running_loop().time

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The width of the gate is looked after in this block."""
        async with engine.alongside(self._govern()):
            yield

    async def send(self, size: int, call: Callable[[], Awaitable[T]]) -> T:
        """Run `call`, which moves `size` bytes and may be repeated, when it is its turn."""
        await self._enter()
        try:
            async with contextlib.nullcontext() if self._streams is None else self._streams.held(1):
                return await self._timed(size, call)
        finally:
            self._leave()

    async def _timed(self, size: int, call: Callable[[], Awaitable[T]]) -> T:
        began = self._now()
        try:
            self._meter.requests += 1
            done = await self._in_time(size, call)
        finally:
            self._meter.busy_seconds += self._now() - began
        self._moved += size
        self._done_since += 1
        self._seconds.append(self._now() - began)
        return done

    async def _in_time(self, size: int, call: Callable[[], Awaitable[T]]) -> T:
        late = self._late_seconds()
        if late is None or size > self._twice_bytes:
            return await call()
        try:
            async with asyncio.timeout(late) as limit:
                return await call()
        except TimeoutError:
            if not limit.expired():
                raise
        self._meter.restarts += 1
        self._meter.requests += 1
        self._meter.hedged_bytes += size
        self._twice_bytes -= size
        return await call()

    def _late_seconds(self) -> float | None:
        """When a part is later than it should be; None while too few are known."""
        if len(self._seconds) < _SAMPLES_MIN:
            return None
        nearly_all = sorted(self._seconds)[int(0.95 * (len(self._seconds) - 1))]
        return max(_LATE_SECONDS_MIN, _LATE_FACTOR * nearly_all)

    async def _enter(self) -> None:
        if self._waiting or self._sending >= self._plateau.level:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave()  # its turn came in the same moment
                with contextlib.suppress(ValueError):
                    self._waiting.remove(turn)
                raise
        else:
            self._sending += 1

    def _leave(self) -> None:
        self._sending -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._sending < self._plateau.level:
            turn = self._waiting.popleft()
            if not turn.done():
                self._sending += 1
                turn.set_result(None)

    async def _govern(self) -> None:
        level, before = self._plateau.level, self._now()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = self._now()
            self._meter.held_seconds += (now - before) * self._plateau.held
            before = now
            meter = self._meter
            # Bytes are known only when a part is through: a stream flows once it has brought one.
            flowing = min(self._done_since, self._sending)
            seen = Seen(self._moved, meter.requests, meter.throttled, meter.broken, flowing)
            if self._plateau.tick(now, seen) != level:
                level, self._done_since = self._plateau.level, 0
            meter.at_level(level)
            self._admit()
