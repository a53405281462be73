"""Sending many tiny files: in batches that are read in one go, stored by one volley, and followed by their pack.

What one file by itself costs is not its bytes but the steps around them, so these are taken once for hundreds of files.
The price is what a kill may cost: the files of the batches under way, 4 MiB each, are sent again. A file that a volley
could not store for certain is left to the lane of single files, which tries again and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import partial

from msgspec import Struct

from bentosync.blocking import in_thread
from bentosync.errors import AuthError
from bentosync.native.checksum import Checksum
from bentosync.remote.contract import Blob, IfAbsent, Remote
from bentosync.transfer import engine
from bentosync.transfer.packs import FILE_BYTES_MAX, PACK_BYTES_MAX, PACK_FILES_MAX, Pack
from bentosync.transfer.pool import BufferPool
from bentosync.transfer.reading import Source, Whole, packed, read_whole
from bentosync.transfer.tally import Tally

# One is read while another one is sent.
_BATCHES_AT_ONCE = 2


class Batch(Struct, frozen=True):
    """Files that are read and sent together; if they are a pack's, in its order, `key` is where that goes."""

    sources: Sequence[Source]
    size: int
    key: str | None = None


def batches(sources: Iterable[Source], packs: Mapping[str, Pack]) -> Iterator[Batch]:
    """All of `sources`, which are tiny: a batch for every pack, by its key, and more for what is in none."""
    by_path = {source.file.path: source for source in sources}
    for key, pack in packs.items():
        yield Batch([by_path.pop(member.path) for member in pack.members], pack.size, key)
    gathered: list[Source] = []
    size = 0
    for source in by_path.values():
        if size + source.file.size > PACK_BYTES_MAX or len(gathered) == PACK_FILES_MAX:
            yield Batch(gathered, size)
            gathered, size = [], 0
        gathered.append(source)
        size += source.file.size
    if gathered:
        yield Batch(gathered, size)


def is_tiny(source: Source) -> bool:
    """Whether a file is of this lane."""
    return source.file.size <= FILE_BYTES_MAX


class TinyFiles:
    """The lane of one push.

    Args:
        remote: Where to.
        pool: Lends the buffer of a batch.
        jobs: The most requests in flight.
        exclusive: Whether the store honours conditions.
        checksum: What is computed for the store, if it verifies any.
        tally: Counts.
    """

    def __init__(
        self, remote: Remote, pool: BufferPool, *, jobs: int, exclusive: bool, checksum: Checksum | None, tally: Tally
    ) -> None:
        self._remote = remote
        self._pool = pool
        self._jobs = jobs
        self._condition = IfAbsent() if exclusive else None
        self._checksum = checksum
        self._tally = tally
        self._left: list[Source] = []

    async def send_all(self, batches: Iterable[Batch], stored: Set[str]) -> list[Source]:
        """Send every batch; `stored` are keys that are there already. Returns the files that need a try of their own.

        Raises:
            IntegrityError: A file changed while it was read.
        """
        work = (partial(self._send, batch, stored) for batch in batches)
        await engine.drain(work, workers=min(_BATCHES_AT_ONCE, self._jobs))
        return self._left

    async def _send(self, batch: Batch, stored: Set[str]) -> None:
        async with self._pool.lease(PACK_BYTES_MAX) as buffer:
            data = buffer[: batch.size]
            wholes = await in_thread(self._read, batch, data)
            await self._store(batch, data, wholes, stored)
            if batch.key is not None and batch.key not in stored:
                await self._remote.write(batch.key, [data], checksum=self._checksum_of(data))
                self._tally.meter.requests += 1

    def _read(self, batch: Batch, data: memoryview) -> list[Whole]:
        return [read_whole(source, part, self._checksum) for source, part in _parts(batch, data)]

    async def _store(self, batch: Batch, data: memoryview, wholes: Sequence[Whole], stored: Set[str]) -> None:
        new = [
            (source, whole, part)
            for (source, part), whole in zip(_parts(batch, data), wholes, strict=True)
            if source.key not in stored
        ]
        self._left += [source for source in batch.sources if source.key in stored]
        done = await self._remote.write_all(
            [Blob(source.key, part, whole.checksum) for source, whole, part in new],
            condition=self._condition,
            jobs=max(1, self._jobs // _BATCHES_AT_ONCE),
        )
        self._tally.meter.requests += len(new)
        for (source, whole, _), is_stored in zip(new, done, strict=True):
            if is_stored:
                path = source.file.path
                self._tally.begin(path)
                self._tally.digested[path] = (whole.entry, whole.settled)
                self._tally.add(path, sent=source.file.size)
            else:
                self._left.append(source)

    def _checksum_of(self, data: memoryview) -> bytes | None:
        return None if self._checksum is None else packed(self._checksum, self._checksum.update(data))


def _parts(batch: Batch, data: memoryview) -> Iterator[tuple[Source, memoryview]]:
    offset = 0
    for source in batch.sources:
        yield source, data[offset : offset + source.file.size]
        offset += source.file.size


async def present(remote: Remote, prefixes: Iterable[str]) -> set[str] | None:
    """The keys below `prefixes`; None if that may not be listed."""
    try:
        return {stat.key for prefix in prefixes async for stat in remote.list(prefix)}
    except AuthError:
        return None
