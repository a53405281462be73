from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentosync.loader.plan import SPAN_ALIGN, VIEW_ALIGN, Extent, ReadPlan, plan_reads
from bentosync.loader.selection import Wanted

KIB = 1024


@st.composite
def jobs(draw: st.DrawFn) -> tuple[list[bytes], list[Extent], list[Wanted], dict[str, int]]:
    """Files of position-dependent bytes, and wanted ranges with gaps, odd sizes and odd places."""
    contents, extents, wanted = [], [], []
    for file in range(draw(st.integers(1, 3))):
        cursor = data_offset = draw(st.integers(8, 700))
        for number in range(draw(st.integers(0, 12))):
            cursor += draw(st.sampled_from([0, 0, 0, 1, 16, 300, 5000]))
            size = draw(st.sampled_from([0, 1, 3, 4, 16, 64, 1000, 4096, 9000]))
            wanted.append(Wanted(f"{file}.{number}", "U8", (size,), file, cursor, cursor + size))
            cursor += size
        size = cursor + draw(st.integers(0, 3000))
        contents.append(bytes((position * 31 + (position >> 8) * 7 + file) & 0xFF for position in range(size)))
        extents.append(Extent(size, data_offset))
    unit = draw(st.sampled_from([512, 4096]))
    sizes = {
        "unit_bytes": unit,
        "slot_bytes": unit * draw(st.integers(1, 4)),
        "block_bytes": draw(st.sampled_from([1, 2000, 1 << 20])),
    }
    return contents, extents, wanted, sizes


def carry_out(plan: ReadPlan, contents: list[bytes]) -> list[bytearray]:
    """What a pipeline does, without files, threads and devices."""
    blocks = [bytearray(size) for size in plan.blocks]
    for read in plan.reads:
        slot = contents[read.file][read.offset : read.offset + read.size]
        assert len(slot) == read.size
        for copy in read.copies:
            assert copy.slot_offset + copy.size <= read.size
            assert copy.block_offset + copy.size <= plan.blocks[copy.block]
            blocks[copy.block][copy.block_offset : copy.block_offset + copy.size] = slot[
                copy.slot_offset : copy.slot_offset + copy.size
            ]
    return blocks


@given(jobs(), st.booleans())
def test_carrying_out_a_plan_puts_every_wanted_byte_at_its_placement(job: tuple, prove_headers: bool) -> None:
    contents, extents, wanted, sizes = job
    plan = plan_reads(wanted, extents, prove_headers=prove_headers, **sizes)
    blocks = carry_out(plan, contents)
    assert [placement.wanted for placement in plan.placements] == wanted
    for placement in plan.placements:
        want = placement.wanted
        if placement.block is None:
            assert want.size == 0
        else:
            found = blocks[placement.block][placement.offset : placement.offset + want.size]
            assert found == contents[want.file][want.begin : want.end]
            assert placement.offset % VIEW_ALIGN == 0


@given(jobs(), st.booleans())
def test_reads_are_units_of_the_file_in_order_and_no_byte_is_read_twice(job: tuple, prove_headers: bool) -> None:
    _, extents, wanted, sizes = job
    plan = plan_reads(wanted, extents, prove_headers=prove_headers, **sizes)
    last = (-1, 0)
    for read in plan.reads:
        assert read.offset % sizes["unit_bytes"] == 0
        assert 0 < read.size <= sizes["slot_bytes"]
        stop = read.offset + read.size
        assert stop % sizes["unit_bytes"] == 0 or stop == extents[read.file].size
        assert last <= (read.file, read.offset)
        last = (read.file, stop)
    assert plan.read_bytes == sum(read.size for read in plan.reads)
    assert plan.overread_bytes == plan.read_bytes - sum(want.size for want in wanted) >= 0


@given(jobs())
def test_a_prefix_of_the_reads_completes_a_prefix_of_the_tensors(job: tuple) -> None:
    _, extents, wanted, sizes = job
    plan = plan_reads(wanted, extents, **sizes)
    waits = [placement.last_read for placement in plan.placements if placement.block is not None]
    assert waits == sorted(waits)
    for placement in plan.placements:
        want = placement.wanted
        if placement.block is None:
            assert placement.last_read == -1
            continue
        read = plan.reads[placement.last_read]
        assert read.file == want.file
        assert read.offset < want.end <= read.offset + read.size


@given(jobs())
def test_every_block_but_the_last_holds_at_least_block_bytes_and_ends_with_a_tensor(job: tuple) -> None:
    _, extents, wanted, sizes = job
    plan = plan_reads(wanted, extents, **sizes)
    assert all(size >= sizes["block_bytes"] for size in plan.blocks[:-1])
    for number, size in enumerate(plan.blocks):
        ends = [p.offset + p.wanted.size for p in plan.placements if p.block == number]
        assert max(ends) == size


def test_neighbours_travel_as_one_copy_and_the_data_section_starts_aligned() -> None:
    wanted = [Wanted(str(n), "BF16", (512,), 0, 104 + n * 1024, 104 + (n + 1) * 1024) for n in range(100)]
    plan = plan_reads(
        wanted, [Extent(104 + 100 * KIB, 104)], slot_bytes=1 << 20, unit_bytes=1 << 20, block_bytes=1 << 28
    )
    assert [len(read.copies) for read in plan.reads] == [1]
    assert plan.placements[0].offset == 0
    assert plan.blocks == (100 * KIB,)
    assert plan.overread_bytes == 104


def test_a_tensor_behind_a_misaligned_one_starts_a_new_run_instead_of_needing_a_clone() -> None:
    wanted = [Wanted("odd", "U8", (3,), 0, 64, 67), Wanted("next", "F32", (4,), 0, 67, 83)]
    plan = plan_reads(wanted, [Extent(83, 64)], slot_bytes=4096, unit_bytes=4096, block_bytes=1 << 28)
    assert [placement.offset for placement in plan.placements] == [0, SPAN_ALIGN]
    assert [len(read.copies) for read in plan.reads] == [2]


def test_unwanted_neighbours_take_no_device_memory() -> None:
    wanted = [Wanted("a", "U8", (100,), 0, 64, 164), Wanted("c", "U8", (100,), 0, 1 << 20, (1 << 20) + 100)]
    plan = plan_reads(wanted, [Extent(2 << 20, 64)], slot_bytes=8192, unit_bytes=4096, block_bytes=1 << 28)
    assert plan.blocks == (SPAN_ALIGN + 100,)
    assert [(read.offset, read.size) for read in plan.reads] == [(0, 4096), (1 << 20, 4096)]


def test_proving_headers_reads_them_even_when_nothing_near_is_wanted() -> None:
    wanted = [Wanted("far", "U8", (10,), 1, 9000, 9010)]
    extents = [Extent(5000, 64), Extent(10000, 64)]
    plan = plan_reads(wanted, extents, slot_bytes=4096, unit_bytes=4096, block_bytes=1 << 28, prove_headers=True)
    assert [(read.file, read.offset, len(read.copies)) for read in plan.reads] == [(1, 0, 0), (1, 8192, 1)]


def test_a_block_of_its_own_for_every_tensor() -> None:
    wanted = [Wanted(str(n), "U8", (10,), 0, 64 + 10 * n, 74 + 10 * n) for n in range(5)]
    plan = plan_reads(wanted, [Extent(200, 64)], slot_bytes=4096, unit_bytes=4096, block_bytes=1)
    assert plan.blocks == (10,) * 5


def test_a_slot_that_cuts_units_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple"):
        plan_reads([], [], slot_bytes=5000, unit_bytes=4096, block_bytes=1 << 28)


def test_nothing_wanted_is_nothing_read() -> None:
    plan = plan_reads([], [Extent(100, 64)], slot_bytes=4096, unit_bytes=4096, block_bytes=1 << 28, prove_headers=True)
    assert (plan.reads, plan.blocks, plan.placements) == ((), (), ())
