from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from perf import hollow

MIB = 1 << 20


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    hollow.write(tmp_path, size=16 * MIB, shards=1)
    return next(tmp_path.iterdir())


def filled(source: Path, target: Path) -> bytes:
    """A copy without holes."""
    target.parent.mkdir()
    with target.open("wb", buffering=0) as file:
        file.write(source.read_bytes())
    return target.read_bytes()


def test_no_block_of_a_hollow_shard_is_another_and_it_takes_a_64th_of_its_size_at_most(shard: Path) -> None:
    data = shard.read_bytes()
    assert len(data) == 16 * MIB
    assert len({data[begin : begin + MIB] for begin in range(0, len(data), MIB)}) == 16
    assert shard.stat().st_blocks * 512 <= len(data) // 64


def test_digging_takes_zeros_off_the_disk_and_changes_no_byte(shard: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copies" / "part"
    before = filled(shard, copy)
    with hollow.digging(copy.parent):
        pass
    assert copy.read_bytes() == before
    assert copy.stat().st_blocks * 512 <= len(before) // 64


def test_what_is_no_part_of_a_hollow_shard_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"{" + b"x" * (4 * MIB))
    shutil.copy(other, tmp_path / "second")
    with hollow.digging(tmp_path):
        pass
    assert other.read_bytes() == (tmp_path / "second").read_bytes() == b"{" + b"x" * (4 * MIB)
