"""Brings the bytes of reads from wherever they are nearest: the manifest, the store's partial, or the network.

Called by the pipeline's readers, one read each. A read's units are proven one by one as they land; units that a partial
holds are read from there, runs of the others are one request each. What came over the network is offered to the tee.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from bentosync.errors import Conflict, IntegrityError, NotFound
from bentosync.loader.device import Block, Event
from bentosync.loader.distant import Distant
from bentosync.loader.landing import Landing, Layout, lay_out
from bentosync.loader.pipeline import Laps
from bentosync.loader.plan import Read
from bentosync.loader.proof import Proof, unit_bytes
from bentosync.loader.source import SECTOR_BYTES
from bentosync.loader.staging import Ring, Slot
from bentosync.remote.contract import Remote
from bentosync.sync.assembly import explained


class Courier:
    """`bring` is what `Pipeline` wants. One per load; any number of threads."""

    def __init__(self, distant: Distant, ring: Ring) -> None:
        self._distant = distant
        self._ring = ring
        self._proofs = [Proof(entry, distant.strength) for entry in distant.version.entries]
        self._unit = unit_bytes(distant.strength)
        self._etags: dict[str, str] = {}
        self._lock = threading.Lock()
        self.fetched_bytes = 0

    def bring(self, read: Read, slot: Slot, room: Callable[[int], Block], clock: Laps) -> Event:
        """Get the bytes of `read` to where its copies say; see `pipeline.Bring`."""
        backend = self._distant.backend
        blocks = {copy.block: room(copy.block) for copy in read.copies}
        clock.lap("room")
        writable = {number: block.memory for number, block in blocks.items() if block.memory is not None}
        layout = lay_out(read, self._unit, slot.memory.view, writable)
        missing = [index for index in range(len(layout.units)) if not self._nearby(read, index, layout)]
        runs = list(_runs(missing))
        for first, stop in runs:
            self._fetch(read, first, layout.units[first:stop])
        clock.lap("read")
        for copy in layout.copies:
            backend.copy(blocks[copy.block], copy.block_offset, slot.memory, copy.slot_offset, copy.size)
        clock.lap("copy")
        for first, stop in runs:
            self._offer(read, slot, first, stop, layout)
        return backend.record()

    def _nearby(self, read: Read, index: int, layout: Layout) -> bool:
        """Fill a unit from the manifest or the partial, if they have it."""
        proof, unit = self._proofs[read.file], layout.units[index]
        offset = read.offset + index * self._unit
        if proof.entry.inline is not None:
            unit[:] = proof.entry.inline[offset : offset + len(unit)]
            proof.check(unit, offset)
            return True
        distant = self._distant
        if distant.following is not None and distant.following.waits:
            return distant.following.obtain(proof, offset, unit)
        shelf = distant.shelf
        if shelf is None or not shelf.holds(proof.entry.path, offset, len(unit)):
            return False
        if not shelf.read(proof, offset, unit):
            return False
        if distant.tee is not None:
            distant.tee.vouch(proof.entry.path, offset, len(unit))
        return True

    def _fetch(self, read: Read, first: int, units: Sequence[memoryview]) -> None:
        proof, start = self._proofs[read.file], read.offset + first * self._unit
        size = sum(map(len, units))
        self._distant.fetcher.fetch(size, lambda remote: self._receive(remote, proof, start, size, units))
        with self._lock:
            self.fetched_bytes += size

    async def _receive(self, remote: Remote, proof: Proof, start: int, size: int, units: Sequence[memoryview]) -> None:
        found = self._distant.found
        key = found.key(proof.entry.path)
        landing = Landing(proof, start, units, self._arrived)
        try:
            etag = await remote.read_range(key, start, size, landing, etag=self._etags.get(key))
            # Ranges that were under way side by side had no ETag to insist on; compare theirs now.
            if self._etags.setdefault(key, etag) != etag:
                raise Conflict(f"{key} was replaced while it was being read", hint="try again")
        except IntegrityError as error:
            raise await explained(remote, found, error) from error
        except NotFound as error:
            gone = IntegrityError(f"{proof.entry.path} is missing on the remote: there is no object {key}")
            raise await explained(remote, found, gone) from error

    def _arrived(self, count: int) -> None:
        timeline = self._distant.timeline
        if not timeline.first_byte:
            timeline.reach("first_byte", self._distant.began)

    def _offer(self, read: Read, slot: Slot, first: int, stop: int, layout: Layout) -> None:
        tee = self._distant.tee
        if tee is None:
            return
        shared = any(layout.direct[first:stop])
        pieces = list(layout.units[first:stop])
        if not shared and len(pieces[-1]) % SECTOR_BYTES:
            pieces[-1] = _padded(slot, read, first + len(pieces) - 1, self._unit, len(pieces[-1]))
        done: Callable[[], None] = _nothing
        if not all(layout.direct[first:stop]):
            self._ring.hold(slot)
            done = partial(self._ring.give, slot)
        path, offset = self._proofs[read.file].entry.path, read.offset + first * self._unit
        if not tee.offer(path, offset, pieces, shared=shared, done=done):
            done()


def _nothing() -> None:
    """Memory that is kept alive by its views needs no giving back."""


def _padded(slot: Slot, read: Read, index: int, unit: int, size: int) -> memoryview:
    """The last unit of a file, with zeros up to a whole sector: what a write past the page cache needs."""
    begin = index * unit
    end = begin + -(-size // SECTOR_BYTES) * SECTOR_BYTES
    slot.memory.view[begin + size : end] = bytes(end - begin - size)
    return slot.memory.view[begin:end]


def _runs(indexes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs [first, stop) of neighbouring numbers."""
    first = 0
    for position in range(1, len(indexes) + 1):
        if position == len(indexes) or indexes[position] != indexes[position - 1] + 1:
            yield indexes[first], indexes[position - 1] + 1
            first = position
