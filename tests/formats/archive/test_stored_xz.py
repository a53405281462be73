"""Stored xz is xz: every decoder takes it, and it grows by next to nothing."""

from __future__ import annotations

import io
import lzma
import shutil
import subprocess
from pathlib import Path

import pytest

from bentosync.formats.archive.stored_xz import CHUNK_BYTES, StoredXz
from tests.store.trees import pattern

SIZES = [0, 1, 3, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 300 * CHUNK_BYTES + 7]


def wrapped(data: bytes, pieces: list[int]) -> bytes:
    output = io.BytesIO()
    writer = StoredXz(lambda parts: [output.write(part) for part in parts] and None)
    at = 0
    for size in pieces:
        writer.write(data[at : at + size])
        at += size
    writer.write(data[at:])
    writer.finish()
    return output.getvalue()


@pytest.mark.parametrize("size", SIZES)
def test_liblzma_reads_what_went_in(size: int) -> None:
    data = pattern(size)
    assert lzma.decompress(wrapped(data, []), format=lzma.FORMAT_XZ) == data


@pytest.mark.parametrize("size", SIZES)
def test_the_bytes_do_not_depend_on_how_they_came(size: int) -> None:
    data = pattern(size)
    assert wrapped(data, [1, 511, 512, 0, CHUNK_BYTES - 1, CHUNK_BYTES + 1, 5]) == wrapped(data, [])


def test_the_overhead_is_three_bytes_a_chunk_and_a_frame_of_less_than_100() -> None:
    assert len(wrapped(pattern(1 << 20), [])) <= (1 << 20) + 16 * 3 + 100


def test_a_flipped_bit_is_found() -> None:
    whole = bytearray(wrapped(pattern(200_000), []))
    whole[100_000] ^= 1
    with pytest.raises(lzma.LZMAError):
        lzma.decompress(bytes(whole))


@pytest.mark.skipif(shutil.which("xz") is None, reason="no xz here")
@pytest.mark.parametrize("size", SIZES)
def test_xz_itself_finds_nothing_wrong(size: int, tmp_path: Path) -> None:
    path = tmp_path / "x.xz"
    path.write_bytes(wrapped(pattern(size), []))
    subprocess.run(["xz", "--test", path], check=True)
