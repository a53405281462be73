"""Small files out of packs: one request and one walk through the disk for hundreds of them.

Each file is proven by its own digests before it is written, as if it had come by itself. A pack that is missing, short
or wrong is no error: what did not come out of it is fetched singly afterwards, and if that fails says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from msgspec import Struct

from bentosync.blocking import in_thread
from bentosync.errors import BentoMLException, NotFound
from bentosync.manifest.digests import differences
from bentosync.manifest.values import FileEntry
from bentosync.remote.contract import Remote
from bentosync.store.partial import PartialFile
from bentosync.transfer import engine
from bentosync.transfer.download import Tally
from bentosync.transfer.packs import PACK_BYTES_MAX, Pack
from bentosync.transfer.pool import BufferPool, shared_pool
from bentosync.transfer.sink import MemorySink

_PACKS_AT_ONCE = 8
_TRIES = 3


class Wanted(Struct, frozen=True):
    """A pack under its key, and the files to take out of it, each with the offset of its bytes there."""

    key: str
    size: int
    files: Sequence[tuple[int, PartialFile]]


def wanted(packs: Mapping[str, Pack], files: Iterable[PartialFile]) -> list[Wanted]:
    """The packs, of those that lie under these keys, of which `files` miss so much that they are worth a request."""
    missing = {file.entry.path: file for file in files if file.blocks == 1 and not file.has(0)}
    found: list[Wanted] = []
    for key, pack in packs.items():
        members = [(member.offset, missing[member.path]) for member in pack.members if member.path in missing]
        if 2 * sum(file.entry.size for _, file in members) >= pack.size:
            found.append(Wanted(key, pack.size, members))
    return found


async def unpack(
    remote: Remote, wanted: Sequence[Wanted], *, jobs: int, memory_bytes: int, strong: bool, tally: Tally
) -> None:
    """Complete what can be completed out of packs.

    Args:
        remote: Where they are.
        wanted: What to read, and what to take out of it.
        jobs: The most requests in flight.
        memory_bytes: Bound of the buffers.
        strong: Prove BLAKE3 as well as XXH3.
        tally: Counts, and hears of every file.

    Raises:
        OSError: The disk refused.
    """
    pool = shared_pool(memory_bytes)
    unpacker = _Unpacker(remote, pool, strong, tally)
    workers = min(jobs, _PACKS_AT_ONCE, pool.count(PACK_BYTES_MAX))
    await engine.drain((partial(unpacker.take, pack) for pack in wanted), workers=workers)


async def misfits(
    remote: Remote,
    packs: Mapping[str, Pack],
    entries: Mapping[str, FileEntry],
    *,
    jobs: int,
    memory_bytes: int,
    strong: bool,
) -> list[str]:
    """The keys of packs that a pull reads for nothing: others are there and they are not, or they hold other bytes.

    Args:
        remote: Where they are; a version without packs is as good.
        packs: The packs that the version's push may have left, by key.
        entries: What their files must be, by path.
        jobs: The most requests in flight.
        memory_bytes: Bound of the buffers.
        strong: Prove BLAKE3 as well as XXH3.

    Raises:
        AuthError, NetworkError: The remote cannot be read.
    """
    pool = shared_pool(memory_bytes)
    missing: list[str] = []
    wrong: list[str] = []

    async def look(key: str, pack: Pack) -> None:
        try:
            if (await remote.stat(key)).size == pack.size and await reads_right(key, pack):
                return
        except NotFound:
            missing.append(key)
        else:
            wrong.append(key)

    async def reads_right(key: str, pack: Pack) -> bool:
        async with pool.lease(PACK_BYTES_MAX) as buffer:
            data = buffer[: pack.size]
            for _ in range(_TRIES):  # what differs may have been damaged on the way
                await remote.read_range(key, 0, pack.size, MemorySink(data))
                if await in_thread(_fits, pack, data, entries, strong):
                    return True
        return False

    workers = min(jobs, _PACKS_AT_ONCE, pool.count(PACK_BYTES_MAX))
    await engine.drain((partial(look, key, pack) for key, pack in packs.items()), workers=workers)
    return sorted(wrong if len(missing) == len(packs) else wrong + missing)


def _fits(pack: Pack, data: memoryview, entries: Mapping[str, FileEntry], strong: bool) -> bool:
    return not any(
        any(differences(entries[member.path], 0, data[member.offset : member.offset + member.size], strong=strong))
        for member in pack.members
    )


class _Unpacker:
    def __init__(self, remote: Remote, pool: BufferPool, strong: bool, tally: Tally) -> None:
        self._remote = remote
        self._pool = pool
        self._strong = strong
        self._tally = tally
        self._none = False

    async def take(self, pack: Wanted) -> None:
        if self._none:
            return
        async with self._pool.lease(PACK_BYTES_MAX) as buffer:
            data = buffer[: pack.size]
            try:
                self._tally.meter.requests += 1
                await self._remote.read_range(pack.key, 0, pack.size, MemorySink(data))
            except BentoMLException:
                self._none = True  # where one is missing, or cannot be read, the others are not looked for
                return
            self._tally.received += pack.size
            files = await in_thread(self._write, pack, data)
        if files:
            files[0].partial.note_whole(files)
        for file in files:
            self._tally.on_proven(file.entry, file.entry.size)

    def _write(self, pack: Wanted, data: memoryview) -> list[PartialFile]:
        written: list[PartialFile] = []
        for offset, file in pack.files:
            part = data[offset : offset + file.entry.size]
            if not any(differences(file.entry, 0, part, strong=self._strong)):
                file.write_whole(part)
                written.append(file)
        return written
