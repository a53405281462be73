"""Small reads first and last, large ones between. Pure.

Many reads are under way at once and share the network. If the first ones are large, the first tensor waits for a whole
wave of them; cut into single units, they are spread over all connections and it is there after its own bytes. At the
end small reads keep every connection busy until the last byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bentosync.loader.plan import Copy, Placement, Read, ReadPlan


def ramped(plan: ReadPlan, *, step_bytes: int, edge_bytes: int) -> ReadPlan:
    """`plan` with the reads of its first and last `edge_bytes` cut into steps.

    Args:
        plan: A plan whose reads start at multiples of `step_bytes`.
        step_bytes: A multiple of the unit of proof.
        edge_bytes: How much at either end.
    """
    reads: list[Read] = []
    last_of: list[tuple[int, int]] = []
    position = 0
    for read in plan.reads:
        edge = position < edge_bytes or position + read.size > plan.read_bytes - edge_bytes
        last_of.append((len(reads), read.offset))
        reads += _cut(read, step_bytes) if edge else [read]
        position += read.size
    return replace(
        plan, reads=tuple(reads), placements=tuple(_moved(placement, last_of, reads) for placement in plan.placements)
    )


def _cut(read: Read, step: int) -> Iterator[Read]:
    for begin in range(0, read.size, step):
        size = min(step, read.size - begin)
        copies = tuple(
            Copy(low - begin, copy.block, copy.block_offset + low - copy.slot_offset, high - low)
            for copy in read.copies
            if (low := max(copy.slot_offset, begin)) < (high := min(copy.slot_offset + copy.size, begin + size))
        )
        yield Read(read.file, read.offset + begin, size, copies)


def _moved(placement: Placement, last_of: list[tuple[int, int]], reads: list[Read]) -> Placement:
    if placement.block is None:
        return placement
    index = last_of[placement.last_read][0]
    while reads[index].offset + reads[index].size < placement.wanted.end:
        index += 1
    return replace(placement, last_read=index)
