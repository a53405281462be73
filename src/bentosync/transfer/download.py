"""Many ranges at once: each arrives in a small buffer, is proven unit by unit, and only then written.

A unit is one block (XXH3-64), or one leaf when the bytes must also match their BLAKE3 digests. A stream holds one unit
of memory whatever the range's length, so `jobs` x unit bounds the memory of a pull. Which ranges, how many at once, and
what happens to slow ones is `flights`' business; here is what becomes of the bytes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter, thread_time

from msgspec import Struct, field

from bentosync.errors import BentoMLException, Conflict, IntegrityError, NotFound, RemoteError
from bentosync.manifest.digests import differences, unit_bytes
from bentosync.manifest.values import BLOCK_BYTES, BLOCK_DIGEST_BYTES, LEAF_BYTES, FileEntry
from bentosync.remote.contract import Remote
from bentosync.store.partial import PartialFile
from bentosync.transfer import plateau
from bentosync.transfer.flights import Enough, Flight, Flights, Gap
from bentosync.transfer.hedge import Patience
from bentosync.transfer.meter import Meter
from bentosync.transfer.plateau import Controller
from bentosync.transfer.pool import shared_pool
from bentosync.transfer.room import shared_streams
from bentosync.transfer.sink import arrived_wrong
from bentosync.wire.landing import Landing

_FIRST_BYTES = 32 << 20
_EARLY_BYTES = 256 << 20
"""Two rounds of single blocks over sixteen streams, then two of leaves."""


class Target(Struct, frozen=True):
    """A file to fetch: where it lies on the remote, and the partial file that takes its blocks."""

    key: str
    file: PartialFile


class Tally(Struct):
    """What a download moved. `proven` is reported as it grows; `dropped` counts bytes that came more than once."""

    on_proven: Callable[[FileEntry, int], None]
    received: int = 0
    dropped: int = 0
    meter: Meter = field(default_factory=Meter)
    etags: dict[str, str] = field(default_factory=dict)


class UnitSink:
    """Receives one range of a file; implements `remote.contract.RangeSink` and `wire.landing.LandingSink`.

    `start` lies on a unit edge. `filled` raises `IntegrityError` (retryable) when a unit's digest does not match, and
    lets `OSError` from the disk through. `end` may be brought forward to any unit edge from `edge` on while bytes come
    in; the sink then raises `Enough` there. A unit that another sink has proven meanwhile counts as dropped.
    """

    def __init__(
        self,
        file: PartialFile,
        fd: int,
        start: int,
        memory: memoryview,
        strong: bool,
        tally: Tally,
        *,
        end: int | None = None,
    ) -> None:
        self._file = file
        self._fd = fd
        self._start = start
        self.end = self._asked = file.entry.size if end is None else end
        self.received = 0
        self._landing_end = start
        self._coming = 0
        self._position = start
        self._memory = memory
        self._strong = strong
        self._tally = tally
        self._pending = 0

    @property
    def position(self) -> int:
        """The first byte that is not proven."""
        return self._position

    @property
    def edge(self) -> int:
        """Where the unit under way ends, or all that the wire was told to land."""
        return max(self._landing_end, min(self._position + len(self._memory), self._file.entry.size))

    def buffer(self) -> memoryview:
        """The rest of the current unit."""
        return self._memory[self._pending : min(len(self._memory), self._file.entry.size - self._position)]

    def filled(self, count: int) -> None:
        """Count bytes in; prove and write the unit when it is whole."""
        self._pending += count
        self.received += count
        self._tally.received += count
        if self._pending == min(len(self._memory), self._file.entry.size - self._position):
            self._finish(self._memory[: self._pending])
            self._stop_at_end()

    def _finish(self, unit: memoryview) -> None:
        meter = self._tally.meter
        began = perf_counter()
        self._prove(unit)
        proven, cpu = perf_counter(), thread_time()
        news = self._news(len(unit))
        self._file.write(self._fd, self._position, unit)
        meter.hash_seconds += proven - began
        meter.disk_seconds += perf_counter() - proven
        meter.disk_cpu_seconds += thread_time() - cpu
        self._position += self._pending
        self._pending = 0
        self._tell(len(unit), news)

    def _news(self, count: int) -> bool:
        """Whether any of the next `count` bytes is not there yet."""
        first, last = self._position // BLOCK_BYTES, -(-(self._position + count) // BLOCK_BYTES)
        return not all(self._file.has(block) for block in range(first, last))

    def _tell(self, count: int, news: bool) -> None:
        if news:
            self._tally.on_proven(self._file.entry, count)
        else:
            self._tally.dropped += count

    def _stop_at_end(self) -> None:
        if self.end <= self._position < self._asked:
            raise Enough

    def landing(self, left: int) -> Landing | None:
        """The next whole blocks of at most one leaf: what a kill may cost. None if leaves must be proven as well."""
        self._stop_at_end()
        entry = self._file.entry
        size = min(left, LEAF_BYTES, self.end - self._position)
        if self._position + size < entry.size:
            size -= size % BLOCK_BYTES
        if self._strong or self._pending or not size:
            return None
        first, last = self._position // BLOCK_BYTES, -(-(self._position + size) // BLOCK_BYTES)
        digests = entry.blocks[first * BLOCK_DIGEST_BYTES : last * BLOCK_DIGEST_BYTES]
        self._landing_end = self._position + size
        return Landing(self._memory, self._fd, self._position, size, digests)

    def landed(self, count: int, coming: int) -> None:
        """Count bytes in that the wire has proven and written, and let those be seen that are still coming."""
        self.received += count + coming - self._coming
        self._coming = coming
        self._tally.received += count
        while count:
            part = min(count, BLOCK_BYTES)
            news = self._news(part)
            self._file.note(self._position, part)
            self._position += part
            count -= part
            self._tell(part, news)

    def spent(self, hash_seconds: float, disk_seconds: float, disk_cpu_seconds: float) -> None:
        """Count the time in that the wire's threads took."""
        meter = self._tally.meter
        meter.hash_seconds += hash_seconds
        meter.disk_seconds += disk_seconds
        meter.disk_cpu_seconds += disk_cpu_seconds

    def rewind(self) -> int:
        """Drop the unit in progress; what is proven stays."""
        self._tally.dropped += self._pending
        self._pending = 0
        self._landing_end = self._position
        return self._position - self._start

    def _prove(self, unit: memoryview) -> None:
        for difference in differences(self._file.entry, self._position, unit, strong=self._strong):
            raise arrived_wrong(self._file.entry, difference)


async def _diagnosed(remote: Remote, target: Target, error: BentoMLException) -> BentoMLException:
    """Turn "cannot read that range" into what is wrong with the object, if it is: missing, or of another size."""
    entry = target.file.entry
    try:
        size = (await remote.stat(target.key)).size
    except NotFound:
        return IntegrityError(f"{entry.path} is missing on the remote: there is no object {target.key}")
    except BentoMLException:
        return error
    if size == entry.size:
        return error
    return IntegrityError(f"{entry.path}: {target.key} has {size} bytes, the manifest says {entry.size}")


async def download(
    remote: Remote,
    targets: Sequence[Target],
    *,
    jobs: int,
    memory_bytes: int,
    range_bytes: int,
    strong: bool,
    tally: Tally,
    patience: Patience | None = None,
    controller: Controller = plateau.chosen,
    in_order: bool = False,
) -> None:
    """Fetch every missing block of `targets`, largest files first.

    Args:
        remote: Where the bytes are.
        targets: What to fetch.
        jobs: The most requests in flight; how many there really are is what `plateau` finds.
        memory_bytes: Bound of the buffers, one unit for each request in flight.
        range_bytes: The longest request.
        strong: Prove BLAKE3 as well as XXH3.
        tally: Counts, and hears of every proven unit once.
        patience: When a stream counts as slow, if not by the defaults.
        controller: Makes what decides how many streams there are.
        in_order: Somebody waits for the first bytes of the first target, then for the next: begin there, with small
            requests, so that the first bytes do not share the line with megabytes of later ones.

    Raises:
        IntegrityError: A unit kept arriving wrong.
        Conflict: An object changed between two ranges.
        OSError: The disk refused.
    """
    unit = unit_bytes(strong=strong)
    pool, streams = shared_pool(memory_bytes), shared_streams(jobs)
    now = asyncio.get_running_loop().time

    async def fetch(flight: Flight[Target]) -> None:
        async with pool.lease(unit) as memory, streams.held(1):
            flight.began = now()  # what it waited for others is not its slowness
            await _receive(remote, flight, memory, strong, tally)

    ordered = targets if in_order else sorted(targets, key=lambda target: -target.file.entry.size)
    gaps = [
        Gap(target, span.start, span.start + span.length) for target in ordered for span in target.file.missing(unit)
    ]
    flights = Flights(
        _small_first(gaps, unit) if in_order else gaps,
        fetch,
        name=lambda target: target.key,
        plateau=controller(min(jobs, pool.count(unit)), unit),
        meter=tally.meter,
        moved=lambda: tally.received,
        range_bytes=range_bytes,
        patience=patience or Patience(),
    )
    await flights.run()


def _small_first(gaps: Sequence[Gap[Target]], unit: int) -> Iterator[Gap[Target]]:
    """The same gaps, what comes first in pieces: the earlier, the smaller."""
    position = 0
    for gap in gaps:
        start = gap.start
        while position < _EARLY_BYTES and start < gap.end:
            step = unit if position < _FIRST_BYTES else LEAF_BYTES
            stop = min(start - start % step + step, gap.end)
            yield Gap(gap.file, start, stop)
            position += stop - start
            start = stop
        if start < gap.end:
            yield Gap(gap.file, start, gap.end)


async def _receive(remote: Remote, flight: Flight[Target], memory: memoryview, strong: bool, tally: Tally) -> None:
    """One range of one file, through a buffer that is ours until this returns."""
    target = flight.file
    fd = target.file.open()
    sink = UnitSink(target.file, fd, flight.start, memory, strong, tally, end=flight.end)
    flight.stream = sink
    try:
        etag = tally.etags.get(target.key)
        seen = await remote.read_range(target.key, flight.start, flight.end - flight.start, sink, etag=etag)
        # Ranges that were under way side by side had no ETag to insist on; compare theirs now.
        if tally.etags.setdefault(target.key, seen) != seen:
            raise Conflict(f"{target.key} was replaced while it was being read", hint="pull again")
    except (NotFound, RemoteError) as error:
        raise await _diagnosed(remote, target, error) from error
    finally:
        sink.rewind()  # what a cancelled call left of a unit has come for nothing
        os.close(fd)
