"""One pass over the source: each part is read once, digested while hot, and sent from the same buffer.

A file has one reader, which goes through it in order (digests of leaves and tensors need that) and hands each part to a
sender; the buffer pool bounds how far it runs ahead. A file of one part is a single PUT, larger ones are multipart.
What the store holds already (an interrupted push) counts only if its checksum or MD5 equals that of the local bytes.
The full-object checksum at completion is what proves an upload.

Where the store checks each part, and the wire has the kernel send pieces of files, parts are not kept in buffers: they
are read for their digests through one block of memory, or, if the checksums of their last upload are remembered, not at
all. Nobody but the store then sees what was sent. So when it refuses a part, or the whole, although the file seems to
be what it was, nothing that is remembered counts any more: the file is read and digested again, and is either what it
should be, or not published.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from functools import partial

from bentosync.blocking import in_thread
from bentosync.errors import Conflict, IntegrityError, NotFound
from bentosync.formats.digester import FileDigester
from bentosync.manifest.values import BLOCK_BYTES, FileEntry
from bentosync.native.checksum import Checksum
from bentosync.native.checksum import named as checksum_named
from bentosync.remote.contract import IfAbsent, Part, Remote, Stat, Upload
from bentosync.settings import NativeMode
from bentosync.transfer import engine, parts, plateau, tiny
from bentosync.transfer.pace import Pace
from bentosync.transfer.packs import Pack
from bentosync.transfer.plateau import Controller
from bentosync.transfer.pool import BufferPool, shared_pool
from bentosync.transfer.reading import Reading, Source
from bentosync.transfer.room import shared_streams
from bentosync.transfer.tally import Tally
from bentosync.wire.exchange import Extent

_FILES_AT_ONCE = 4
_SMALL_BYTES = BLOCK_BYTES
_SMALL_AT_ONCE = 16
# Opened on the loop's thread, read there too: the way to another thread and back costs 65 µs, the digests of 4 KiB 4.
_TINY_BYTES = 64 << 10
# Parts are large, so a level takes long to judge: begin near where it most often ends.
_LEVEL_START = 8
_RESTARTS_MAX = 2


class _Disproved(Exception):
    """The store refused, with `refusal`, what was sent with remembered checksums."""

    def __init__(self, refusal: IntegrityError) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Uploader:
    """Sends files to one remote. One instance per push.

    Args:
        jobs: The most requests in flight for parts and larger files; how many there really are is what `plateau` finds.
        memory_bytes: Bound of all buffers together, and so of the parts in flight.
        uploads: Multipart uploads in flight from an earlier try of this push, by key.
        resumed: Whether earlier tries may have stored whole files.
        exclusive: Whether the store honours conditions; then a file is created, never overwritten.
        native: Whether the compiled core may be used.
        controller: Makes what decides how many requests there are.
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
        controller: Controller = plateau.chosen,
    ) -> None:
        self._remote = remote
        self._controller = controller
        self._jobs = jobs
        self._pool = shared_pool(memory_bytes)
        self._uploads = uploads
        self._resumed = resumed
        self._exclusive = exclusive
        self._tally = tally
        name = remote.properties.checksum
        self._checksum = checksum_named(name, native=native) if name else None
        self._tiny = tiny.TinyFiles(
            remote, self._pool, jobs=jobs, exclusive=exclusive, checksum=self._checksum, tally=tally
        )

    async def send_all(self, sources: Sequence[Source], packs: Mapping[str, Pack] | None = None) -> None:
        """Send every file, large ones first to last, small ones beside them; fill `tally.digested`.

        `packs`, by their keys, are sent as well.

        Raises:
            IntegrityError: A source changed while it was read, or the store holds other bytes than were sent.
        """
        order = sorted(sources, key=lambda source: -source.file.size)
        large = [source for source in order if source.file.size > _SMALL_BYTES]
        small = [source for source in order[len(large) :] if not tiny.is_tiny(source)]
        # Small files have a lane of their own: their cost is the exchange, not the bytes.
        step = parts.PART_BYTES_MIN
        level_max = min(self._jobs, self._pool.count(step))
        # Of what is sent without buffers no more is read ahead than would have buffers: it should still be in memory.
        self._ahead = asyncio.Semaphore(level_max)
        self._pace = Pace(
            self._controller(level_max, step, level_start=_LEVEL_START),
            self._tally.meter,
            total_bytes=sum(source.file.size for source in large),
            streams=shared_streams(self._jobs),
        )
        async with self._pace.running(), engine.group() as tasks:
            tasks.create_task(engine.drain(self._work(large), workers=_FILES_AT_ONCE))
            tasks.create_task(self._send_singly(small))
            tasks.create_task(self._send_tiny([source for source in sources if tiny.is_tiny(source)], packs or {}))

    async def _send_singly(self, sources: Sequence[Source]) -> None:
        await engine.drain(self._work(sources), workers=min(self._jobs, _SMALL_AT_ONCE))

    async def _send_tiny(self, sources: Sequence[Source], packs: Mapping[str, Pack]) -> None:
        stored: set[str] | None = set()
        if self._resumed and sources:
            folder = sources[0].key.removesuffix(sources[0].file.path)
            stored = await tiny.present(self._remote, [folder, *{key.rpartition("/")[0] + "/" for key in packs}])
        if stored is None:
            await self._send_singly(sources)
        else:
            await self._send_singly(await self._tiny.send_all(tiny.batches(sources, packs), stored))

    def _work(self, sources: Sequence[Source]) -> Iterator[engine.Work]:
        return (partial(self._send, source) for source in sources)

    async def _send(self, source: Source) -> None:
        trusting = True
        for restart in range(_RESTARTS_MAX + 1):
            self._tally.begin(source.file.path)
            try:
                with Reading(source, trusting=trusting) as reading:
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
            except _Disproved as disproved:
                if not trusting or restart == _RESTARTS_MAX:
                    raise disproved.refusal from None
                trusting = False

    async def _send_whole(self, source: Source, reading: Reading) -> None:
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

    async def _send_parts(self, source: Source, reading: Reading, *, fresh: bool) -> None:
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
        if upload.from_files and self._checksum is not None:
            await self._send_extents(source, upload, reading, self._checksum)
        else:
            await self._send_buffers(source, upload, reading, known)
        if (found := reading.parts(step, self._checksum)) is not None:
            self._tally.parts[source.file.path] = found

    async def _send_extents(self, source: Source, upload: Upload, reading: Reading, checksum: Checksum) -> None:
        pieces, step = parts.parts(source.file.size), parts.part_bytes(source.file.size)
        remembered = reading.known_parts(step, checksum)
        done: list[Part | None] = [None] * len(pieces)

        async def send(index: int, value: bytes) -> None:
            extent = Extent(reading.fd, pieces[index].start, pieces[index].length)
            done[index] = await self._pace.send(
                extent.length, lambda: self._remote.send_part(upload, index + 1, extent, checksum=value)
            )
            self._tally.add(source.file.path, sent=extent.length)

        try:
            async with self._pool.lease(_SMALL_BYTES) as scratch, engine.group() as tasks:
                for index, piece in enumerate(pieces):
                    await self._ahead.acquire()
                    try:
                        known = remembered[index] if remembered else None
                        value = await in_thread(reading.next_through, scratch, piece.length, checksum, known)
                    except BaseException:
                        self._ahead.release()
                        raise
                    tasks.create_task(send(index, value)).add_done_callback(lambda _: self._ahead.release())
            await self._complete(source, upload, [part for part in done if part is not None], reading)
        except IntegrityError as refusal:
            await self._remote.abort_upload(upload)
            reading.require_unchanged()
            if remembered:
                raise _Disproved(refusal) from None
            raise

    async def _send_buffers(self, source: Source, upload: Upload, reading: Reading, known: Mapping[int, Part]) -> None:
        pieces, step = parts.parts(source.file.size), parts.part_bytes(source.file.size)
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

    async def _complete(self, source: Source, upload: Upload, done: Sequence[Part], reading: Reading) -> None:
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
