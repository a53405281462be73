"""Brings the bytes of reads from local files: through a slot, or straight into the block they belong to.

A slot is filled, proven, and copied from. Where the CPU itself can write the blocks (the device is the CPU), a read is
scattered over the places its bytes belong to and written once, by the kernel. What still takes the slot: reads past the
page cache, which need their own alignment, and of those that are proven the ones that go to more than one place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bentosync.loader.device import Backend, Block, Event, populate
from bentosync.loader.pipeline import Laps
from bentosync.loader.plan import Read
from bentosync.loader.proof import Proof
from bentosync.loader.source import PIECES_MAX, WeightFile
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
        direct = self._backend.name == "cpu" and not file.is_direct
        pieces = _pieces(read, slot, room, proven=proof is not None) if direct else None
        if pieces is not None:
            clock.lap("room")
            file.scatter_into(pieces, read.offset)
        else:
            file.read_into(slot.memory.view, read.offset, read.size)
        clock.lap("read")
        if proof is not None:
            proof.check(slot.memory.view[: read.size] if pieces is None else pieces[0], read.offset)
            clock.lap("check")
        for copy in read.copies if pieces is None else ():
            block = room(copy.block)
            clock.lap("room")
            self._backend.copy(block, copy.block_offset, slot.memory, copy.slot_offset, copy.size)
            clock.lap("copy")
        return self._backend.record()


def _pieces(read: Read, slot: Slot, room: Callable[[int], Block], *, proven: bool) -> list[memoryview] | None:
    """The memory that all of a read goes to, in order: of blocks, and of the slot for what nobody asked for.

    None if it has to take the slot: in pieces it could not be proven, and the kernel takes only so many.
    """
    if 2 * len(read.copies) + 1 > PIECES_MAX or (proven and [copy.size for copy in read.copies] != [read.size]):
        return None
    pieces: list[memoryview] = []
    position = 0
    for copy in read.copies:
        block = room(copy.block)
        if block.memory is None:
            return None
        if copy.slot_offset > position:
            pieces.append(slot.memory.view[position : copy.slot_offset])
        if block.fresh:
            populate(block.tensor.data_ptr() + copy.block_offset, copy.size)
        pieces.append(block.memory[copy.block_offset : copy.block_offset + copy.size])
        position = copy.slot_offset + copy.size
    if position < read.size:
        pieces.append(slot.memory.view[position : read.size])
    return pieces
