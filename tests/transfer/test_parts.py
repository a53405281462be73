from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentosync.errors import InvalidArgument
from bentosync.manifest.values import LEAF_BYTES
from bentosync.transfer import parts

SIZES = st.integers(min_value=0, max_value=parts.PARTS_MAX * parts.PART_BYTES_LIMIT)


@given(SIZES)
def test_a_part_size_is_a_power_of_two_of_whole_leaves_and_needs_at_most_5000_parts(size: int) -> None:
    step = parts.part_bytes(size)
    assert step & (step - 1) == 0
    assert step % LEAF_BYTES == 0
    assert step >= parts.PART_BYTES_MIN
    assert -(-size // step) <= parts.PARTS_MAX


@given(SIZES)
def test_half_the_part_size_would_be_too_small_or_below_the_floor(size: int) -> None:
    half = parts.part_bytes(size) // 2
    assert half < parts.PART_BYTES_MIN or -(-size // half) > parts.PARTS_MAX


@given(st.integers(min_value=0, max_value=1 << 36))
def test_parts_cover_the_file_once_and_only_the_last_may_be_short(size: int) -> None:
    pieces = parts.parts(size)
    assert sum(piece.length for piece in pieces) == size
    position = 0
    for piece in pieces:
        assert piece.start == position
        position += piece.length
    assert all(piece.length == parts.part_bytes(size) for piece in pieces[:-1])
    assert all(piece.length > 0 for piece in pieces)


def test_a_file_that_needs_more_than_5000_parts_of_4_gib_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="too large to upload"):
        parts.part_bytes(parts.PARTS_MAX * parts.PART_BYTES_LIMIT + 1)


@given(st.integers(0, 1 << 44), st.integers(1, 64), st.sampled_from([LEAF_BYTES, 4 * LEAF_BYTES, 1 << 30]))
def test_a_request_asks_for_whole_leaves_and_leaves_every_stream_another_one(
    left: int, streams: int, limit: int
) -> None:
    share = parts.share(left, streams, limit)
    assert share % LEAF_BYTES == 0
    assert LEAF_BYTES <= share <= limit
    assert share == LEAF_BYTES or 2 * streams * share <= left


@given(st.integers(1, 64), st.integers(0, 1 << 36))
def test_requests_become_smaller_towards_the_end(streams: int, left: int) -> None:
    assert parts.share(left, streams, 1 << 25) >= parts.share(left // 2, streams, 1 << 25)
