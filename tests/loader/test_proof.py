from __future__ import annotations

import blake3
import pytest
import xxhash

from bentosync.errors import IntegrityError
from bentosync.loader.proof import Proof, Strength, unit_bytes
from bentosync.manifest.values import BLOCK_BYTES, LEAF_BYTES, FileEntry
from tests.loader.weights import payload

SIZE = 2 * LEAF_BYTES + 12345
DATA = payload("proof", SIZE)


def entry(data: bytes = DATA, path: str = "model.safetensors") -> FileEntry:
    return FileEntry(
        path,
        len(data),
        False,
        b"".join(blake3.blake3(data[at : at + LEAF_BYTES]).digest() for at in range(0, len(data), LEAF_BYTES)),
        b"".join(xxhash.xxh3_64_digest(data[at : at + BLOCK_BYTES]) for at in range(0, len(data), BLOCK_BYTES)),
    )


@pytest.mark.parametrize("strength", ["full", "strong"])
def test_true_bytes_pass_wherever_the_read_starts(strength: Strength) -> None:
    proof, unit = Proof(entry(), strength), unit_bytes(strength)
    proof.check_size(SIZE)
    proof.check(memoryview(DATA), 0)
    proof.check(memoryview(DATA)[unit:], unit)
    proof.check(memoryview(DATA)[unit : 2 * unit], unit)


@pytest.mark.parametrize("strength", ["full", "strong"])
@pytest.mark.parametrize("position", [0, BLOCK_BYTES - 1, LEAF_BYTES, SIZE - 1])
def test_one_flipped_bit_is_found_and_its_place_named(strength: Strength, position: int) -> None:
    damaged = bytearray(DATA)
    damaged[position] ^= 1
    begin = position // unit_bytes(strength) * unit_bytes(strength)
    with pytest.raises(IntegrityError, match=rf"model\.safetensors differs .* bytes {begin} to"):
        Proof(entry(), strength).check(memoryview(damaged), 0)


def test_blocks_that_change_places_are_found() -> None:
    with pytest.raises(IntegrityError):
        Proof(entry(), "full").check(memoryview(DATA)[BLOCK_BYTES : 2 * BLOCK_BYTES], 0)


def test_another_size_is_found_before_anything_is_read() -> None:
    with pytest.raises(IntegrityError, match=f"has {SIZE - 1} bytes"):
        Proof(entry(), "full").check_size(SIZE - 1)
