"""What lies on a remote, read into memory and proven against its manifest, and kept nowhere.

A remote is believed after a push: it took every part with a checksum. What happens to the bytes later (a disk that
forgets, a lifecycle rule, somebody's `aws s3 cp`) shows only to whoever reads them. Units (blocks, or leaves if BLAKE3
is wanted) that differ are asked for again, because they may have been damaged on the way; those that differ every time
are what is reported. Bytes are read once, memory is bounded by the pool, digests are taken in threads.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from msgspec import Struct

from bentosync.blocking import in_thread
from bentosync.errors import NotFound
from bentosync.manifest.digests import differences, unit_bytes
from bentosync.manifest.values import FileEntry
from bentosync.remote.contract import MissingRemote, Remote
from bentosync.store.proof import Damage
from bentosync.transfer import engine, parts, plateau
from bentosync.transfer.meter import Meter
from bentosync.transfer.pace import Pace
from bentosync.transfer.parts import Slice
from bentosync.transfer.pool import shared_pool
from bentosync.transfer.room import shared_streams
from bentosync.transfer.sink import MemorySink

_TRIES = 3


class Task(Struct, frozen=True):
    """A file on a remote, and which bytes of it to look at: slices of whole units, none over a part."""

    entry: FileEntry
    key: str
    slices: tuple[Slice, ...]

    @property
    def read_bytes(self) -> int:
        """How much of the file is looked at."""
        return sum(piece.length for piece in self.slices)


def everything(size: int) -> tuple[Slice, ...]:
    """All bytes of a file of `size` bytes."""
    return parts.parts(size)


def sample(size: int, share: float, *, strong: bool, choice: random.Random) -> tuple[Slice, ...]:
    """Units of a file of `size` bytes chosen at random: `share` of them, rounded up, and never none."""
    unit = unit_bytes(strong=strong)
    count = -(-size // unit)
    wanted = min(count, max(1, math.ceil(count * share)))
    return tuple(
        Slice(index * unit, min(unit, size - index * unit)) for index in sorted(choice.sample(range(count), wanted))
    )


class Inspection:
    """Looks at files of one remote. One instance per operation.

    Args:
        jobs: The most requests under way; how many there really are is what `plateau` finds.
        memory_bytes: Bound of the buffers.
        strong: Prove BLAKE3 as well as XXH3.
        on_read: Called with path and bytes as they are judged.
    """

    def __init__(
        self,
        remote: Remote,
        *,
        jobs: int,
        memory_bytes: int,
        strong: bool,
        meter: Meter,
        on_read: Callable[[str, int], None],
    ) -> None:
        self._remote = remote
        self._jobs = jobs
        self._pool = shared_pool(memory_bytes)
        self._strong = strong
        self._meter = meter
        self._on_read = on_read
        self.again_bytes = 0

    async def run(self, tasks: Sequence[Task]) -> list[Damage]:
        """What is not as its manifest says, sorted by path and place.

        Raises:
            AuthError, NetworkError: The remote cannot be read.
        """
        found: list[Damage] = []
        step = parts.PART_BYTES_MIN
        level = plateau.chosen(min(self._jobs, self._pool.count(step)), step)
        self._pace = Pace(level, self._meter, total_bytes=0, streams=shared_streams(self._jobs))

        async def stands(task: Task) -> None:
            wrong = await self._stat(task)
            if wrong is None and task.slices:
                standing.append(task)
                return
            if wrong is not None:
                found.append(wrong)
            self._on_read(task.entry.path, task.read_bytes)

        async def look(task: Task, piece: Slice) -> None:
            found.extend(await self._look(task, piece))
            self._on_read(task.entry.path, piece.length)

        async with self._pace.running():
            standing: list[Task] = []
            await engine.drain([lambda t=task: stands(t) for task in tasks], workers=self._jobs)  # type: ignore[misc]
            await engine.drain(
                [lambda t=task, p=piece: look(t, p) for task in standing for piece in task.slices],  # type: ignore[misc]
                workers=self._jobs,
            )
        return sorted(set(found), key=lambda damage: (damage.path, damage.begin))

    async def _stat(self, task: Task) -> Damage | None:
        try:
            stored = await self._remote.stat(task.key)
        except MissingRemote:
            raise
        except NotFound:
            return _missing(task.entry)
        return None if stored.size == task.entry.size else Damage(task.entry.path, 0, task.entry.size, "size")

    async def _look(self, task: Task, piece: Slice) -> list[Damage]:
        async with self._pool.lease(parts.part_bytes(task.entry.size)) as buffer:
            wrong: Sequence[Slice] = (piece,)
            for attempt in range(_TRIES):
                if attempt:
                    self.again_bytes += sum(unit.length for unit in wrong)
                try:
                    wrong = [unit for span in wrong for unit in await self._differing(task, span, buffer)]
                except NotFound:
                    return [_missing(task.entry)]
                if not wrong:
                    break
        return [Damage(task.entry.path, unit.start, unit.start + unit.length, "bytes") for unit in wrong]

    async def _differing(self, task: Task, piece: Slice, buffer: memoryview) -> list[Slice]:
        memory = buffer[: piece.length]

        async def call() -> str:
            return await self._remote.read_range(task.key, piece.start, piece.length, MemorySink(memory))

        await self._pace.send(piece.length, call)
        return await in_thread(_units_that_differ, task.entry, piece.start, memory, self._strong)


def _units_that_differ(entry: FileEntry, start: int, data: memoryview, strong: bool) -> list[Slice]:
    unit = unit_bytes(strong=strong)
    return [
        Slice(start + begin, len(data[begin : begin + unit]))
        for begin in range(0, len(data), unit)
        if any(differences(entry, start + begin, data[begin : begin + unit], strong=strong))
    ]


def _missing(entry: FileEntry) -> Damage:
    return Damage(entry.path, 0, entry.size, "missing")
