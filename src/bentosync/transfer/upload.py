"""One pass over the source: each part is read once, digested while hot, and sent from the same buffer.

A file has one reader, which goes through it in order (digests of leaves and tensors need that) and hands each part to a
sender; the buffer pool bounds how far it runs ahead. A file of one part is a single PUT, larger ones are multipart.
What the store holds already (an interrupted push) counts only if its checksum or MD5 equals that of the local bytes.
The full-object checksum at completion is what proves an upload.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bentosync.blocking import in_thread
from bentosync.errors import Conflict, IntegrityError, NotFound
from bentosync.formats.digester import FileDigester
from bentosync.manifest.values import BLOCK_BYTES, FileEntry
from bentosync.native.checksum import Checksum
from bentosync.native.checksum import named as checksum_named
from bentosync.remote.contract import IfAbsent, Part, Remote, Stat, Upload
from bentosync.settings import NativeMode
from bentosync.store.record import Stamp
from bentosync.store.tree import TreeFile
from bentosync.transfer import engine, parts, plateau
from bentosync.transfer.meter import Meter
from bentosync.transfer.pace import Pace
from bentosync.transfer.pool import BufferPool

_FILES_AT_ONCE = 4
_SMALL_BYTES = BLOCK_BYTES
_SMALL_AT_ONCE = 16
# Opened on the loop's thread, read there too: the way to another thread and back costs 65 µs, the digests of 4 KiB 4.
_TINY_BYTES = 64 << 10
# Parts are large, so a level takes long to judge: begin near where it most often ends.
_LEVEL_START = 8
_RESTARTS_MAX = 2


@dataclass(frozen=True, slots=True)
class Known:
    """A file's digests, and the stamp it had when they were proven."""

    entry: FileEntry
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Source:
    """A local file to send. If the stamp in `known` still holds when it is opened, only checksums are computed."""

    root: Path
    file: TreeFile
    key: str
    known: Known | None = None


@dataclass(slots=True)
class Tally:
    """What an upload moved. `on_sent` is called as bytes are safely stored; it never hears of a byte twice.

    `digested` holds every file's entry and its stamp; None if that was too young to be remembered.
    """

    on_sent: Callable[[str, int], None]
    meter: Meter = field(default_factory=Meter)
    digested: dict[str, tuple[FileEntry, Stamp | None]] = field(default_factory=dict)
    _sent: dict[str, int] = field(default_factory=dict)
    _reused: dict[str, int] = field(default_factory=dict)
    _told: dict[str, int] = field(default_factory=dict)

    @property
    def sent(self) -> int:
        """Bytes that were sent."""
        return sum(self._sent.values())

    @property
    def reused(self) -> int:
        """Bytes that were stored already."""
        return sum(self._reused.values())

    def begin(self, path: str) -> None:
        """A file is sent from its start, perhaps again: what an earlier try stored is gone."""
        self._sent[path] = self._reused[path] = 0

    def add(self, path: str, *, sent: int = 0, reused: int = 0) -> None:
        """More bytes of the file at `path` are stored."""
        self._sent[path] += sent
        self._reused[path] += reused
        stored = self._sent[path] + self._reused[path]
        told = self._told.get(path, 0)
        if stored > told or stored == 0:
            self._told[path] = stored
            self.on_sent(path, stored - told)


class Uploader:
    """Sends files to one remote. One instance per push.

    Args:
        jobs: The most requests in flight for parts and larger files; how many there really are is what `plateau` finds.
        memory_bytes: Bound of all buffers together, and so of the parts in flight.
        uploads: Multipart uploads in flight from an earlier try of this push, by key.
        resumed: Whether earlier tries may have stored whole files.
        exclusive: Whether the store honours conditions; then a file is created, never overwritten.
        native: Whether the compiled core may be used.
    """

    def __init__(
        self,
        remote: Remote,
        *,
        jobs: int,
        memory_bytes: int,
        uploads: Mapping[str, Upload],
        resumed: bool,
        exclusive: bool,
        tally: Tally,
        native: NativeMode = "auto",
    ) -> None:
        self._remote = remote
        self._jobs = jobs
        self._pool = BufferPool(memory_bytes)
        self._uploads = uploads
        self._resumed = resumed
        self._exclusive = exclusive
        self._tally = tally
        name = remote.properties.checksum
        self._checksum = checksum_named(name, native=native) if name else None

    async def send_all(self, sources: Sequence[Source]) -> None:
        """Send every file, largest first; fill `tally.digested`.

        Raises:
            IntegrityError: A source changed while it was read, or the store holds other bytes than were sent.
        """
        order = sorted(sources, key=lambda source: -source.file.size)
        large = [source for source in order if source.file.size > _SMALL_BYTES]
        small = order[len(large) :]
        # Small files have a lane of their own: their cost is the exchange, not the bytes.
        step = parts.PART_BYTES_MIN
        level_max = min(self._jobs, self._pool.count(step))
        self._pace = Pace(
            plateau.chosen(level_max, step, level_start=_LEVEL_START),
            self._tally.meter,
            total_bytes=sum(source.file.size for source in large),
        )
        async with self._pace.running(), engine.group() as tasks:
            tasks.create_task(engine.drain(self._work(large), workers=_FILES_AT_ONCE))
            tasks.create_task(engine.drain(self._work(small), workers=min(self._jobs, _SMALL_AT_ONCE)))

    def _work(self, sources: Sequence[Source]) -> Iterator[engine.Work]:
        return (partial(self._send, source) for source in sources)

    async def _send(self, source: Source) -> None:
        for restart in range(_RESTARTS_MAX + 1):
            self._tally.begin(source.file.path)
            try:
                with _Reading(source) as reading:
                    if source.file.size <= parts.part_bytes(source.file.size):
                        await self._send_whole(source, reading)
                    else:
                        await self._send_parts(source, reading, fresh=restart > 0)
                    self._tally.digested[source.file.path] = (reading.entry(), reading.settled)
                return
            except NotFound:
                # The upload vanished under us (a lifecycle rule, another host's clean-up): begin a new one.
                if restart == _RESTARTS_MAX:
                    raise

    async def _send_whole(self, source: Source, reading: _Reading) -> None:
        size = source.file.size
        async with self._pool.lease(_SMALL_BYTES if size <= _SMALL_BYTES else parts.PART_BYTES_MIN) as buffer:
            data = buffer[:size]
            if size <= _TINY_BYTES:
                checksum = reading.next_into(data, self._checksum)
            else:
                checksum = await in_thread(reading.next_into, data, self._checksum)
            entry = reading.entry()
            stored = await self._stat(source.key) if self._resumed else None
            if stored is not None and await self._holds(stored, entry, checksum):
                self._tally.add(source.file.path, reused=size)
                return
            if stored is not None:
                await self._remote.delete(source.key)
            condition = IfAbsent() if self._exclusive else None
            try:
                await self._write(source.key, data, condition, checksum)
            except Conflict:
                # Our folder is ours alone, so the object is most likely our own write whose reply was lost.
                await self._expect(source, entry, checksum)
            self._tally.add(source.file.path, sent=size)

    async def _write(self, key: str, data: memoryview, condition: IfAbsent | None, checksum: bytes | None) -> None:
        def call() -> Awaitable[str]:
            return self._remote.write(key, [data], condition=condition, checksum=checksum)

        if len(data) <= _SMALL_BYTES:
            self._tally.meter.requests += 1
            await call()
        else:
            await self._pace.send(len(data), call)

    async def _send_parts(self, source: Source, reading: _Reading, *, fresh: bool) -> None:
        pieces = parts.parts(source.file.size)
        earlier = None if fresh else self._uploads.get(source.key)
        known = {part.number: part for part in await self._remote.list_parts(earlier)} if earlier else {}
        if self._resumed and not earlier and (stored := await self._stat(source.key)) is not None:
            await in_thread(reading.skip_through, self._checksum)
            if await self._holds(stored, reading.entry(), reading.checksum_bytes(self._checksum)):
                self._tally.add(source.file.path, reused=source.file.size)
                return
            await self._remote.delete(source.key)
            reading.restart()
        step = parts.part_bytes(source.file.size)
        upload = earlier or await self._remote.start_upload(source.key, size=source.file.size, part_bytes=step)
        done: list[Part | None] = [None] * len(pieces)
        pool = self._pool
        async with engine.group() as tasks:
            for index, piece in enumerate(pieces):
                buffer = await pool.take(step)
                try:
                    data = buffer[: piece.length]
                    value = await in_thread(reading.next_into, data, self._checksum)
                except BaseException:
                    pool.give(buffer)
                    raise
                tasks.create_task(
                    self._send_part(source, upload, index + 1, buffer, data, value, known.get(index + 1), pool, done)
                )
        await self._complete(source, upload, [part for part in done if part is not None], reading)

    async def _send_part(
        self,
        source: Source,
        upload: Upload,
        number: int,
        buffer: memoryview,
        data: memoryview,
        value: bytes | None,
        stored: Part | None,
        pool: BufferPool,
        done: list[Part | None],
    ) -> None:
        try:
            if stored is not None and await in_thread(_same, stored, data, value):
                done[number - 1] = stored
                self._tally.add(source.file.path, reused=len(data))
            else:
                done[number - 1] = await self._pace.send(
                    len(data), lambda: self._remote.send_part(upload, number, [data], checksum=value)
                )
                self._tally.add(source.file.path, sent=len(data))
        finally:
            pool.give(buffer)

    async def _complete(self, source: Source, upload: Upload, done: Sequence[Part], reading: _Reading) -> None:
        entry, checksum = reading.entry(), reading.checksum_bytes(self._checksum)
        try:
            await self._remote.complete_upload(upload, done, checksum=checksum)
        except (Conflict, NotFound):
            try:
                await self._expect(source, entry, checksum)
            except NotFound:
                await self._remote.abort_upload(upload)  # it is there, but misses parts: nobody will go on with it
                raise
        except IntegrityError:
            await self._remote.abort_upload(upload)
            raise

    async def _expect(self, source: Source, entry: FileEntry, checksum: bytes | None) -> None:
        """After an ambiguous reply: the object must be there with these very bytes, else the error stands."""
        stored = await self._remote.stat(source.key)
        if not await self._holds(stored, entry, checksum):
            raise IntegrityError(f"{source.key} holds {stored.size} other bytes than {source.file.path} was sent with")

    async def _holds(self, stored: Stat, entry: FileEntry, checksum: bytes | None) -> bool:
        """Whether the stored object is this file: by size and checksum, or by reading it back where there is none."""
        if stored.size != entry.size:
            return False
        if stored.checksum is not None and checksum is not None:
            return stored.checksum == checksum
        if entry.size == 0:
            return True
        return await _reads_back(self._remote, stored.key, entry)

    async def _stat(self, key: str) -> Stat | None:
        try:
            return await self._remote.stat(key)
        except NotFound:
            return None


class _Reading:
    """A source being read in order. Refuses to end if the file is not the one it was at the start."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._fd = -1
        self._before: Stamp | None = None
        self._entry: FileEntry | None = None
        self.settled: Stamp | None = None

    def __enter__(self) -> _Reading:
        path = self._source.root / self._source.file.path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise self._changed("it is gone") from None
        self._before = self.stamp()
        self.settled = self._before if self._before.settled(time.time_ns()) else None
        known = self._source.known
        if known is not None and (known.stamp, known.entry.executable) == (self._before, self._source.file.executable):
            self._entry = known.entry
        self.restart()
        return self

    def __exit__(self, *failure: object) -> None:
        os.close(self._fd)

    def restart(self) -> None:
        """Begin again at byte 0."""
        file = self._source.file
        self._digester = None if self._entry else FileDigester(file.path, file.size, file.executable)
        self._offset = 0
        self._whole = 0

    def next_into(self, data: memoryview, checksum: Checksum | None) -> bytes | None:
        """Fill `data` with the next bytes and digest them; return their checksum and add it to the whole file's."""
        value = 0
        for begin in range(0, len(data), BLOCK_BYTES):
            # Block by block, so that every hash finds the bytes in the cache that the read has put them in.
            block = data[begin : begin + BLOCK_BYTES]
            self._read(block)
            if checksum is not None:
                value = checksum.update(block, value)
        if checksum is None:
            return None
        self._whole = checksum.combine(self._whole, value, len(data))
        return _pack(checksum, value)

    def _read(self, data: memoryview) -> None:
        filled = 0
        while filled < len(data):
            count = os.preadv(self._fd, [data[filled:]], self._offset + filled)
            if count == 0:
                raise self._changed(f"it ends at {self._offset + filled} of {self._source.file.size} bytes")
            filled += count
        self._offset += len(data)
        if self._digester is not None:
            self._digester.update(data)

    def checksum_bytes(self, checksum: Checksum | None) -> bytes | None:
        """The checksum of everything read so far, big-endian."""
        return None if checksum is None else _pack(checksum, self._whole)

    def skip_through(self, checksum: Checksum | None) -> None:
        """Read and digest the whole file without sending it."""
        buffer = memoryview(bytearray(BLOCK_BYTES))
        while self._offset < self._source.file.size:
            data = buffer[: min(BLOCK_BYTES, self._source.file.size - self._offset)]
            self._read(data)
            if checksum is not None:
                self._whole = checksum.update(data, self._whole)

    def entry(self) -> FileEntry:
        """The file's digests, once every byte was read; proves that the file did not change meanwhile."""
        if self.stamp() != self._before:
            raise self._changed("its size or times differ from when the push began")
        if self._digester is not None:
            self._entry, self._digester = self._digester.finish(), None
        if self._entry is None:
            raise AssertionError("a source is either known or digested")
        return self._entry

    def stamp(self) -> Stamp:
        """The file's stamp as it is now. Raises `IntegrityError` if its size is another one."""
        now = Stamp.of(os.fstat(self._fd))
        if now.size != self._source.file.size:
            raise self._changed(f"it has {now.size} bytes instead of {self._source.file.size}")
        return now

    def _changed(self, how: str) -> IntegrityError:
        return IntegrityError(
            f"{self._source.file.path} changed while it was read: {how}",
            hint="nothing was published; push again when the file is no longer written to",
        )


class _Compare:
    """A range sink that proves blocks and keeps nothing; `rewind` as in `RangeSink`."""

    def __init__(self, entry: FileEntry) -> None:
        self._digester = FileDigester("readback", entry.size, False)
        self._memory = memoryview(bytearray(BLOCK_BYTES))
        self._count = 0
        self.entry = entry

    def buffer(self) -> memoryview:
        return self._memory

    def filled(self, count: int) -> None:
        self._digester.update(self._memory[:count])
        self._count += count

    def rewind(self) -> int:
        return self._count

    def equal(self) -> bool:
        return self._count == self.entry.size and self._digester.finish().leaves == self.entry.leaves


async def _reads_back(remote: Remote, key: str, entry: FileEntry) -> bool:
    sink = _Compare(entry)
    await remote.read_range(key, 0, entry.size, sink)
    return sink.equal()


def _same(stored: Part, data: memoryview, value: bytes | None) -> bool:
    """Whether a stored part holds `data`: by its checksum, else by its MD5, else we do not know."""
    if stored.size != len(data):
        return False
    if stored.checksum is not None and value is not None:
        return stored.checksum == value
    return stored.md5 is not None and stored.md5 == hashlib.md5(data, usedforsecurity=False).digest()


def _pack(checksum: Checksum, value: int) -> bytes:
    return value.to_bytes(checksum.size_bytes, "big")
