"""What a streamed load leaves in the store: exactly what a pull would, or a partial that the next one goes on from."""

from __future__ import annotations

import mmap
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from bentosync.errors import NoSpace
from bentosync.loader.tee import Tee
from bentosync.manifest.values import BLOCK_BYTES, Manifest
from bentosync.store.partial import Partial
from bentosync.store.store import Store
from tests.faults.puller import wait_until
from tests.loader.distant import FILES, MIB, WEIGHT_BYTES, Distance, wrong
from tests.loader.fake import FakeDevice
from tests.loader.test_remote_sharing import forked
from tests.servers.faulty.actions import Flip, Stall

TOTAL_BYTES = WEIGHT_BYTES + sum(map(len, FILES.values()))


def partials(distance: Distance) -> list[Path]:
    return list((distance.home / ".bentosync" / "partial").glob("*"))


def test_the_version_is_published_as_a_pull_would_and_its_bytes_came_once(distance: Distance) -> None:
    cache = distance.load().report.cache
    assert cache is not None and cache.wait(30) == "published"
    assert distance.versions == ["m:v1"]
    assert distance.same_trees()
    assert partials(distance) == []
    assert cache.skipped_bytes == 0
    assert cache.fetched_bytes == len(FILES["tokenizer.json"])
    assert distance.sent_bytes <= 1.05 * TOTAL_BYTES
    record = Store(distance.home).record(Store(distance.home).get("m:v1").tag)
    assert record is not None and record.origin is not None


def test_a_device_load_is_published_too(distance: Distance) -> None:
    device = FakeDevice()
    with distance.onto(device) as stream:
        assert wrong(stream) == []
    assert stream.report is not None and stream.report.cache is not None
    assert stream.report.cache.wait(30) == "published"
    assert distance.same_trees()
    wait_until(lambda: not device.hosts)  # also the slots that the tee held after the load


def test_the_next_load_is_local_and_asks_nobody(distance: Distance) -> None:
    distance.load().report.cache.wait(30)  # type: ignore[union-attr]
    distance.server.forget()
    tensors = distance.load()
    assert (tensors.report.path, distance.server.calls) == ("mapped", [])
    assert wrong(tensors.items()) == []


def test_what_an_abandoned_load_proved_is_not_fetched_again(distance: Distance) -> None:
    distance.server.inject("GetObject", Stall(0), key="model-2", times=None)
    with distance.stream(settings=distance.settings(stall_seconds=60.0)) as stream:
        for _ in range(10):
            next(stream)
    (partial,) = partials(distance)
    assert (partial / "bitmap").exists()
    distance.server.heal()
    distance.server.forget()
    tensors = distance.load()
    assert wrong(tensors.items()) == []
    assert tensors.report.fetched_bytes <= WEIGHT_BYTES - 8 * MIB
    assert tensors.report.cache is not None and tensors.report.cache.wait(30) == "published"
    assert distance.same_trees()


def test_a_pull_goes_on_from_what_a_load_left(distance: Distance) -> None:
    distance.server.inject("GetObject", Stall(0), key="model-2", times=None)
    with distance.stream(settings=distance.settings(stall_seconds=60.0)) as stream:
        for _ in range(10):
            next(stream)
    distance.server.heal()
    distance.server.forget()
    distance.pull()
    assert distance.same_trees()
    assert distance.sent_bytes <= TOTAL_BYTES - 8 * MIB


def test_a_damaged_block_of_a_partial_is_fetched_again(distance: Distance) -> None:
    assert distance.load(tensors=["layer.0", "layer.1", "layer.2"]).report.cache.wait(30) == "partial"  # type: ignore[union-attr]
    assert distance.versions == []
    (file,) = partials(distance)[0].rglob("model-1.safetensors")
    with file.open("r+b") as damaged:
        os.pwrite(damaged.fileno(), b"\xff", MIB + 5)
    distance.server.forget()
    tensors = distance.load()
    assert wrong(tensors.items()) == []
    assert WEIGHT_BYTES - 4 * MIB < tensors.report.fetched_bytes < WEIGHT_BYTES - MIB
    assert tensors.report.cache is not None and tensors.report.cache.wait(30) == "published"
    assert distance.same_trees()


def test_some_tensors_leave_a_partial_and_fetch_no_more_than_they_need(distance: Distance) -> None:
    report = distance.load(tensors="layer.1").report
    assert report.cache is not None and report.cache.wait(30) == "partial"
    assert distance.versions == []
    assert report.fetched_bytes <= 2 * BLOCK_BYTES
    assert distance.asked("files/") <= 2


def test_a_full_disk_ends_the_tee_and_not_the_load(distance: Distance) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
    try:
        tensors = distance.load()
        assert wrong(tensors.items()) == []
        assert tensors.report.cache is not None and tensors.report.cache.wait(30) == "failed"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "local copy" in str(tensors.report.cache)
    assert distance.versions == []
    distance.pull()
    assert distance.same_trees()


def test_a_store_that_cannot_be_written_ends_the_tee_and_not_the_load(distance: Distance) -> None:
    distance.home.mkdir()
    (distance.home / ".bentosync").write_text("no folder")
    tensors = distance.load()
    assert wrong(tensors.items()) == []
    assert tensors.report.cache is not None and tensors.report.cache.wait(30) == "failed"


def test_trouble_after_the_load_leaves_a_partial_and_says_why(distance: Distance) -> None:
    distance.server.inject("GetObject", Flip(5), key="tokenizer", times=None)
    tensors = distance.load()
    assert wrong(tensors.items()) == []
    cache = tensors.report.cache
    assert cache is not None and cache.wait(30) == "partial"
    assert "tokenizer.json" in str(cache)
    distance.server.heal()
    distance.server.forget()
    distance.pull()
    assert distance.same_trees()
    assert distance.sent_bytes < 2 * MIB


@pytest.mark.parametrize("staging", ["auto", "force"])
def test_a_load_killed_at_any_moment_leaves_what_the_next_one_goes_on_from(
    distance: Distance, tmp_path: Path, staging: str
) -> None:
    report = tmp_path / "child.json"
    for moment in (2, 6, 12):
        distance.server.forget()
        child = forked(lambda: distance.load(staging=staging).report.cache.wait(30), report)  # type: ignore[union-attr]
        wait_until(lambda moment=moment: len(distance.server.calls) >= moment or report.exists())  # type: ignore[misc]
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    distance.server.forget()
    tensors = distance.load(staging=staging)
    assert wrong(tensors.items()) == []
    assert tensors.report.cache is None or tensors.report.cache.wait(30) in ("published", "none")
    assert distance.same_trees()


def test_a_process_that_ends_does_not_wait_for_a_copy_that_does_not_come(distance: Distance) -> None:
    distance.server.inject("GetObject", Stall(0), key="tokenizer", times=None)
    script = (
        "import sys; from pathlib import Path; from bentosync.loader.load import load_to_device\n"
        "from tests.faults.bench import TRANSFER, settings\n"
        "from msgspec.structs import replace\n"
        "chosen = settings(Path(sys.argv[1]), sys.argv[2], transfer=replace(TRANSFER, stall_seconds=600.0))\n"
        "print(load_to_device('m:v1', 'cpu', settings=chosen).report.cache.state)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(distance.home), distance.server.url],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "filling\n", "")
    assert distance.versions == []
    assert len(partials(distance)) == 1
    distance.server.heal()
    distance.server.forget()
    distance.pull()
    assert distance.same_trees()
    assert distance.sent_bytes < 2 * MIB


# --- the tee alone


@pytest.fixture
def manifest(distance: Distance) -> Manifest:
    store = Store(distance.publisher)
    return store.describe(store.get("m:v1"))


def tee_of(
    root: Path,
    manifest: Manifest,
    *,
    check_space: Callable[[], None] = lambda: None,
    backlog_bytes: int = 64 * MIB,
    direct: bool = False,
) -> tuple[Tee, list[int]]:
    """A tee into a partial at `root`; what would be missing when it publishes."""
    missing: list[int] = []

    async def publish(partial: Partial) -> int:
        missing.extend(span.length for file in partial.files for span in file.missing(BLOCK_BYTES))
        return sum(missing)

    tee = Tee(
        Partial(root, manifest), b"document", turn=ExitStack(), direct=direct, publish=publish, check_space=check_space,
        backlog_bytes=backlog_bytes,
    )  # fmt: skip
    return tee, missing


def wait_for(ready: threading.Event) -> Callable[[], None]:
    """A disk that is not there yet."""

    def wait() -> None:
        assert ready.wait(30)

    return wait


def blocks_of(distance: Distance, name: str) -> list[bytearray]:
    data = (distance.publisher / "models" / "m" / "v1" / name).read_bytes()
    return [bytearray(data[begin : begin + MIB]) for begin in range(0, len(data), MIB)]


def test_above_its_bound_the_tee_lets_go_and_the_gap_is_what_is_missing(
    distance: Distance, manifest: Manifest, tmp_path: Path
) -> None:
    ready, given = threading.Event(), []
    tee, missing = tee_of(tmp_path / "p", manifest, check_space=wait_for(ready), backlog_bytes=3 * MIB)
    blocks = blocks_of(distance, "model-1.safetensors")
    taken = [
        tee.offer(
            "model-1.safetensors", index * MIB, [memoryview(block)], shared=False, done=partial(given.append, index)
        )
        for index, block in enumerate(blocks)
    ]
    assert taken == [True] * 3 + [False] * (len(blocks) - 3)
    ready.set()
    tee.finish(whole=True)
    assert tee.cache.wait(30) == "published"
    assert given == [0, 1, 2]
    assert (tee.cache.written_bytes, tee.cache.skipped_bytes) == (3 * MIB, sum(map(len, blocks[3:])))
    assert missing[0] == sum(map(len, blocks[3:]))


def test_past_the_page_cache_the_padded_tail_is_cut_off_again(
    distance: Distance, manifest: Manifest, tmp_path: Path
) -> None:
    try:
        os.close(os.open(tmp_path / "probe", os.O_CREAT | os.O_RDWR | os.O_DIRECT))
    except OSError:
        pytest.skip("this file system writes nothing past the page cache")
    tee, missing = tee_of(tmp_path / "p", manifest, direct=True)
    name = "model-1.safetensors"
    for index, block in enumerate(blocks_of(distance, name)):
        memory = memoryview(mmap.mmap(-1, MIB))  # where sectors may be written from
        memory[: len(block)] = block
        whole = -(-len(block) // 4096) * 4096
        assert tee.offer(name, index * MIB, [memory[:whole]], shared=False, done=lambda: None)
    tee.finish(whole=True)
    assert tee.cache.wait(30) == "published"
    size = (distance.publisher / "models/m/v1" / name).stat().st_size
    assert size % 4096
    assert tee.cache.written_bytes == size
    assert (tmp_path / "p/tree" / name).read_bytes() == (distance.publisher / "models/m/v1" / name).read_bytes()
    others = sum(entry.size for entry in manifest.files if entry.inline is None and entry.path != name)
    assert sum(missing) == others


def test_memory_that_was_changed_before_it_was_written_is_a_gap(
    distance: Distance, manifest: Manifest, tmp_path: Path
) -> None:
    ready = threading.Event()
    tee, missing = tee_of(tmp_path / "p", manifest, check_space=wait_for(ready))
    blocks = blocks_of(distance, "model-1.safetensors")
    tee.offer("model-1.safetensors", 0, [memoryview(block) for block in blocks], shared=True, done=lambda: None)
    blocks[4][17] ^= 1  # as if the caller had tensors in place already
    ready.set()
    tee.finish(whole=True)
    assert tee.cache.wait(30) == "published"
    assert missing[0] == MIB
    assert tee.cache.skipped_bytes == MIB


def test_what_was_offered_of_some_tensors_is_written_though_the_load_is_closed_at_once(
    distance: Distance, manifest: Manifest, tmp_path: Path
) -> None:
    ready = threading.Event()
    tee, _ = tee_of(tmp_path / "p", manifest, check_space=wait_for(ready))
    block = memoryview(blocks_of(distance, "model-1.safetensors")[0])
    assert tee.offer("model-1.safetensors", 0, [block], shared=False, done=lambda: None)
    tee.finish(whole=False)
    tee.leave()
    ready.set()
    assert tee.cache.wait(30) == "partial"
    assert tee.cache.written_bytes == MIB


def test_a_tee_that_fails_gives_back_all_it_was_offered(distance: Distance, manifest: Manifest, tmp_path: Path) -> None:
    ready, given = threading.Event(), []

    def full() -> None:
        ready.wait(30)
        raise NoSpace("the disk is full")

    tee, _ = tee_of(tmp_path / "p", manifest, check_space=full)
    block = memoryview(blocks_of(distance, "model-1.safetensors")[0])
    assert tee.offer("model-1.safetensors", 0, [block], shared=False, done=lambda: given.append(0))
    ready.set()
    assert tee.cache.wait(30) == "failed"
    assert given == [0]
    assert not tee.offer("model-1.safetensors", 0, [block], shared=False, done=lambda: given.append(1))
    assert "full" in str(tee.cache)
