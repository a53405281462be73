"""Tensors straight from a remote: the right bytes, in few exchanges, and no disk where none is wanted."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from bentosync.errors import Conflict, IntegrityError, NotFound
from bentosync.events import Progress, Started
from bentosync.store.store import Store
from tests.loader.distant import MIB, WEIGHT_BYTES, WEIGHTS, Distance, bytes_of, true_bytes, wrong
from tests.loader.fake import FakeDevice
from tests.loader.weights import payload
from tests.servers.faulty.actions import Stall

NAMES = [name for tensors in WEIGHTS.values() for name in tensors]


@pytest.mark.parametrize("options", [{}, {"staging": "force"}, {"own": True}, {"verify": "strong"}], ids=str)
@pytest.mark.parametrize("cache", ["none", "tee"])
def test_every_tensor_has_the_bytes_of_the_file(distance: Distance, cache: str, options: dict[str, Any]) -> None:
    tensors = distance.load(cache=cache, **options)
    assert list(tensors) == NAMES
    assert wrong(tensors.items()) == []
    report = tensors.report
    mapped = cache == "tee" and not options.keys() & {"staging", "own"}
    assert (report.path, report.bytes) == ("network-mapped" if mapped else "network", WEIGHT_BYTES)
    assert report.verified == options.get("verify", "full").replace("auto", "full")
    assert report.cache is not None and report.cache.wait(30) == {"none": "none", "tee": "published"}[cache]


@pytest.mark.parametrize("options", [{}, {"own": True}, {"plan": {"layer.3": slice(100, 200)}}], ids=str)
def test_every_tensor_is_whole_on_a_device_that_copies_late(distance: Distance, options: dict[str, Any]) -> None:
    device = FakeDevice()
    with distance.onto(device, **options) as stream:
        for name, tensor in stream:
            rows = slice(100 * 4096, 200 * 4096) if options.get("plan") and name == "layer.3" else slice(None)
            assert bytes_of(tensor) == true_bytes(name)[rows], name
    assert stream.report is not None and stream.report.pinned_bytes <= 512 * MIB


def test_without_a_cache_nothing_is_written(distance: Distance) -> None:
    assert distance.load(cache="none").report.fetched_bytes == pytest.approx(WEIGHT_BYTES, rel=0.01)
    assert not distance.home.exists()


@pytest.mark.parametrize("cache", ["none", "tee"])
def test_an_exact_version_costs_one_exchange_before_its_bytes_and_a_name_two(distance: Distance, cache: str) -> None:
    for ref, before in (("m:v1", ["v1.jsonl"]), ("m", ["latest", "v1.jsonl"])):
        distance.home = distance.home.with_name(f"home of {ref}")  # what one of them kept is not the other's
        distance.server.hang_up()  # what the one before let go of may still be on its way
        distance.server.forget()
        with distance.stream(ref, cache=cache) as stream:
            assert next(stream)[0] == "odd"
        keys = [call.key for call in distance.server.calls]
        assert [key.rpartition("/")[2] for key in keys[: len(before)]] == before
        assert all("/files/" in key for key in keys[len(before) :])
        assert set(distance.server.requests) == {"GetObject"}


def test_the_first_tensors_are_there_while_the_last_ones_are_not(distance: Distance) -> None:
    distance.server.inject("GetObject", Stall(0), key=r"model-2", times=None)
    threads = threading.active_count()
    with distance.stream(cache="none", settings=distance.settings(stall_seconds=60.0)) as stream:
        for name in list(WEIGHTS["model-1.safetensors"])[:8]:
            assert next(stream)[0] == name
    assert threading.active_count() == threads


def test_an_abandoned_stream_ends_its_threads_and_leaves_no_lock(distance: Distance) -> None:
    threads = threading.active_count()
    stream = distance.stream()
    next(stream)
    stream.close()
    assert threading.active_count() == threads
    assert wrong(distance.load(cache="first").items()) == []


def test_a_stream_that_is_never_started_is_let_go(distance: Distance) -> None:
    threads = threading.active_count()
    distance.stream().close()
    assert threading.active_count() == threads


def test_rows_cost_their_blocks_and_nothing_else(distance: Distance) -> None:
    distance.push(
        "big:v1", {"model.safetensors": {"odd": ("U8", (777,)), "a": ("F32", (16, MIB)), "b": ("F32", (8, 9))}}
    )
    rows = slice(6, 8)
    tensors = distance.load("big:v1", plan={"a": rows}, tensors=["a"], cache="none")
    assert bytes_of(tensors["a"]) == payload("a", 64 * MIB)[24 * MIB : 32 * MIB]
    assert distance.asked("files/") > 0
    assert sum_of(distance, "files/") <= 1.3 * 8 * MIB


def sum_of(distance: Distance, part: str) -> int:
    """Bytes asked for in ranges of keys that hold `part`."""
    spans = [
        call.headers["range"].removeprefix("bytes=").split("-") for call in distance.server.calls if part in call.key
    ]
    return sum(int(last) - int(first) + 1 for first, last in spans)


def test_an_index_too_large_for_the_manifest_is_fetched_once(distance: Distance) -> None:
    many = {f"a.{number:04}.{'x' * 60}": ("U8", (3,)) for number in range(1500)}
    distance.push("many:v1", {"model-1.safetensors": many, "model-2.safetensors": {"b": ("F32", (2, 2))}})
    tensors = distance.load("many:v1", cache="none")
    assert len(tensors) == 1501
    assert distance.asked("index.json") == 1


def test_weights_inside_the_manifest_need_no_request_of_their_own(distance: Distance) -> None:
    distance.push("tiny:v1", {"model.safetensors": {"a": ("F32", (2, 2))}})
    assert bytes_of(distance.load("tiny:v1", cache="none")["a"]) == payload("a", 16)
    assert distance.asked("files/") == 0


def test_a_pin_is_proven_and_another_one_refused(distance: Distance) -> None:
    store = Store(distance.publisher)
    record = store.record(store.get("m:v1").tag)
    assert record is not None
    tensors = distance.load(f"m:v1@{record.manifest.pin}", cache="none")
    assert tensors.report.verified == "strong"
    with pytest.raises(IntegrityError, match="was asked for"):
        distance.load("m:v1@b3:" + "0" * 64, cache="none")


def test_another_manifest_than_the_one_seen_before_is_a_conflict(distance: Distance) -> None:
    distance.load("m:v1").report.cache.wait(30)  # type: ignore[union-attr]
    store = Store(distance.home)
    store.delete("m:v1")
    seen = next((distance.home / ".bentosync" / "seen").rglob("v1"))
    seen.write_text("b3:" + "0" * 64 + "\n")
    with pytest.raises(Conflict, match="first saw"):
        distance.load("m:v1")


def test_what_no_remote_has_is_not_found_and_leaves_no_thread(distance: Distance) -> None:
    threads = threading.active_count()
    with pytest.raises(NotFound, match="m:v9"):
        distance.load("m:v9")
    assert threading.active_count() == threads


@pytest.mark.parametrize("cache", ["none", "tee"])
def test_the_observer_hears_of_the_start_and_of_every_byte_in_the_callers_thread(
    distance: Distance, cache: str
) -> None:
    seen: list[Any] = []
    distance.load(cache=cache, on_event=lambda event: seen.append((threading.current_thread(), event)))
    assert {thread for thread, _ in seen} == {threading.current_thread()}
    started = next(event for _, event in seen if isinstance(event, Started))
    progress = [event for _, event in seen if isinstance(event, Progress)]
    assert started.total_bytes == WEIGHT_BYTES
    assert progress[-1].done_bytes == progress[-1].total_bytes >= WEIGHT_BYTES


@pytest.mark.parametrize("cache", ["none", "tee"])
def test_the_timeline_is_in_order(distance: Distance, cache: str) -> None:
    timeline = distance.load(cache=cache).report.timeline
    assert timeline is not None
    stages = [timeline.resolved, timeline.planned, timeline.first_byte, timeline.first_tensor, timeline.last_tensor]
    assert stages == sorted(stages) and stages[0] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA: the fallback cannot be seen")
@pytest.mark.parametrize("cache", ["none", "tee", "first"])
def test_cuda_that_is_not_there_is_one_warning(distance: Distance, cache: str) -> None:
    with pytest.warns(RuntimeWarning, match="loading to the CPU") as caught:
        tensors = distance.load(device="cuda", cache=cache)
    assert len(caught) == 1
    assert wrong(tensors.items()) == []
