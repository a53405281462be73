"""A version that is mapped while it is pulled: tensors outlive everything, trouble with the disk ends only the copy."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from bentosync.store.partial import PartialFile
from bentosync.store.store import Store
from tests.faults.puller import wait_until
from tests.loader.distant import MIB, WEIGHT_BYTES, Distance, bytes_of, descriptors, true_bytes, wrong
from tests.loader.test_remote_tee import partials
from tests.loader.weights import write
from tests.servers.faulty.actions import Flip, Stall


def test_tensors_take_no_memory_of_their_own_and_outlive_the_load_and_the_version(distance: Distance) -> None:
    tensors = distance.load()
    assert tensors.report.path == "network-mapped"
    lies = _mapped_file(tensors["last"].data_ptr())
    assert lies.endswith("model-2.safetensors")
    assert tensors.report.cache is not None and tensors.report.cache.wait(30) == "published"
    assert wrong(tensors.items()) == []
    Store(distance.home).delete("m:v1")
    shutil.rmtree(distance.home)
    gc.collect()
    assert wrong(tensors.items()) == []


def _mapped_file(address: int) -> str:
    """The file whose mapping holds `address`."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, rest = line.partition(" ")
        first, last = (int(text, 16) for text in span.split("-"))
        if first <= address < last:
            return rest
    raise AssertionError("nothing is mapped there")


def test_what_the_caller_writes_into_a_tensor_is_his_alone(distance: Distance) -> None:
    with distance.stream() as stream:
        for _, tensor in stream:
            if tensor.numel():
                tensor.zero_()
    assert stream.report is not None and stream.report.cache is not None
    assert stream.report.cache.wait(30) == "published"
    assert distance.same_trees()


def test_after_the_load_no_descriptor_is_left(distance: Distance) -> None:
    distance.load("m:v1", cache="none")
    distance.server.hang_up()
    before = len(descriptors())
    tensors = distance.load()
    assert tensors.report.cache is not None and tensors.report.cache.wait(30) == "published"
    distance.server.hang_up()
    assert wrong(tensors.items()) == []
    tensors.clear()  # Python keeps one for each mapping
    wait_until(lambda: len(descriptors()) <= before)


def test_a_disk_that_refuses_half_way_ends_the_copy_and_not_the_load(
    distance: Distance, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    class Small(PartialFile):
        """Takes six blocks."""

        def write(self, fd: int, offset: int, data: memoryview) -> None:
            if len(taken) == 6:
                raise OSError(28, "No space left on device")
            taken.append(offset)
            super().write(fd, offset, data)

    monkeypatch.setattr("bentosync.store.partial.PartialFile", Small)
    tensors = distance.load(settings=replace(distance.settings(), native="off"))
    assert wrong(tensors.items()) == []
    cache = tensors.report.cache
    assert cache is not None and cache.wait(30) == "failed"
    assert "No space left" in str(cache)
    assert tensors.report.path == "network"
    assert tensors.report.fetched_bytes >= WEIGHT_BYTES
    monkeypatch.undo()
    assert distance.versions == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB: less than the version takes."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "bentosync-test", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("staging", ["auto", "force"])
def test_a_disk_too_small_ends_the_copy_and_not_the_load(distance: Distance, disk: Path, staging: str) -> None:
    distance.home = disk / "home"
    tensors = distance.load(staging=staging)
    assert wrong(tensors.items()) == []
    assert tensors.report.cache is not None and tensors.report.cache.wait(30) == "failed"
    assert distance.versions == []


@pytest.mark.parametrize("staging", ["auto", "force"])
def test_a_disk_that_fills_up_meanwhile_ends_the_copy_and_not_the_load(
    distance: Distance, disk: Path, staging: str
) -> None:
    """There was room when the load began; somebody else takes it before the second shard comes."""
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    distance.home = disk / "home"
    distance.server.inject("GetObject", Stall(0), key="model-2", times=1)
    with distance.stream(staging=staging, settings=distance.settings(stall_seconds=0.5)) as stream:
        seen = [next(stream) for _ in range(3)]
        try:
            with (disk / "other").open("wb") as other:
                while True:
                    other.write(b"x" * MIB)
        except OSError as error:
            assert error.errno == 28
        seen += stream
    assert wrong(seen) == []
    assert stream.report is not None and stream.report.cache is not None
    # On a file system that set the room aside when the copy began there is nothing to run out of.
    assert stream.report.cache.wait(30) in ("failed", "published")
    (disk / "other").unlink()
    distance.pull()
    assert distance.same_trees()


def test_a_file_the_load_has_no_use_for_does_not_fail_it(distance: Distance) -> None:
    distance.server.inject("GetObject", Flip(5), key="tokenizer", times=None)
    tensors = distance.load()
    assert wrong(tensors.items()) == []
    assert tensors.report.cache is not None and tensors.report.cache.wait(30) == "partial"


def test_a_stream_that_is_left_leaves_a_partial_and_no_lock(distance: Distance) -> None:
    distance.server.inject("GetObject", Stall(0), key="model-2", times=None)
    with distance.stream(settings=distance.settings(stall_seconds=60.0)) as stream:
        seen = [next(stream) for _ in range(8)]
    assert len(partials(distance)) == 1
    assert wrong(seen) == []
    distance.server.heal()
    distance.server.forget()
    tensors = distance.load()
    assert wrong(tensors.items()) == []
    assert tensors.report.fetched_bytes <= WEIGHT_BYTES - 6 * MIB
    assert tensors.report.cache is not None and tensors.report.cache.wait(30) == "published"


def test_a_version_somebody_else_published_meanwhile_is_read_from_there(
    distance: Distance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where locks do nothing can that be."""
    distance.server.inject("GetObject", Stall(0), key="model-2", times=1)
    with distance.stream(settings=distance.settings(stall_seconds=60.0)) as stream:
        seen = [next(stream)]
        store = Store(distance.home)
        source = Store(distance.publisher)
        staged = store.staging()
        shutil.copytree(distance.publisher / "models/m/v1", staged / "tree", symlinks=True)
        store.publish(staged / "tree", source.describe(source.get("m:v1")))
        distance.server.heal()
        seen += stream
    assert wrong(seen) == []


def test_a_child_that_is_forked_copies_a_misaligned_tensor(distance: Distance, tmp_path: Path) -> None:
    """Threads of the parent's, which a copy by many threads would wait for, are not there."""
    script = (
        "import os, sys, torch; from pathlib import Path; from bentosync.loader.load import load_to_device\n"
        "torch.set_num_threads(2); torch.ones(1 << 22).sum()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    for own in (True, False): load_to_device(Path(sys.argv[1]), 'cpu', own=own)\n"
        "    os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    path = write(tmp_path / "odd.safetensors", {"odd": ("U8", (3,)), "big": ("F32", (1 << 20,))}, shift=1)
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=Path(__file__).parents[2], capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("7\n", "")


def test_tensors_are_handed_out_while_later_ones_are_not_there(distance: Distance) -> None:
    distance.server.inject("GetObject", Stall(0), key="model-2", times=None)
    with distance.stream(settings=distance.settings(stall_seconds=60.0)) as stream:
        assert bytes_of(next(stream)[1]) == true_bytes("odd")
        assert stream.report is None


def test_what_comes_first_is_asked_for_first_and_in_small_requests(distance: Distance) -> None:
    distance.load()
    calls = [call for call in distance.server.calls if "/files/" in call.key and "model-" in call.key]
    spans = [tuple(map(int, call.headers["range"].removeprefix("bytes=").split("-"))) for call in calls]
    assert all(last - first < MIB for first, last in spans)
    assert {call.key.rpartition("/")[2] for call in calls[:4]} == {"model-1.safetensors"}
    assert min(spans[:4])[0] == 0
