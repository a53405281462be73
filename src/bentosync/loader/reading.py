"""Brings the bytes of reads from local files: through a slot, or straight into the block they belong to.

A slot is filled, proven, and copied from. Where the CPU itself can write the block (the device is the CPU), a read that
goes to one place of one block lands there and is written once, by the kernel; only its edges, where a file's header or
another tensor's bytes come with it, and reads past the page cache, which need their own alignment, take the slot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bentosync.loader.device import Backend, Block, Event
from bentosync.loader.pipeline import Laps
from bentosync.loader.plan import Read
from bentosync.loader.proof import Proof
from bentosync.loader.source import WeightFile
from bentosync.loader.staging import Slot


class FileReading:
    """`bring` is what `Pipeline` wants. One per load; any number of threads.

    Args:
        files: By the number reads have for them.
        proofs: What must be proven, by the number of the file.
        backend: Where the bytes go.
    """

    def __init__(self, files: Sequence[WeightFile], proofs: Mapping[int, Proof], backend: Backend) -> None:
        self._files = files
        self._proofs = proofs
        self._backend = backend

    def bring(self, read: Read, slot: Slot, room: Callable[[int], Block], clock: Laps) -> Event:
        """Get the bytes of `read` to where its copies say; see `pipeline.Bring`."""
        file, proof = self._files[read.file], self._proofs.get(read.file)
        home = _home(read, room, clock) if self._backend.name == "cpu" and not file.is_direct else None
        memory = slot.memory.view[: read.size] if home is None else home
        file.read_into(slot.memory.view if home is None else home, read.offset, read.size)
        clock.lap("read")
        if proof is not None:
            proof.check(memory, read.offset)
            clock.lap("check")
        for copy in () if home is not None else read.copies:
            block = room(copy.block)
            clock.lap("room")
            self._backend.copy(block, copy.block_offset, slot.memory, copy.slot_offset, copy.size)
            clock.lap("copy")
        return self._backend.record()


def _home(read: Read, room: Callable[[int], Block], clock: Laps) -> memoryview | None:
    """Where all of a read belongs, if that is one place."""
    if len(read.copies) != 1 or read.copies[0].size != read.size:
        return None
    (copy,) = read.copies
    memory = room(copy.block).memory
    clock.lap("room")
    return None if memory is None else memory[copy.block_offset : copy.block_offset + copy.size]
