from __future__ import annotations

import itertools

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from bentosync.errors import IntegrityError
from bentosync.loader.landing import Landing, lay_out
from bentosync.loader.plan import Copy, Read
from bentosync.loader.proof import Proof
from bentosync.manifest.values import BLOCK_BYTES, FileEntry

UNIT = 8


@st.composite
def reads(draw: st.DrawFn) -> Read:
    """A read whose copies go to places far apart in three blocks."""
    size = draw(st.integers(1, 60))
    edges = sorted(draw(st.sets(st.integers(0, size), min_size=2, max_size=8)))
    copies = [
        Copy(begin, index % 3, 100 * index, end - begin)
        for index, (begin, end) in enumerate(itertools.pairwise(edges))
        if draw(st.booleans())
    ]
    return Read(0, 0, size, tuple(copies))


@given(read=reads(), writable=st.sets(st.integers(0, 2)))
def test_bytes_end_where_the_copies_say_whichever_way_they_land(read: Read, writable: set[int]) -> None:
    blocks = {number: bytearray(1000) for number in range(3)}
    slot = bytearray(64)
    data = bytes(range(1, read.size + 1))
    layout = lay_out(read, UNIT, memoryview(slot), {number: memoryview(blocks[number]) for number in writable})
    position = 0
    for unit in layout.units:
        unit[:] = data[position : position + len(unit)]
        position += len(unit)
    assert position == read.size
    for copy in layout.copies:
        blocks[copy.block][copy.block_offset : copy.block_offset + copy.size] = slot[
            copy.slot_offset : copy.slot_offset + copy.size
        ]
    for copy in read.copies:
        wanted = data[copy.slot_offset : copy.slot_offset + copy.size]
        assert blocks[copy.block][copy.block_offset : copy.block_offset + copy.size] == wanted


def test_a_unit_that_is_wrong_is_retryable_and_what_was_proven_before_stays() -> None:
    data = bytes(BLOCK_BYTES) + b"\1" * 100
    blocks = b"".join(xxhash.xxh3_64_digest(part) for part in (data[:BLOCK_BYTES], data[BLOCK_BYTES:]))
    proof = Proof(FileEntry("f", len(data), False, b"", blocks), "full")
    memory = bytearray(len(data))
    units = [memoryview(memory)[:BLOCK_BYTES], memoryview(memory)[BLOCK_BYTES:]]
    landing = Landing(proof, 0, units, lambda count: None)
    landing.buffer()[:] = data[:BLOCK_BYTES]
    landing.filled(BLOCK_BYTES)
    landing.buffer()[:] = b"\2" * 100
    with pytest.raises(IntegrityError) as caught:
        landing.filled(100)
    assert caught.value.retryable
    assert landing.rewind() == BLOCK_BYTES
    landing.buffer()[:] = data[BLOCK_BYTES:]
    landing.filled(100)
    assert memory == data
