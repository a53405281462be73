"""The made-up model is valid, and every byte depends on its place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from bentosync.cli.synthetic import BLOCK_BYTES, block_bytes, write_model
from bentosync.formats.safetensors import read_header


def data_of(path: Path) -> bytes:
    return path.read_bytes()[read_header(path).data_offset :]


def test_shards_index_and_config_agree(tmp_path: Path) -> None:
    shards = write_model(tmp_path, size_bytes=6 << 20, shards=3, tensors_per_shard=5)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    names = {}
    for shard in shards:
        with safe_open(shard, framework="np") as file:
            names |= dict.fromkeys(file.keys(), shard.name)
    assert names == index["weight_map"]
    assert len(names) == 15
    assert sum(len(data_of(shard)) for shard in shards) == index["metadata"]["total_size"] <= 6 << 20
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "synthetic"


def test_a_single_shard_has_the_plain_name_and_no_index(tmp_path: Path) -> None:
    (shard,) = write_model(tmp_path, size_bytes=1 << 20, shards=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert read_header(shard).tensors


def test_each_block_carries_its_shard_and_number(tmp_path: Path) -> None:
    shards = write_model(tmp_path, size_bytes=6 << 20, shards=2, tensors_per_shard=4)
    for number, shard in enumerate(shards):
        data = data_of(shard)
        for block in range(3):
            part = data[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]
            assert part == block_bytes(number, block)
            assert np.frombuffer(part[:16], "<u8").tolist() == [number, block]


def test_no_two_blocks_share_words_at_the_same_place() -> None:
    blocks = [np.frombuffer(block_bytes(shard, block), "<u8") for shard in range(2) for block in range(4)]
    for index, one in enumerate(blocks):
        for other in blocks[index + 1 :]:
            assert np.count_nonzero(one[2:] == other[2:]) < 10


def test_another_seed_is_another_model() -> None:
    assert block_bytes(0, 0) != block_bytes(0, 0, seed=1)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
def test_no_value_is_a_nan_or_an_infinity(dtype: str) -> None:
    assert np.isfinite(np.frombuffer(block_bytes(1, 2), dtype)).all()


def test_odd_sizes_are_rounded_down_to_words(tmp_path: Path) -> None:
    (shard,) = write_model(tmp_path, size_bytes=1001, shards=1, tensors_per_shard=3)
    assert [tensor.end - tensor.begin for tensor in read_header(shard).tensors] == [332, 332, 332]
