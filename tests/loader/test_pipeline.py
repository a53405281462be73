"""The pipeline on a device that copies as late as it may and fails on demand (see fake.py)."""

from __future__ import annotations

import gc
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bentosync.errors import IntegrityError, OutOfMemory
from bentosync.loader.opening import open_model
from bentosync.loader.options import Options
from bentosync.loader.resolve import Resolved
from bentosync.loader.selection import select
from bentosync.loader.sizing import Sizing
from bentosync.loader.stream import LoadedTensors, TensorStream
from tests.loader.fake import FakeDevice
from tests.loader.weights import payload, write

MIB = 1 << 20
LAYERS = {f"layer.{number}": ("F32", (256, 1024)) for number in range(48)}
SHAPES = {"odd": ("U8", (777,)), "none": ("F32", (0,))} | LAYERS
"""Every layer stands at an odd offset behind `odd`."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files, 48 MiB, everything misaligned, one tensor without bytes."""
    path = tmp_path_factory.mktemp("pipeline")
    names = list(SHAPES)
    write(path / "a.safetensors", {name: SHAPES[name] for name in names[:20]})
    write(path / "b.safetensors", {name: SHAPES[name] for name in names[20:]}, shift=3)
    return path


SIZES = Sizing(readers=2, slots=4, slot_bytes=MIB, unit_bytes=MIB)
"""Many reads on a small model."""


def loading(path: Path, device: FakeDevice, *, sizes: Sizing = SIZES, **kwargs: Any) -> TensorStream:
    opening = open_model(Resolved(path.name, path, path), Options("cpu", **kwargs), backend=device, sizes=sizes)
    return TensorStream(opening, select(opening.checkpoint.headers), began=0.0, closes=True)


def true_bytes(name: str) -> bytes:
    return payload(name, 1024 * 1024 if name.startswith("layer") else 777 if name == "odd" else 0)


def bytes_of(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def reader_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("bentosync-reader")]


def descriptors() -> list[str]:
    return os.listdir("/proc/self/fd")


def test_every_tensor_is_whole_the_moment_it_is_handed_out(model: Path) -> None:
    device, seen = FakeDevice(), []
    with loading(model, device) as stream:
        for name, tensor in stream:
            assert bytes_of(tensor) == true_bytes(name), name
            seen.append(name)
    assert seen == list(SHAPES)
    assert stream.report is not None
    assert stream.report.pinned_bytes == 4 * MIB
    assert stream.report.bytes == 48 * MIB + 777


def test_tensors_stay_whole_after_the_stream_is_closed(model: Path) -> None:
    device = FakeDevice()
    with loading(model, device) as stream:
        tensors = dict(stream)
    del stream
    gc.collect()
    assert all(bytes_of(tensor) == true_bytes(name) for name, tensor in tensors.items())


def test_every_tensor_is_aligned_though_the_file_is_not(model: Path) -> None:
    with loading(model, FakeDevice()) as stream:
        assert all(tensor.data_ptr() % 16 == 0 for _, tensor in stream)


def test_a_caller_that_drops_tensors_never_holds_the_model(model: Path) -> None:
    device = FakeDevice()
    with loading(model, device, sizes=replace(SIZES, block_bytes=4 * MIB, ahead_bytes=8 * MIB)) as stream:
        for _ in stream:
            pass
    assert device.most_alive_bytes <= 20 * MIB


def test_tensors_larger_than_the_room_ahead_do_not_stop_the_load(model: Path) -> None:
    with loading(model, FakeDevice(), sizes=replace(SIZES, block_bytes=4 * MIB, ahead_bytes=1)) as stream:
        assert all(bytes_of(tensor) == true_bytes(name) for name, tensor in stream)


@pytest.mark.parametrize("nth", [1, 2, 5])
def test_out_of_memory_at_block_n_frees_all_while_it_is_handled_and_a_second_load_works(model: Path, nth: int) -> None:
    device, before = FakeDevice(fail={"allocate": nth}), descriptors()
    try:
        LoadedTensors.of(loading(model, device, sizes=replace(SIZES, block_bytes=4 * MIB)))
    except OutOfMemory:
        assert device.alive_bytes() == 0
        assert reader_threads() == []
        assert descriptors() == before
    else:
        pytest.fail("nothing was raised")
    assert len(LoadedTensors.of(loading(model, FakeDevice()))) == len(SHAPES)


@pytest.mark.parametrize("nth", [1, 7, 30])
def test_a_device_that_fails_at_copy_n_ends_the_load_with_its_error_and_leaves_nothing(model: Path, nth: int) -> None:
    device, before = FakeDevice(fail={"copy": nth}), descriptors()
    with pytest.raises(RuntimeError, match="fell off the bus"), loading(model, device) as stream:
        dict(stream)
    assert reader_threads() == []
    assert descriptors() == before


def test_pinned_memory_refused_part_way_makes_a_smaller_ring(model: Path) -> None:
    device, warned = FakeDevice(fail={"host": 2}), []  # type: ignore[var-annotated]
    with loading(model, device, on_event=warned.append) as stream:
        assert all(bytes_of(tensor) == true_bytes(name) for name, tensor in stream)
    assert stream.report is not None
    assert stream.report.pinned_bytes == MIB
    assert not [event for event in warned if "pinned" in str(event)]


def test_pinned_memory_refused_altogether_stages_through_pageable_memory_with_one_warning(model: Path) -> None:
    device, warned = FakeDevice(fail={"host": 1}), []  # type: ignore[var-annotated]
    with loading(model, device, on_event=warned.append) as stream:
        assert all(bytes_of(tensor) == true_bytes(name) for name, tensor in stream)
    assert stream.report is not None
    assert stream.report.pinned_bytes == 0
    assert len([event for event in warned if "pinned" in str(event)]) == 1


def test_pinned_memory_is_kept_for_the_next_load_after_a_good_one_and_freed_after_a_bad_one(model: Path) -> None:
    device = FakeDevice()
    with loading(model, device) as stream:
        dict(stream)
    assert (device.hosts, device.kept) == ([], 4)
    for failing in ({"copy": 5}, {"allocate": 1}):
        device = FakeDevice(fail=failing)
        with pytest.raises((RuntimeError, OutOfMemory)), loading(model, device) as stream:
            dict(stream)
        assert (device.hosts, device.kept) == ([], 0)


def test_out_of_memory_says_what_the_whole_load_needs(model: Path) -> None:
    device = FakeDevice(fail={"allocate": 2})
    with pytest.raises(OutOfMemory, match=r"no room .*; this load needs 5\d{7} bytes in all"):
        LoadedTensors.of(loading(model, device, sizes=replace(SIZES, block_bytes=4 * MIB)))


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_a_file_that_is_replaced_or_removed_while_it_is_read_still_gives_its_tensors(tmp_path: Path, how: str) -> None:
    path = write(tmp_path / "w.safetensors", SHAPES)
    done: list[str] = []

    def disturb() -> None:
        if not done:
            done.append(how)
            if how == "removed":
                path.unlink()
            else:
                write(tmp_path / "other", {"x": ("U8", (5,))}).replace(path)

    with loading(path, FakeDevice(on_copy=disturb)) as stream:
        assert all(bytes_of(tensor) == true_bytes(name) for name, tensor in stream)
    assert done == [how]


def test_an_abandoned_stream_joins_its_threads_and_frees_its_blocks(model: Path) -> None:
    device, before = FakeDevice(), descriptors()
    with loading(model, device) as stream:
        next(stream)
    assert reader_threads() == []
    assert descriptors() == before
    gc.collect()
    assert device.alive_bytes() == 0


def test_a_stream_dropped_without_closing_frees_all_the_same(model: Path) -> None:
    device, before = FakeDevice(), descriptors()
    opening = open_model(Resolved("m", model, model), Options("cpu"), backend=device)
    stream = TensorStream(opening, select(opening.checkpoint.headers), began=0.0, closes=True)
    next(stream)
    del stream, opening
    gc.collect()
    assert reader_threads() == []
    assert device.alive_bytes() == 0
    assert descriptors() == before


def test_an_interrupt_in_the_caller_stops_readers_that_wait_for_room(model: Path) -> None:
    sizes = replace(SIZES, block_bytes=MIB, ahead_bytes=2 * MIB)
    with pytest.raises(KeyboardInterrupt), loading(model, FakeDevice(), sizes=sizes) as stream:
        next(stream)
        raise KeyboardInterrupt
    assert reader_threads() == []


@pytest.mark.parametrize("after", [0, 3, 20])
def test_a_file_truncated_while_it_is_read_ends_the_load_and_the_process_lives(tmp_path: Path, after: int) -> None:
    path = write(tmp_path / "w.safetensors", SHAPES)
    calls = iter(range(1 << 20))

    def truncate() -> None:
        if next(calls) == after:
            os.truncate(path, 30 * MIB)

    with pytest.raises(IntegrityError, match=r"w\.safetensors"), loading(path, FakeDevice(on_copy=truncate)) as stream:
        dict(stream)
    assert reader_threads() == []


def test_a_file_written_in_place_while_it_is_read_is_noticed_at_the_end(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", SHAPES)
    os.utime(path, ns=(0, 0))

    def touch() -> None:
        os.utime(path)

    with pytest.raises(IntegrityError, match="changed while"), loading(path, FakeDevice(on_copy=touch)) as stream:
        dict(stream)


def test_progress_never_shrinks_and_ends_at_what_was_to_be_read(model: Path) -> None:
    events: list = []
    with loading(model, FakeDevice(), on_event=events.append) as stream:
        dict(stream)
    progress = [event for event in events if type(event).__name__ == "Progress"]
    done = [event.done_bytes for event in progress]
    assert done == sorted(done)
    assert stream.report is not None
    assert done[-1] == progress[-1].total_bytes == stream.report.read_bytes
    assert progress[-1].file_done_bytes == progress[-1].file_total_bytes


def test_two_loads_at_once_do_not_know_of_each_other(model: Path) -> None:
    failures: list[BaseException] = []

    def load() -> None:
        try:
            with loading(model, FakeDevice()) as stream:
                assert all(bytes_of(tensor) == true_bytes(name) for name, tensor in stream)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
