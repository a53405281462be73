"""A version that is only on a remote, opened like a file: names cost the manifest, tensors cost their blocks."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from bentosync.errors import IntegrityError, NotFound
from bentosync.loader.load import open_tensors
from tests.loader.distant import LAYERS, MIB, WEIGHTS, Distance, bytes_of, descriptors, true_bytes
from tests.loader.weights import write
from tests.servers.faulty.actions import Flip, Reset


def test_names_shapes_and_types_cost_no_byte_of_a_body(distance: Distance) -> None:
    with open_tensors("m:v1", settings=distance.settings()) as file:
        assert file.keys() == [name for tensors in WEIGHTS.values() for name in tensors]
        layer = file.get_slice("layer.3")
        assert (layer.get_shape(), layer.get_dtype()) == ([256, 1024], "F32")
        with pytest.raises(NotFound, match="no tensor 'nothing'"):
            file.get_tensor("nothing")
    assert distance.asked("files/") == 0
    assert not distance.home.exists()


@pytest.mark.parametrize("cache", ["none", "tee"])
def test_a_tensor_costs_the_blocks_it_lies_in(distance: Distance, cache: str) -> None:
    with open_tensors("m:v1", settings=distance.settings(), cache=cache) as file:
        for name in ("layer.4", "last", "none", "layer.20"):
            before = distance.sent_bytes
            assert bytes_of(file.get_tensor(name)) == true_bytes(name)
            assert distance.sent_bytes - before <= 2 * MIB
    assert distance.versions == []
    assert distance.home.exists() == (cache == "tee")


def test_rows_cost_the_blocks_they_lie_in(distance: Distance) -> None:
    with open_tensors("m:v1", settings=distance.settings(), cache="none") as file:
        before = distance.sent_bytes
        rows = file.get_slice("layer.7")[10:12, 5:]
        assert bytes_of(rows) == bytes_of(file.get_tensor("layer.7")[10:12, 5:])
        assert distance.sent_bytes - before <= 4 * MIB


def test_what_one_open_file_fetched_the_next_reads_from_the_disk_and_a_load_goes_on_from_it(distance: Distance) -> None:
    for number in range(2):
        before = distance.sent_bytes
        with open_tensors("m:v1", settings=distance.settings()) as file:
            opened = distance.sent_bytes
            assert bytes_of(file.get_tensor("layer.1")) == true_bytes("layer.1")
            assert bytes_of(file.get_tensor("layer.1")) == true_bytes("layer.1")
        assert distance.sent_bytes - opened <= (2 * MIB if number == 0 else 0), before
    report = distance.load().report
    assert report.cache is not None and report.cache.wait(30) == "published"
    assert distance.same_trees()


def test_an_open_file_does_not_keep_others_from_the_version(distance: Distance) -> None:
    with open_tensors("m:v1", settings=distance.settings()) as file:
        file.get_tensor("layer.0")
        distance.pull()
        assert bytes_of(file.get_tensor("layer.9")) == true_bytes("layer.9")
    assert distance.same_trees()


def test_all_tensors_at_once_are_one_load(distance: Distance) -> None:
    with open_tensors("m:v1", settings=distance.settings(), tensors="layer.*") as file:
        assert {name: bytes_of(tensor) for name, tensor in file.get_tensors().items()} == {
            name: true_bytes(name) for name in LAYERS
        }


def test_metadata_is_read_from_the_headers_and_proven(distance: Distance, tmp_path: Path) -> None:
    weights = write(tmp_path / "made", {"a": ("F32", (64, 1024))}, metadata={"format": "pt"}).read_bytes()
    distance.push("big:v1", {}, {"model.safetensors": weights})
    with open_tensors("big:v1", settings=distance.settings(), cache="none") as file:
        assert file.metadata() == {"format": "pt"}
        assert distance.asked("files/") == 1


def test_a_fault_that_passes_is_not_seen_and_one_that_lasts_does_not_end_the_file(distance: Distance) -> None:
    threads, fds = threading.active_count(), len(descriptors())
    with open_tensors("m:v1", settings=distance.settings(attempts=2), cache="none") as file:
        distance.server.inject("GetObject", Reset(5), key="model-1", times=1)
        assert bytes_of(file.get_tensor("layer.2")) == true_bytes("layer.2")
        distance.server.inject("GetObject", Flip(5), key="model-1", times=None)
        with pytest.raises(IntegrityError):
            file.get_tensor("layer.3")
        distance.server.heal()
        assert bytes_of(file.get_tensor("layer.3")) == true_bytes("layer.3")
    distance.server.hang_up()
    assert threading.active_count() == threads
    assert len(descriptors()) <= fds
