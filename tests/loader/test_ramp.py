from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bentosync.loader.plan import Extent, ReadPlan, plan_reads
from bentosync.loader.ramp import ramped
from bentosync.loader.selection import Wanted

UNIT = 16
SLOT = 4 * UNIT


def planned(sizes: list[int]) -> ReadPlan:
    begins = [7 + sum(sizes[:index]) for index in range(len(sizes))]
    wanted = [Wanted(f"t{i}", "U8", (s,), 0, b, b + s) for i, (b, s) in enumerate(zip(begins, sizes, strict=True))]
    extent = Extent(7 + sum(sizes), 7)
    return plan_reads(wanted, [extent], slot_bytes=SLOT, unit_bytes=UNIT, block_bytes=100, prove_headers=True)


def moves(plan: ReadPlan) -> list[tuple[int, int, int]]:
    """Every byte that is copied: where from, and where to."""
    return [
        (read.offset + copy.slot_offset + byte, copy.block, copy.block_offset + byte)
        for read in plan.reads
        for copy in read.copies
        for byte in range(copy.size)
    ]


@given(sizes=st.lists(st.integers(0, 150), min_size=1, max_size=12), edge=st.integers(0, 200))
def test_a_ramp_moves_the_same_bytes_and_no_tensor_is_ready_before_its_last_one(sizes: list[int], edge: int) -> None:
    plan = planned(sizes)
    ramp = ramped(plan, step_bytes=UNIT, edge_bytes=edge)
    assert moves(ramp) == moves(plan)
    assert sum(read.size for read in ramp.reads) == plan.read_bytes
    assert all(read.offset % UNIT == 0 for read in ramp.reads)
    for placement in ramp.placements:
        if placement.block is not None:
            last = ramp.reads[placement.last_read]
            assert last.offset < placement.wanted.end <= last.offset + last.size


def test_the_first_and_the_last_reads_are_single_units() -> None:
    reads = ramped(planned([1000]), step_bytes=UNIT, edge_bytes=2 * UNIT).reads
    assert [read.size for read in reads[:4]] == [UNIT] * 4
    assert max(read.size for read in reads) == SLOT
    assert reads[-1].size <= UNIT
