"""A manifest cut into pieces comes back whole, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentosync.errors import UnsafeInput
from bentosync.formats.archive import carried
from bentosync.formats.archive.carried import Joining


def joined(pieces: list[bytes]) -> bytes | None:
    joining = Joining()
    for piece in pieces:
        joining.take(piece)
    return joining.finish()


@given(st.text(max_size=60), st.integers(4, 80))
def test_pieces_are_utf8_and_join_to_the_body(text: str, size: int) -> None:
    pieces = list(carried.split(text.encode(), size))
    for piece in pieces:
        assert carried.is_piece(piece)
        piece.decode()
    assert joined(pieces) == text.encode()


def test_without_pieces_there_is_no_manifest() -> None:
    assert joined([]) is None


@pytest.mark.parametrize("order", [[0], [1, 0], [0, 0], [0, 2], [0, 1, 2, 2], [2], [1]])
def test_missing_doubled_and_misplaced_pieces_are_refused(order: list[int]) -> None:
    pieces = list(carried.split(b"abcdefghijkl", 4))
    assert len(pieces) == 3
    with pytest.raises(UnsafeInput):
        joined([pieces[index] for index in order])


def test_a_manifest_over_the_limit_is_refused_before_it_is_whole() -> None:
    joining = Joining()
    piece = b"x" * (1 << 20)
    with pytest.raises(UnsafeInput, match="longer than"):
        for number in range(1, 100):
            joining.take(b"bentosync-manifest %d/99\n" % number + piece)
    assert number == 65
