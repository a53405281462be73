"""Where the bytes of one read land: unit by unit, each proven while it is hot.

On a device every unit lands in the slot. On the CPU a unit whose bytes all belong to one place of one block lands right
there, and only the rest (file headers, edges) passes through the slot: a byte is written once, by the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bentosync.errors import IntegrityError
from bentosync.loader.plan import Copy, Read
from bentosync.loader.proof import Proof


@dataclass(frozen=True, slots=True)
class Layout:
    """Memory for each unit of a read, in order, and the copies that are still to be made from its slot.

    `direct` says of each unit whether its memory is a block's, which the caller may write to once it is handed out.
    """

    units: tuple[memoryview, ...]
    direct: tuple[bool, ...]
    copies: tuple[Copy, ...]


def lay_out(read: Read, unit_bytes: int, slot: memoryview, blocks: Mapping[int, memoryview]) -> Layout:
    """Decide where each unit of `read` lands; `blocks` holds the blocks that may be written to directly."""
    units: list[memoryview] = []
    direct: list[bool] = []
    copies: list[Copy] = []
    first = 0
    for begin in range(0, read.size, unit_bytes):
        end = min(begin + unit_bytes, read.size)
        while first < len(read.copies) and _end(read.copies[first]) <= begin:
            first += 1
        home = read.copies[first] if first < len(read.copies) else None
        if home is not None and home.block in blocks and home.slot_offset <= begin and end <= _end(home):
            at = home.block_offset + begin - home.slot_offset
            units.append(blocks[home.block][at : at + end - begin])
            direct.append(True)
            continue
        units.append(slot[begin:end])
        direct.append(False)
        copies += _within(read.copies[first:], begin, end)
    return Layout(tuple(units), tuple(direct), _joined(copies))


def _end(copy: Copy) -> int:
    return copy.slot_offset + copy.size


def _within(copies: Sequence[Copy], begin: int, end: int) -> list[Copy]:
    """The parts of `copies` that lie in [begin, end) of the slot."""
    found = []
    for copy in copies:
        if copy.slot_offset >= end:
            break
        low, high = max(copy.slot_offset, begin), min(_end(copy), end)
        found.append(Copy(low, copy.block, copy.block_offset + low - copy.slot_offset, high - low))
    return found


def _joined(copies: Sequence[Copy]) -> tuple[Copy, ...]:
    """Neighbours that go to neighbouring places, as one copy."""
    joined: list[Copy] = []
    for copy in copies:
        last = joined[-1] if joined else None
        if last is not None and (last.block, _end(last), last.block_offset + last.size) == (
            copy.block,
            copy.slot_offset,
            copy.block_offset,
        ):
            joined[-1] = Copy(last.slot_offset, last.block, last.block_offset, last.size + copy.size)
        else:
            joined.append(copy)
    return tuple(joined)


class Landing:
    """Receives one range of a file into `units`; implements `remote.contract.RangeSink`.

    `start` lies on a unit edge. `filled` raises a retryable `IntegrityError` when a unit's digest does not match.
    """

    def __init__(self, proof: Proof, start: int, units: Sequence[memoryview], on_bytes: Callable[[int], None]) -> None:
        self._proof = proof
        self._position = start
        self._start = start
        self._units = units
        self._index = 0
        self._pending = 0
        self._on_bytes = on_bytes

    def buffer(self) -> memoryview:
        """The rest of the current unit."""
        return self._units[self._index][self._pending :]

    def filled(self, count: int) -> None:
        """Count bytes in; prove the unit when it is whole."""
        self._on_bytes(count)
        self._pending += count
        unit = self._units[self._index]
        if self._pending == len(unit):
            try:
                self._proof.check(unit, self._position)
            except IntegrityError as error:
                raise IntegrityError(error.message, hint=error.hint, retryable=True) from None
            self._position += len(unit)
            self._index += 1
            self._pending = 0

    def rewind(self) -> int:
        """Drop the unit in progress; what is proven stays."""
        self._pending = 0
        return self._position - self._start
