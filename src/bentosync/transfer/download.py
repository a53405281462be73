"""Many ranges at once: each arrives in a small buffer, is proven unit by unit, and only then written.

A unit is one block (XXH3-64), or one leaf when the bytes must also match their BLAKE3 digests. A worker holds one unit
of memory whatever the range's length, so `jobs` x unit bounds the memory of a pull.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import blake3
import xxhash

from bentosync.errors import BentoMLException, Conflict, IntegrityError, NotFound, RemoteError
from bentosync.manifest.values import BLOCK_BYTES, LEAF_BYTES, FileEntry
from bentosync.remote.contract import Remote
from bentosync.store.partial import PartialFile
from bentosync.transfer import engine, parts
from bentosync.transfer.pool import BufferPool


@dataclass(frozen=True, slots=True)
class Target:
    """A file to fetch: where it lies on the remote, and the partial file that takes its blocks."""

    key: str
    file: PartialFile


@dataclass(slots=True)
class Tally:
    """What a download moved. `proven` is reported as it grows; `dropped` counts bytes that came more than once."""

    on_proven: Callable[[FileEntry, int], None]
    received: int = 0
    dropped: int = 0
    etags: dict[str, str] = field(default_factory=dict)


class UnitSink:
    """Receives one range of a file; implements `remote.contract.RangeSink`.

    `start` lies on a unit edge. `filled` raises `IntegrityError` (retryable) when a unit's digest does not match, and
    lets `OSError` from the disk through.
    """

    def __init__(self, file: PartialFile, fd: int, start: int, memory: memoryview, strong: bool, tally: Tally) -> None:
        self._file = file
        self._fd = fd
        self._start = start
        self._position = start
        self._memory = memory
        self._strong = strong
        self._tally = tally
        self._pending = 0

    def buffer(self) -> memoryview:
        """The rest of the current unit."""
        return self._memory[self._pending : min(len(self._memory), self._file.entry.size - self._position)]

    def filled(self, count: int) -> None:
        """Count bytes in; prove and write the unit when it is whole."""
        self._pending += count
        self._tally.received += count
        if self._pending == min(len(self._memory), self._file.entry.size - self._position):
            unit = self._memory[: self._pending]
            self._prove(unit)
            self._file.write(self._fd, self._position, unit)
            self._position += self._pending
            self._pending = 0
            self._tally.on_proven(self._file.entry, len(unit))

    def rewind(self) -> int:
        """Drop the unit in progress; what is proven stays."""
        self._tally.dropped += self._pending
        self._pending = 0
        return self._position - self._start

    def _prove(self, unit: memoryview) -> None:
        entry = self._file.entry
        for begin in range(0, len(unit), BLOCK_BYTES):
            offset = self._position + begin
            data = unit[begin : begin + BLOCK_BYTES]
            if xxhash.xxh3_64_digest(data) != entry.block_digest(offset // BLOCK_BYTES):
                raise _differs(entry, offset, len(data), "XXH3")
        if self._strong:
            for begin in range(0, len(unit), LEAF_BYTES):
                offset = self._position + begin
                data = unit[begin : begin + LEAF_BYTES]
                if blake3.blake3(data).digest() != entry.leaf_digest(offset // LEAF_BYTES):
                    raise _differs(entry, offset, len(data), "BLAKE3")


def _differs(entry: FileEntry, offset: int, length: int, digest: str) -> IntegrityError:
    return IntegrityError(
        f"{entry.path}: bytes {offset}..{offset + length} arrived, but their {digest} digest is not the manifest's",
        retryable=True,
    )


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


def unit_bytes(strong: bool) -> int:
    """Bytes that are proven and written together."""
    return LEAF_BYTES if strong else BLOCK_BYTES


async def download(
    remote: Remote,
    targets: Sequence[Target],
    *,
    jobs: int,
    memory_bytes: int,
    range_bytes: int,
    strong: bool,
    tally: Tally,
) -> None:
    """Fetch every missing block of `targets`, largest files first.

    Raises:
        IntegrityError: A unit kept arriving wrong.
        Conflict: An object changed between two ranges.
        OSError: The disk refused.
    """
    pool = BufferPool(unit_bytes(strong), memory_bytes)

    async def fetch(target: Target, piece: parts.Slice) -> None:
        async with pool.lease() as memory:
            fd = target.file.open()
            try:
                sink = UnitSink(target.file, fd, piece.start, memory, strong, tally)
                etag = tally.etags.get(target.key)
                seen = await remote.read_range(target.key, piece.start, piece.length, sink, etag=etag)
                # Ranges that were under way side by side had no ETag to insist on; compare theirs now.
                if tally.etags.setdefault(target.key, seen) != seen:
                    raise Conflict(f"{target.key} was replaced while it was being read", hint="pull again")
            except (NotFound, RemoteError) as error:
                raise await _diagnosed(remote, target, error) from error
            finally:
                os.close(fd)

    def work() -> Iterator[engine.Work]:
        for target in sorted(targets, key=lambda t: -t.file.entry.size):
            missing = [(span.start, span.length) for span in target.file.missing(unit_bytes(strong))]
            for piece in parts.ranges(missing, parts.range_bytes(target.file.entry.size, range_bytes)):
                yield lambda target=target, piece=piece: fetch(target, piece)  # type: ignore[misc]

    await engine.drain(work(), workers=min(jobs, pool.buffers_max))
