from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from bentosync.errors import InvalidArgument, NotFound
from bentosync.loader.load import open_tensors
from tests.loader.weights import write

BOTH_WAYS = pytest.mark.parametrize("staging", ["auto", "force"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    table = {"a": ("I32", (10, 4, 3)), "b": ("BF16", (6,)), "s": ("F32", ())}
    return write(tmp_path / "w.safetensors", table, metadata={"format": "pt"}, shift=1)


@BOTH_WAYS
def test_it_answers_as_safe_open_does(path: Path, staging: str) -> None:
    with safe_open(path, framework="pt") as reference, open_tensors(path, staging=staging) as ours:
        assert ours.keys() == sorted(reference.keys())
        assert ours.metadata() == reference.metadata() == {"format": "pt"}
        for name in ("a", "b"):
            assert torch.equal(ours.get_tensor(name).view(torch.uint8), reference.get_tensor(name).view(torch.uint8))
            assert ours.get_slice(name).get_shape() == reference.get_slice(name).get_shape()
            assert ours.get_slice(name).get_dtype() == reference.get_slice(name).get_dtype()
        assert ours.get_tensors().keys() == {"a", "b", "s"}


@BOTH_WAYS
@pytest.mark.parametrize(
    "index",
    [
        slice(2, 5),
        slice(None),
        slice(-3, None),
        slice(0, 0),
        slice(1, 9, 3),
        3,
        -1,
        (slice(2, 5), 1),
        (slice(2, 5), slice(1, 3), 2),
        (4, slice(0, 2)),
        ...,
        (..., 1),
        (None, slice(0, 1)),
    ],
)
def test_a_slice_is_what_indexing_the_tensor_gives(path: Path, staging: str, index: object) -> None:
    with open_tensors(path, staging=staging) as file:
        assert torch.equal(file.get_slice("a")[index], file.get_tensor("a")[index])  # type: ignore[index]


@pytest.mark.parametrize("index", [10, -11])
def test_a_row_past_the_end_is_an_index_error(path: Path, index: int) -> None:
    with open_tensors(path) as file, pytest.raises(IndexError):
        file.get_slice("a")[index]


def test_tensors_and_slices_outlive_the_file_and_the_object_closes_it(path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with open_tensors(path) as file:
        tensor, rows = file.get_tensor("a"), file.get_slice("a")[2:4]
    assert os.listdir("/proc/self/fd") == before
    path.unlink()
    assert torch.equal(rows, tensor[2:4])


def test_a_closed_file_says_so(path: Path) -> None:
    file = open_tensors(path)
    rows = file.get_slice("a")
    file.close()
    file.close()
    for use in (lambda: file.get_tensor("a"), file.get_tensors, lambda: file.get_slice("a"), lambda: rows[0:1]):
        with pytest.raises(InvalidArgument, match="is closed"):
            use()


def test_a_name_that_is_not_there_is_not_found(path: Path) -> None:
    with open_tensors(path) as file, pytest.raises(NotFound, match="no tensor 'x'"):
        file.get_tensor("x")


def test_selection_rows_and_cast_hold_for_every_tensor_taken(path: Path) -> None:
    with open_tensors(path, tensors=["a", "b"], plan={"a": slice(1, 3)}, dtype="float32") as file:
        assert file.keys() == ["a", "b"]
        assert file.get_tensor("a").shape == (2, 4, 3)
        assert file.get_slice("a")[1:2].shape == (1, 4, 3)
        assert file.get_tensor("b").dtype == torch.float32
