"""From one remote to another without touching the disk: part by part, each block proven on its way through memory.

A part is fetched into a buffer from a bounded pool, proven against the manifest, checksummed and sent from there. Where
one store has both ends it copies by itself, and what it made is read back and proven: no byte more is trusted, and half
of them cross this machine. What the target holds already (an interrupted copy) counts only after it was proven too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec import Struct

from bentosync.blocking import in_thread
from bentosync.errors import AuthError, Conflict, IntegrityError, NotFound, RemoteError
from bentosync.manifest.digests import differences, unit_bytes
from bentosync.manifest.values import FileEntry
from bentosync.native.checksum import Checksum
from bentosync.native.checksum import named as checksum_named
from bentosync.remote.contract import IfAbsent, Part, Remote, Upload
from bentosync.transfer import engine, parts, plateau
from bentosync.transfer.pace import Pace
from bentosync.transfer.pool import shared_pool
from bentosync.transfer.room import shared_streams
from bentosync.transfer.sink import arrived_wrong
from bentosync.transfer.tally import Tally

_FILES_AT_ONCE = 4


class Passage(Struct, frozen=True):
    """A file on its way: its digests, where it lies, where it goes."""

    entry: FileEntry
    source_key: str
    target_key: str


class ProvenPart:
    """A range sink that keeps a part in memory and proves it unit by unit; implements `remote.contract.RangeSink`.

    `start` lies on a leaf edge, `memory` is as long as the part. `filled` raises `IntegrityError` (retryable) when a
    unit's digest does not match.
    """

    def __init__(self, entry: FileEntry, start: int, memory: memoryview, *, strong: bool) -> None:
        self._entry = entry
        self._start = start
        self._memory = memory
        self._strong = strong
        self._unit = unit_bytes(strong=strong)
        self._filled = 0
        self._proven = 0

    def buffer(self) -> memoryview:
        """The rest of the part."""
        return self._memory[self._filled :]

    def filled(self, count: int) -> None:
        """Count bytes in; prove every unit that is whole."""
        self._filled += count
        while (end := min(self._proven + self._unit, len(self._memory))) <= self._filled and self._proven < end:
            self._prove(self._memory[self._proven : end], self._start + self._proven)
            self._proven = end

    def restart(self) -> None:
        """Begin again."""
        self._filled = self._proven = 0

    def rewind(self) -> int:
        """Drop what is not proven."""
        self._filled = self._proven
        return self._proven

    def _prove(self, unit: memoryview, offset: int) -> None:
        for difference in differences(self._entry, offset, unit, strong=self._strong):
            raise arrived_wrong(self._entry, difference)


class Relay:
    """Copies files between two remotes. One instance per copy.

    Args:
        jobs: The most parts under way; how many there really are is what `plateau` finds.
        memory_bytes: Bound of the part buffers.
        strong: Prove BLAKE3 as well as XXH3.
        exclusive: Whether the target honours conditions.
        resumed: Whether an earlier try may have stored whole files.
    """

    def __init__(
        self,
        source: Remote,
        target: Remote,
        *,
        jobs: int,
        memory_bytes: int,
        strong: bool,
        exclusive: bool,
        resumed: bool,
        tally: Tally,
    ) -> None:
        self._source = source
        self._target = target
        self._jobs = jobs
        self._pool = shared_pool(memory_bytes)
        self._strong = strong
        self._exclusive = exclusive
        self._resumed = resumed
        self._tally = tally
        self._etags: dict[str, str] = {}
        self._beside = True  # until the target's store has said that it does not copy from the source
        name = target.properties.checksum
        self._checksum = checksum_named(name) if name else None

    async def run(self, files: Sequence[Passage]) -> None:
        """Copy every file, largest first.

        Raises:
            IntegrityError: Bytes kept arriving wrong, or the target holds other bytes than were sent.
            Conflict: A source object changed between two parts.
        """
        order = sorted(files, key=lambda passage: -passage.entry.size)
        step = parts.PART_BYTES_MIN
        self._pace = Pace(
            plateau.chosen(min(self._jobs, self._pool.count(step)), step, level_start=_FILES_AT_ONCE),
            self._tally.meter,
            total_bytes=0,  # the source's stream cannot be asked twice into one buffer
            streams=shared_streams(self._jobs),
        )
        async with self._pace.running():
            await engine.drain([lambda p=p: self._carry(p) for p in order], workers=_FILES_AT_ONCE)  # type: ignore[misc]

    async def _carry(self, passage: Passage) -> None:
        entry = passage.entry
        self._tally.begin(entry.path)
        if self._resumed and await self._stands(passage):
            self._tally.add(entry.path, reused=entry.size)
        elif await self._copied(passage):
            self._tally.add(entry.path, sent=entry.size)
        elif entry.size <= parts.part_bytes(entry.size):
            await self._carry_whole(passage)
        else:
            await self._carry_parts(passage)

    async def _copied(self, passage: Passage) -> bool:
        """Whether the store that has both copied the file by itself, and what it made reads back proven.

        Half of what carrying it costs, and no byte more is trusted. A file that is damaged at its source fails here,
        and is told as such when it is carried.
        """
        entry, key = passage.entry, passage.target_key
        if not self._beside or entry.inline is not None or entry.size == 0:
            return False
        try:
            located = await self._source.locate(passage.source_key)
            if located is None or not await self._target.copy(located, key, size=entry.size):
                return False
        except (AuthError, NotFound):
            self._beside = False
            return False
        except RemoteError:
            self._beside = False
        else:
            if await self._reads_back(passage):
                return True
        await self._target.delete(key)  # whatever the store made of it is in the way
        return False

    async def _carry_whole(self, passage: Passage) -> None:
        entry = passage.entry
        if entry.inline is not None or entry.size == 0:
            written = await self._write(passage, memoryview(entry.inline or b""))
        else:
            async with self._pool.lease(parts.part_bytes(entry.size)) as buffer:
                data = await self._fetch(passage, parts.Slice(0, entry.size), buffer)
                written = await self._write(passage, data)
        # Asked without a buffer in hand: reading back takes one, and all could be waiting for it.
        if not written:
            await self._expect(passage)
        self._tally.add(entry.path, sent=entry.size)

    async def _write(self, passage: Passage, data: memoryview) -> bool:
        """Store a whole file; false if something is there, most likely our own write whose reply was lost."""
        value = (
            None if self._checksum is None else _packed(self._checksum, await in_thread(self._checksum.update, data))
        )
        condition = IfAbsent() if self._exclusive else None
        try:
            await self._target.write(passage.target_key, [data], condition=condition, checksum=value)
        except Conflict:
            return False
        return True

    async def _carry_parts(self, passage: Passage) -> None:
        size = passage.entry.size
        pieces = parts.parts(size)
        step = parts.part_bytes(size)
        upload = await self._target.start_upload(passage.target_key, size=size, part_bytes=step)
        done: list[Part | None] = [None] * len(pieces)
        values = [0] * len(pieces)
        async with engine.group() as tasks:
            for index, piece in enumerate(pieces):
                buffer = await self._pool.take(step)
                tasks.create_task(self._carry_part(passage, upload, index, piece, buffer, done, values))
        whole = 0
        if self._checksum is not None:
            for value, piece in zip(values, pieces, strict=True):
                whole = self._checksum.combine(whole, value, piece.length)
        checksum = None if self._checksum is None else _packed(self._checksum, whole)
        try:
            await self._target.complete_upload(upload, [part for part in done if part is not None], checksum=checksum)
        except (Conflict, NotFound):
            await self._expect(passage)

    async def _carry_part(
        self,
        passage: Passage,
        upload: Upload,
        index: int,
        piece: parts.Slice,
        buffer: memoryview,
        done: list[Part | None],
        values: list[int],
    ) -> None:
        async def call() -> Part:
            data = await self._fetch(passage, piece, buffer)
            packed = None
            if self._checksum is not None:
                values[index] = await in_thread(self._checksum.update, data)
                packed = _packed(self._checksum, values[index])
            return await self._target.send_part(upload, index + 1, [data], checksum=packed)

        try:
            done[index] = await self._pace.send(piece.length, call)
        finally:
            self._pool.give(buffer)
        self._tally.add(passage.entry.path, sent=piece.length)

    async def _fetch(self, passage: Passage, piece: parts.Slice, buffer: memoryview) -> memoryview:
        """One part of the source in `buffer`, proven."""
        data = buffer[: piece.length]
        sink = ProvenPart(passage.entry, piece.start, data, strong=self._strong)
        known = self._etags.get(passage.source_key)
        seen = await self._source.read_range(passage.source_key, piece.start, piece.length, sink, etag=known)
        if self._etags.setdefault(passage.source_key, seen) != seen:
            raise Conflict(f"{passage.source_key} was replaced while it was being read", hint="copy again")
        return data

    async def _stands(self, passage: Passage) -> bool:
        """Whether the target holds the file already; what is there and is not the file is removed."""
        entry, key = passage.entry, passage.target_key
        try:
            stored = await self._target.stat(key)
        except NotFound:
            return False
        if stored.size == entry.size and await self._reads_back(passage):
            return True
        await self._target.delete(key)
        return False

    async def _reads_back(self, passage: Passage) -> bool:
        entry = passage.entry
        async with self._pool.lease(parts.part_bytes(entry.size)) as buffer:
            for piece in parts.parts(entry.size):
                sink = ProvenPart(entry, piece.start, buffer[: piece.length], strong=self._strong)
                try:
                    await self._pace.send(piece.length, partial(self._read, passage.target_key, piece, sink))
                except IntegrityError:
                    return False
        return True

    async def _read(self, key: str, piece: parts.Slice, sink: ProvenPart) -> None:
        sink.restart()
        await self._target.read_range(key, piece.start, piece.length, sink)

    async def _expect(self, passage: Passage) -> None:
        """After an ambiguous reply: our folder is ours alone, so the object must be ours, and whole."""
        stored = await self._target.stat(passage.target_key)
        if stored.size != passage.entry.size or not await self._reads_back(passage):
            raise IntegrityError(f"{passage.target_key} holds other bytes than {passage.entry.path} was sent with")


def _packed(checksum: Checksum, value: int) -> bytes:
    return value.to_bytes(checksum.size_bytes, "big")
