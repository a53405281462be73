"""Bytes held against a manifest: what differs is named, block by block, and the digests cover each other."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bentosync.manifest.digests import differences, differing_blocks, differing_leaves, leaf_digest, packed
from bentosync.manifest.values import BLOCK_BYTES, LEAF_BYTES, FileEntry
from tests.blocks import content

SIZE = LEAF_BYTES + 2 * BLOCK_BYTES + 5
DATA = content(11, SIZE)
ENTRY = FileEntry("file", SIZE, False, *packed(DATA))


def flipped(*positions: int) -> memoryview:
    data = bytearray(DATA)
    for position in positions:
        data[position] ^= 1
    return memoryview(data)


@pytest.mark.parametrize("strong", [False, True])
def test_nothing_differs_where_the_bytes_are_the_files(strong: bool) -> None:
    data = memoryview(DATA)
    assert not any(differences(ENTRY, 0, data, strong=strong))
    assert not any(differences(ENTRY, LEAF_BYTES, data[LEAF_BYTES:], strong=strong))
    assert not any(differing_blocks(ENTRY, BLOCK_BYTES, data[BLOCK_BYTES : 2 * BLOCK_BYTES]))


@pytest.mark.parametrize("strong", [False, True])
def test_every_block_that_differs_is_named_by_its_place_in_the_file(strong: bool) -> None:
    bad = flipped(3 * BLOCK_BYTES, LEAF_BYTES, SIZE - 1)
    found = list(differences(ENTRY, 0, bad, strong=strong))
    assert [(one.begin, one.end, one.kind) for one in found] == [
        (3 * BLOCK_BYTES, 4 * BLOCK_BYTES, "XXH3"),
        (LEAF_BYTES, LEAF_BYTES + BLOCK_BYTES, "XXH3"),
        (LEAF_BYTES + 2 * BLOCK_BYTES, SIZE, "XXH3"),
    ]
    assert found[:1] == [*differences(ENTRY, 0, bad[:LEAF_BYTES], strong=strong)]
    assert found[1:] == [*differences(ENTRY, LEAF_BYTES, bad[LEAF_BYTES:], strong=strong)]


def test_a_leaf_that_differs_with_blocks_that_do_not_shows_to_strong_alone() -> None:
    forged = replace(ENTRY, leaves=bytes(32) + ENTRY.leaves[32:])
    data = memoryview(DATA)
    assert not any(differences(forged, 0, data, strong=False))
    (found,) = differences(forged, 0, data, strong=True)
    assert found == (0, LEAF_BYTES, "BLAKE3", bytes(32), leaf_digest(data[:LEAF_BYTES]))
    assert [found] == list(differing_leaves(forged, 0, data))


@pytest.mark.parametrize("strong", [False, True])
def test_bytes_that_stop_short_or_go_on_behind_the_end_differ(strong: bool) -> None:
    assert any(differences(ENTRY, 0, memoryview(DATA)[:-1], strong=strong))
    assert any(differences(ENTRY, 0, memoryview(DATA + b"x"), strong=strong))
    whole = DATA[:BLOCK_BYTES]
    short = FileEntry("file", BLOCK_BYTES, False, *packed(whole))
    assert any(differences(short, 0, memoryview(whole + b"x"), strong=strong))
