"""The core's XXH3-64 against the xxhash package."""

from __future__ import annotations

from random import Random

import pytest
import xxhash

from bentosync.native import select

if not select.compiled():
    pytest.skip("no compiled core", allow_module_level=True)

from bentosync.native import _core

# Around the ends of stripes (64 bytes) and of rounds (1,024 bytes), and a whole block.
SIZES = [*range(241, 400), *range(1000, 1100), *range(2040, 2060), 4096, 65_537, (1 << 20) - 1, 1 << 20]


@pytest.mark.parametrize("way", _core.xxh3_ways())
def test_every_way_gives_the_digest_of_the_reference(way: str) -> None:
    data = Random(1).randbytes(1 << 20)
    for size in SIZES:
        piece = memoryview(data)[len(data) - size :]
        assert _core.xxh3_64_by(way, piece) == xxhash.xxh3_64_intdigest(piece), size


def test_short_inputs_are_left_to_others() -> None:
    assert _core.xxh3_64_by("plain", bytes(240)) == 0


def test_a_way_that_is_not_here_is_refused() -> None:
    with pytest.raises(ValueError, match="no way"):
        _core.xxh3_64_by("none", bytes(300))
