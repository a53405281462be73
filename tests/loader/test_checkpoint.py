from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bentosync.errors import BentoMLException, InvalidArgument, NotFound, UnsafeInput
from bentosync.loader.checkpoint import INDEX, Checkpoint, find
from tests.loader.weights import write, write_index

A = {"a": ("F32", (2,))}
B = {"b": ("F32", (2,))}


def found(path: Path) -> list[str]:
    return [p.name for p in find(path)[0]]


def shards(path: Path) -> Path:
    write(path / "x-1.safetensors", A)
    write(path / "x-2.safetensors", B)
    return path


def test_a_file_is_itself(tmp_path: Path) -> None:
    assert found(write(tmp_path / "w.safetensors", A)) == ["w.safetensors"]


def test_model_safetensors_wins_over_an_index(tmp_path: Path) -> None:
    shards(tmp_path)
    write(tmp_path / "model.safetensors", A)
    write_index(tmp_path / INDEX, {"a": "x-1.safetensors"})
    assert found(tmp_path) == ["model.safetensors"]


def test_an_index_names_the_shards_and_other_files_are_left_alone(tmp_path: Path) -> None:
    shards(tmp_path)
    write(tmp_path / "consolidated.safetensors", A)
    write_index(tmp_path / INDEX, {"a": "x-1.safetensors", "b": "x-2.safetensors"})
    with Checkpoint(tmp_path) as checkpoint:
        assert [file.path.name for file in checkpoint.files] == ["x-1.safetensors", "x-2.safetensors"]
        assert [spec.name for header in checkpoint.headers for spec in header.tensors] == ["a", "b"]


def test_the_only_index_of_another_name_counts(tmp_path: Path) -> None:
    shards(tmp_path)
    write_index(tmp_path / "diffusion_pytorch_model.safetensors.index.json", {"a": "x-1.safetensors"})
    assert found(tmp_path) == ["x-1.safetensors"]


def test_without_an_index_every_safetensors_file_counts(tmp_path: Path) -> None:
    assert found(shards(tmp_path)) == ["x-1.safetensors", "x-2.safetensors"]


@pytest.mark.parametrize(
    ("weight_map", "error", "says"),
    [
        ({"a": "x-1.safetensors", "b": "x-3.safetensors"}, NotFound, "x-3.safetensors"),
        ({"a": "x-2.safetensors", "b": "x-1.safetensors"}, UnsafeInput, "it is in x-1.safetensors"),
        ({"a": "x-1.safetensors", "c": "x-2.safetensors"}, UnsafeInput, "no shard has it"),
        ({"a": "../x-1.safetensors"}, UnsafeInput, "tensor 'a' is in"),
        ({"a": "/etc/passwd"}, UnsafeInput, "tensor 'a' is in"),
        ({"a": 7}, UnsafeInput, "tensor 'a' is in"),
        ({}, UnsafeInput, "weight_map"),
    ],
)
def test_an_index_that_lies_is_refused(
    tmp_path: Path, weight_map: dict[str, str], error: type[BentoMLException], says: str
) -> None:
    shards(tmp_path)
    write_index(tmp_path / INDEX, weight_map)
    with pytest.raises(error, match=says):
        Checkpoint(tmp_path)


def test_a_tensor_the_index_does_not_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "x-1.safetensors", A | B)
    write_index(tmp_path / INDEX, {"a": "x-1.safetensors"})
    with pytest.raises(UnsafeInput, match="'b', which the index does not name"):
        Checkpoint(tmp_path)


def test_a_name_twice_in_the_index_is_refused(tmp_path: Path) -> None:
    shards(tmp_path)
    (tmp_path / INDEX).write_text('{"weight_map": {"a": "x-1.safetensors", "a": "x-2.safetensors"}}')
    with pytest.raises(UnsafeInput, match=INDEX):
        Checkpoint(tmp_path)


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "x-1.safetensors", A)
    write(tmp_path / "x-2.safetensors", A)
    with pytest.raises(UnsafeInput, match=r"two files: x-1\.safetensors and x-2\.safetensors"):
        Checkpoint(tmp_path)


HEADERS = {
    "empty file": b"",
    "seven bytes": b"1234567",
    "length over the file": (1 << 20).to_bytes(8, "little") + b"{}",
    "length 2^63": (1 << 63).to_bytes(8, "little") + b"{}",
    "length zero": bytes(8),
    "no JSON": (4).to_bytes(8, "little") + b"nope",
    "tensor past the end": (lambda h: len(h).to_bytes(8, "little") + h)(
        json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    ),
    "trailing bytes": (2).to_bytes(8, "little") + b"{}" + b"x",
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS.keys())
def test_a_malformed_header_is_refused_naming_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(UnsafeInput, match=r"w\.safetensors"):
        Checkpoint(path)


def test_nothing_there_and_nothing_fit_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        find(tmp_path / "gone")
    with pytest.raises(NotFound, match="no safetensors file"):
        find(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InvalidArgument):
        find(tmp_path / "pytorch_model.bin")


def test_a_fifo_in_place_of_weights_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(UnsafeInput, match="not a regular file"):
        Checkpoint(tmp_path)


def test_no_descriptor_is_left_open_by_a_checkpoint_that_is_refused(tmp_path: Path) -> None:
    shards(tmp_path)
    (tmp_path / "x-3.safetensors").write_bytes(b"nope")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(UnsafeInput):
        Checkpoint(tmp_path)
    assert os.listdir("/proc/self/fd") == before
