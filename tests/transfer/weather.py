"""A simulated store for the engine's control: it moves no bytes, but takes the time that a real one would.

Every stream gets its share of what the server gives at that moment. Files are fakes of `store.partial.PartialFile`
whose blocks all have the digest of an untouched buffer, so the engine proves them as it does real ones.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import xxhash

from bentosync.errors import NetworkError, Throttled
from bentosync.events import Event, Retried
from bentosync.manifest.values import BLOCK_BYTES
from bentosync.remote.contract import Part, Properties, RangeSink, Stat, Upload
from bentosync.remote.retrying import RetryingRemote, RetryPolicy
from bentosync.store.partial import Span
from bentosync.transfer import download as downloading
from bentosync.transfer import plateau
from bentosync.transfer.hedge import Patience
from bentosync.transfer.window import Seen
from tests.transfer import virtual

GIB = 1 << 30
MB = 1e6


@dataclass(frozen=True)
class Weather:
    """What the server is like. Rates in bytes a second; 0 is no limit of that kind."""

    rate_total: float = 2000 * MB
    rate_connection: float = 0
    round_trip: float = 0.002
    slow_down_above: int = 0
    refuse_share: float = 0
    crawl_above: int = 0
    crawl_rate: float = 1 * MB
    stall_nth: tuple[int, ...] = ()
    drip_nth: tuple[int, ...] = ()
    drip_rate: float = 100
    slow_share: float = 0
    slow_rate: float = 2 * MB
    reset_share: float = 0
    noise: float = 0.15
    changes_at: float = 0
    then: Weather | None = None


class Server:
    """Implements as much of `remote.contract.Remote` as a transfer needs."""

    def __init__(self, weather: Weather, seed: int = 1) -> None:
        self._weather = weather
        self._random = random.Random(seed)
        self.active = 0
        self.active_most = 0
        self.begun = 0
        self.refused = 0
        self.sent_bytes = 0
        self._idle = 0
        self._born = asyncio.get_running_loop().time()

    properties = Properties("sim://", None, 1, 10_000, 1 << 40)

    @property
    def weather(self) -> Weather:
        at = self._weather
        if at.then is not None and asyncio.get_running_loop().time() - self._born >= at.changes_at:
            return at.then
        return at

    async def stat(self, key: str) -> Stat:
        raise NetworkError("not now")

    async def read_range(self, key: str, start: int, length: int, sink: RangeSink, *, etag: str | None = None) -> str:
        await self._served(length, lambda count: _fill(sink, count))
        return "etag"

    async def start_upload(self, key: str, *, size: int, part_bytes: int) -> Upload:
        return Upload(key, "1")

    async def send_part(self, upload: Upload, number: int, data: Any, *, checksum: bytes | None) -> Part:
        size = sum(buffer.nbytes for buffer in data)
        await self._served(size, lambda count: None)
        return Part(number, size, f"e{number}")

    async def complete_upload(self, upload: Upload, parts: Any, *, checksum: bytes | None) -> str:
        return "etag"

    async def write(self, key: str, data: Any, *, condition: Any = None, checksum: bytes | None = None) -> str:
        await self._served(sum(buffer.nbytes for buffer in data), lambda count: None)
        return "etag"

    async def aclose(self) -> None:
        pass

    async def _served(self, length: int, deliver: Callable[[int], None]) -> None:
        warm = self._idle > 0
        self._idle -= warm
        self.active += 1
        self.active_most = max(self.active_most, self.active)
        self.begun += 1
        number = self.begun
        try:
            await asyncio.sleep(self.weather.round_trip * (1 if warm else 2))
            self._refuse()
            stalls = number in self.weather.stall_nth
            slow = self._random.random() < self.weather.slow_share
            done = 0
            while done < length:
                weather = self.weather
                if stalls and done >= length // 2:
                    await asyncio.sleep(15)
                    raise NetworkError("nothing came for 15 s")
                if weather.reset_share and self._random.random() < weather.reset_share:
                    raise NetworkError("reset")
                count = min(BLOCK_BYTES, length - done)
                rate = self._rate(number, slow)
                while count / rate > 0.2 and count > 256:
                    count //= 2
                await asyncio.sleep(count / rate * (1 + self._random.uniform(-weather.noise, weather.noise)))
                deliver(count)
                done += count
                self.sent_bytes += count
            self._idle += 1
        finally:
            self.active -= 1

    def _refuse(self) -> None:
        weather = self.weather
        over = weather.slow_down_above and self.active > weather.slow_down_above
        if over or self._random.random() < weather.refuse_share:
            self.refused += 1
            raise Throttled("slow down")

    def _rate(self, number: int, slow: bool) -> float:
        weather = self.weather
        if number in weather.drip_nth:
            return weather.drip_rate
        if weather.crawl_above and self.active > weather.crawl_above:
            return weather.crawl_rate
        rate = weather.rate_total / max(1, self.active)
        if weather.rate_connection:
            rate = min(rate, weather.rate_connection)
        return min(rate, weather.slow_rate) if slow else rate


def _fill(sink: RangeSink, count: int) -> None:
    while count:
        step = min(count, len(sink.buffer()))
        sink.filled(step)
        count -= step


_BLANK = xxhash.xxh3_64_digest(bytes(BLOCK_BYTES))


@dataclass(frozen=True)
class _Entry:
    size: int
    path: str = "model.bin"

    def block_digest(self, block: int) -> bytes:
        return _BLANK


@dataclass
class File:
    """Stands in for a `PartialFile` of whole blocks."""

    entry: Any
    written: dict[int, int] = field(default_factory=dict)

    def open(self) -> int:
        return os.open(os.devnull, os.O_WRONLY)

    def write(self, fd: int, offset: int, data: memoryview) -> None:
        assert offset % BLOCK_BYTES == 0
        self.written[offset // BLOCK_BYTES] = self.written.get(offset // BLOCK_BYTES, 0) + 1

    def has(self, block: int) -> bool:
        return block in self.written

    def missing(self, unit_bytes: int) -> list[Span]:
        return [Span(0, self.entry.size)]


@dataclass(frozen=True)
class Outcome:
    """How a simulated pull went. `dropped_bytes` came and were of no use."""

    seconds: float
    size: int
    meter: Any
    dropped_bytes: int
    sent_bytes: int
    active_most: int
    levels: tuple[tuple[float, int], ...]

    @property
    def rate(self) -> float:
        return self.size / self.seconds


def pull(
    weather: Weather,
    size: int = 4 * GIB,
    *,
    jobs: int = 64,
    seed: int = 1,
    fixed: int = 0,
    files: int = 1,
    range_bytes: int = 32 << 20,
    patience: Patience | None = None,
) -> Outcome:
    """Download `size` bytes in virtual time; with `fixed`, at that many streams from start to end."""

    async def main() -> Outcome:
        server = Server(weather, seed)
        targets = [downloading.Target(f"k{n}", File(_Entry(size // files))) for n in range(files)]  # type: ignore[arg-type]
        proven = 0

        def count(entry: object, more: int) -> None:
            nonlocal proven
            proven += more

        tally = downloading.Tally(count)

        def observe(event: Event) -> None:
            if isinstance(event, Retried):
                tally.meter.retried(event.code, event.delay_seconds)

        draw = random.Random(seed).random
        remote = RetryingRemote(server, RetryPolicy(), observer=observe, clock=virtual.LoopClock(), draw=draw)  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        began = loop.time()
        levels = _Levels()
        await downloading.download(
            remote, targets, jobs=jobs, memory_bytes=1 << 30, range_bytes=range_bytes, strong=False, tally=tally,
            patience=patience, controller=levels.around(plateau.Fixed(fixed) if fixed else None),
        )  # fmt: skip
        assert proven == size // files * files, "every byte is told once"
        return Outcome(
            loop.time() - began, size, tally.meter, tally.dropped, server.sent_bytes, server.active_most,
            tuple((at - began, level) for at, level in levels.seen),
        )  # fmt: skip

    return virtual.run(main())


class _Levels:
    """Writes down how the level changes."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int]] = []

    def around(self, fixed: plateau.Plateau | None) -> plateau.Controller:
        def make(level_max: int, unit_bytes: int, *, level_start: int = plateau.LEVEL_START) -> plateau.Plateau:
            inner = fixed or plateau.chosen(level_max, unit_bytes)
            tick = inner.tick

            def watched(now: float, seen: Seen) -> int:
                level = tick(now, seen)
                if not self.seen or self.seen[-1][1] != level:
                    self.seen.append((now, level))
                return level

            inner.tick = watched  # type: ignore[method-assign]
            return inner

        return make
