"""The read plan: which bytes to read, and where each goes in device memory. Pure; nothing here does IO.

Tensors are laid into *blocks* (one allocation each, at least `block_bytes` unless the model ends) in file order, so
that a run of neighbours travels as one copy, whatever the number of tensors in it. A new run starts at a 256-aligned
offset: after a gap, at the start of a block, and where a neighbour would land on an address that is not 16-aligned.
So no view has to be cloned for alignment; a file whose tensors are misaligned costs a few more copies and at most 255
bytes of padding per run.

Reads are the wanted ranges rounded outwards to `unit_bytes` (a block or a leaf of the manifest: the unit that can be
proven, and a multiple of every disk sector), merged where they touch, and cut at `slot_bytes`. What is read and not
wanted is `overread_bytes`. Reads and placements have the same order, so once a prefix of the reads is done, a prefix
of the tensors is ready.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from bentosync.loader.selection import Wanted

SPAN_ALIGN = 256
"""Where a run starts in its block: the alignment of an allocation on every device, and a cache line of any kernel."""

VIEW_ALIGN = 16
"""Every tensor is handed out at such an address: the widest vector load of a GPU."""


@dataclass(frozen=True, slots=True)
class Extent:
    """One file as the plan sees it: its size and where its header ends, in bytes."""

    size: int
    data_offset: int


@dataclass(frozen=True, slots=True)
class Placement:
    """A tensor in device memory: `block` (None: it has no bytes), its offset there, and the last read it waits for."""

    wanted: Wanted
    block: int | None
    offset: int
    last_read: int


@dataclass(frozen=True, slots=True)
class Copy:
    """`size` bytes from `slot_offset` of a read's slot to `block_offset` of a block."""

    slot_offset: int
    block: int
    block_offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Read:
    """`size` bytes of file number `file` from `offset` on, and the copies they are for (none: only to be proven)."""

    file: int
    offset: int
    size: int
    copies: tuple[Copy, ...]


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """Everything a pipeline needs to know. Reads, placements and blocks are in file order."""

    reads: tuple[Read, ...] = field(repr=False)
    placements: tuple[Placement, ...] = field(repr=False)
    blocks: tuple[int, ...]
    payload_bytes: int
    read_bytes: int

    @property
    def overread_bytes(self) -> int:
        """Bytes read that no tensor asked for."""
        return self.read_bytes - self.payload_bytes


@dataclass(slots=True)
class _Span:
    """File bytes [begin, end) that go to `offset` of `block` as they are: one shift, one copy per read."""

    file: int
    begin: int
    end: int
    block: int
    offset: int


def plan_reads(
    wanted: Sequence[Wanted],
    extents: Sequence[Extent],
    *,
    slot_bytes: int,
    unit_bytes: int,
    block_bytes: int,
    prove_headers: bool = False,
) -> ReadPlan:
    """Lay `wanted` out and cut the reads.

    Args:
        wanted: In file order, then offset order; ranges do not overlap.
        extents: One per file.
        slot_bytes: Largest read; a multiple of `unit_bytes`.
        unit_bytes: Reads start at multiples of it and end at one or at the end of the file.
        block_bytes: A block takes tensors until it holds this much; 1 gives every tensor its own.
        prove_headers: Also read the header of every file that something is wanted from.
    """
    if slot_bytes % unit_bytes:
        raise ValueError(f"slot of {slot_bytes} bytes is no multiple of {unit_bytes}")
    spans, placed, blocks = _lay_out(wanted, block_bytes)
    headers = (
        [(index, 0, extents[index].data_offset) for index in sorted({w.file for w in wanted})] if prove_headers else []
    )
    ranges = sorted([(s.file, s.begin, s.end) for s in spans] + headers)
    reads = tuple(_with_copies(_cut(_round(ranges, extents, unit_bytes), slot_bytes), spans))
    return ReadPlan(
        reads=reads,
        placements=tuple(_with_last_read(wanted, placed, reads)),
        blocks=tuple(blocks),
        payload_bytes=sum(want.size for want in wanted),
        read_bytes=sum(read.size for read in reads),
    )


def _lay_out(wanted: Sequence[Wanted], block_bytes: int) -> tuple[list[_Span], list[tuple[int | None, int]], list[int]]:
    spans: list[_Span] = []
    placed: list[tuple[int | None, int]] = []
    blocks: list[int] = []
    for want in wanted:
        if not want.size:
            placed.append((None, 0))
            continue
        if not blocks or blocks[-1] >= block_bytes:
            blocks.append(0)
        cursor, last = blocks[-1], spans[-1] if spans else None
        follows = last is not None and cursor > 0 and (last.file, last.end) == (want.file, want.begin)
        if last is not None and follows and cursor % VIEW_ALIGN == 0:
            offset, last.end = cursor, want.end
        else:
            offset = -(-cursor // SPAN_ALIGN) * SPAN_ALIGN
            spans.append(_Span(want.file, want.begin, want.end, len(blocks) - 1, offset))
        blocks[-1] = offset + want.size
        placed.append((len(blocks) - 1, offset))
    return spans, placed, blocks


def _round(
    ranges: Iterable[tuple[int, int, int]], extents: Sequence[Extent], unit: int
) -> Iterator[tuple[int, int, int]]:
    """Ranges rounded outwards to units and merged where they touch."""
    current: tuple[int, int, int] | None = None
    for file, begin, end in ranges:
        begin, end = begin // unit * unit, min(-(-end // unit) * unit, extents[file].size)
        if current is not None and current[0] == file and begin <= current[2]:
            current = (file, current[1], max(end, current[2]))
            continue
        if current is not None:
            yield current
        current = (file, begin, end)
    if current is not None:
        yield current


def _cut(ranges: Iterable[tuple[int, int, int]], slot_bytes: int) -> Iterator[Read]:
    for file, begin, end in ranges:
        for offset in range(begin, end, slot_bytes):
            yield Read(file, offset, min(slot_bytes, end - offset), ())


def _with_copies(reads: Iterable[Read], spans: Sequence[_Span]) -> Iterator[Read]:
    first = 0
    for read in reads:
        stop, copies = read.offset + read.size, []
        while first < len(spans) and (spans[first].file, spans[first].end) <= (read.file, read.offset):
            first += 1
        for span in itertools.islice(spans, first, None):
            if (span.file, span.begin) >= (read.file, stop):
                break
            begin, end = max(span.begin, read.offset), min(span.end, stop)
            copies.append(Copy(begin - read.offset, span.block, span.offset + begin - span.begin, end - begin))
        yield Read(read.file, read.offset, read.size, tuple(copies))


def _with_last_read(
    wanted: Sequence[Wanted], placed: Sequence[tuple[int | None, int]], reads: Sequence[Read]
) -> Iterator[Placement]:
    index = 0
    for want, (block, offset) in zip(wanted, placed, strict=True):
        if block is not None:
            while (reads[index].file, reads[index].offset + reads[index].size) < (want.file, want.end):
                index += 1
        yield Placement(want, block, offset, -1 if block is None else index)
