"""A network that fails while tensors stream: the load completes, or raises one clear error; never a wrong tensor."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bentosync.errors import AuthError, BentoMLException, Conflict, IntegrityError, NetworkError, NotFound
from tests.faults.bench import PREFIX, descriptors
from tests.faults.puller import wait_until
from tests.loader.distant import MIB, WEIGHTS, Distance, wrong
from tests.loader.fake import FakeDevice
from tests.servers.faulty.actions import Action, Answer, Cut, Flip, Meanwhile, Reset, Stall, Whole
from tests.servers.faulty.objects import Bucket

PASSING: dict[str, Action] = {
    "reset": Reset(MIB + 7),
    "cut short": Cut(100),
    "silence": Stall(MIB // 2),
    "a flipped bit": Flip(12_345),
    "the whole object": Whole(),
    "slow down": Answer(503, "SlowDown"),
    "an internal error": Answer(500, "InternalError"),
    "credentials that expired": Answer(400, "ExpiredToken"),
}
LASTING: dict[str, tuple[Action, type[BentoMLException]]] = {
    "reset": (Reset(7), NetworkError),
    "silence": (Stall(0), NetworkError),
    "a flipped bit": (Flip(12_345), IntegrityError),
    "refused": (Answer(403, "AccessDenied"), AuthError),
    "credentials that expired": (Answer(400, "ExpiredToken"), AuthError),
}


@contextmanager
def nothing_leaks(distance: Distance) -> Iterator[None]:
    distance.server.hang_up()
    gc.collect()
    threads, before = set(threading.enumerate()), descriptors()
    yield
    wait_until(lambda: set(threading.enumerate()) <= threads)  # a copy is published a moment before its thread ends
    distance.server.hang_up()
    gc.collect()
    # What an earlier test has let go of may be closed only now.
    left = descriptors().items() - before.items()
    assert not left, f"descriptors are left: {left}"


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_changes_nothing(distance: Distance, fault: str) -> None:
    times = 1 if "credentials" in fault else 3  # one that is refused with fresh ones too has bad luck for good
    distance.server.inject("GetObject", PASSING[fault], key=r"model-1", times=times)
    with nothing_leaks(distance):
        tensors = distance.load(settings=distance.settings(stall_seconds=0.5))
        assert wrong(tensors.items()) == []
        assert tensors.report.cache is not None and tensors.report.cache.wait(30) == "published"
        tensors.clear()
    assert not distance.server.unfired
    assert distance.same_trees()


@pytest.mark.parametrize("fault", LASTING)
@pytest.mark.parametrize("cache", ["none", "tee"])
def test_a_fault_that_lasts_is_one_error_and_leaves_nothing_but_a_partial(
    distance: Distance, fault: str, cache: str
) -> None:
    action, error = LASTING[fault]
    distance.server.inject("GetObject", action, key=r"model-2", times=None)
    seen: list[str] = []
    with nothing_leaks(distance):
        with pytest.raises(error) as caught:
            for name, tensor in distance.stream(cache=cache, settings=distance.settings(attempts=2, stall_seconds=0.5)):
                seen.append(name)
                assert wrong([(name, tensor)]) == []
                del tensor
        del caught
    assert set(seen) <= set(WEIGHTS["model-1.safetensors"])
    assert distance.versions == []
    distance.server.heal()
    assert wrong(distance.load(cache="none").items()) == []


def test_a_fault_on_a_device_frees_its_memory(distance: Distance) -> None:
    distance.server.inject("GetObject", Flip(5), key=r"model-2", times=None)
    device = FakeDevice()
    with pytest.raises(IntegrityError, match=r"model-2\.safetensors"):
        dict(distance.onto(device))
    assert device.alive_bytes() == 0


def test_an_object_that_is_replaced_meanwhile_is_a_conflict_or_the_bytes_of_before(distance: Distance) -> None:
    key = next(key for key in distance.server.bucket.objects if key.endswith("model-2.safetensors"))

    def replace(bucket: Bucket) -> None:
        bucket.put(key, b"\1" * len(bucket.objects[key].data))

    distance.server.inject("GetObject", Meanwhile(replace), key=r"model-2", nth=3)
    with nothing_leaks(distance), pytest.raises((Conflict, IntegrityError)):
        for name, tensor in distance.stream():
            assert wrong([(name, tensor)]) == []
            del tensor


def test_a_version_that_is_replaced_meanwhile_says_so(distance: Distance) -> None:
    server = distance.server
    before = Bucket()
    before.become(server.bucket)
    for key in [key for key in server.bucket.objects if "m/v1" in key.removeprefix(PREFIX)]:
        server.bucket.objects.pop(key)
    distance.push("m:v1", {"model.safetensors": {"other": ("F32", (300, 1000))}})
    after = Bucket()
    after.become(server.bucket)
    server.bucket.become(before)
    server.inject("GetObject", Meanwhile(lambda bucket: bucket.become(after)), key=r"model-2")
    with pytest.raises(Conflict, match="replaced"):
        distance.load()
    assert distance.versions == []


def test_a_version_that_is_deleted_meanwhile_says_so(distance: Distance) -> None:
    def delete(bucket: Bucket) -> None:
        for key in list(bucket.objects):
            bucket.objects.pop(key)

    distance.server.inject("GetObject", Meanwhile(delete), key=r"model-2")
    with pytest.raises(NotFound, match="deleted"):
        distance.load()


def test_a_network_that_is_not_there_falls_back_to_the_store_when_refreshing(distance: Distance) -> None:
    assert distance.load().report.cache.wait(30) == "published"  # type: ignore[union-attr]
    distance.server.inject("GetObject", Answer(500, "InternalError"), times=None)
    seen: list[object] = []
    tensors = distance.load("m", refresh=True, settings=distance.settings(attempts=1), on_event=seen.append)
    assert wrong(tensors.items()) == []
    assert any("may be behind" in str(event) for event in seen)
