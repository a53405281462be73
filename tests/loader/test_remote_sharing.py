"""Several processes of one machine load the same version: the network carries it once."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bentosync.events import Progress
from bentosync.loader.sharing import Following, take_turn
from bentosync.loader.shelf import Shelf
from bentosync.store.store import Store
from bentosync.tag import Tag
from tests.faults.puller import wait_until
from tests.loader.distant import MIB, WEIGHT_BYTES, Distance, wrong
from tests.servers.faulty.actions import Stall


def forked(work: Callable[[], Any], report: Path) -> int:
    """Run `work` in a child process, its result as JSON in `report`."""
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(30, exit=True)  # one that hangs says where, and does not hang the test
        status = 1
        try:
            result = work()
            report.with_suffix(".tmp").write_text(json.dumps(result))
            report.with_suffix(".tmp").rename(report)
            status = 0
        finally:
            os._exit(status)
    return child


def load(distance: Distance, staging: str) -> dict[str, Any]:
    tensors = distance.load(staging=staging, settings=distance.settings(stall_seconds=60.0))
    cache = tensors.report.cache
    assert cache is not None
    return {
        "wrong": wrong(tensors.items()),
        "path": tensors.report.path,
        "how": cache.how,
        "state": cache.wait(30),
        "fetched": tensors.report.fetched_bytes,
    }


@pytest.mark.parametrize("staging", ["auto", "force"])
def test_four_processes_cost_one_download(distance: Distance, tmp_path: Path, staging: str) -> None:
    reports = [tmp_path / f"{number}.json" for number in range(4)]
    children = [forked(lambda: load(distance, staging), report) for report in reports]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    results = [json.loads(report.read_text()) for report in reports]
    assert [result["wrong"] for result in results] == [[]] * 4
    assert distance.sent_bytes <= 1.05 * WEIGHT_BYTES + 5 * 40_000  # the manifest, once each
    assert sum(result["how"] == "tee" for result in results) <= 1 or staging == "force"
    assert distance.same_trees()


@pytest.mark.parametrize("staging", ["auto", "force"])
def test_a_follower_reads_what_the_leader_writes_before_it_is_all_there(distance: Distance, staging: str) -> None:
    distance.server.inject("GetObject", Stall(0), key="model-2", times=None)
    patient = distance.settings(stall_seconds=60.0)
    leader = distance.stream(settings=patient, staging=staging)
    next(leader)
    assert distance.home.exists()
    with distance.stream(settings=patient, staging=staging) as follower:
        first = [next(follower)[0] for _ in range(8)]
    leader.close()
    assert first[0] == "odd"
    assert distance.asked("model-1") * MIB <= 2 * 12 * MIB


@pytest.mark.parametrize("staging", ["auto", "force"])
def test_a_follower_whose_leader_dies_leads_on(distance: Distance, tmp_path: Path, staging: str) -> None:
    distance.server.inject("GetObject", Stall(0), key="model-2", times=None)
    patient = distance.settings(stall_seconds=60.0)
    child = forked(lambda: len(distance.load(settings=patient, staging=staging)), tmp_path / "leader.json")
    wait_until(lambda: distance.asked("model-2") > 0)
    with distance.stream(settings=patient, staging=staging) as follower:
        seen = [next(follower)]
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        distance.server.heal()
        seen += follower
    assert wrong(seen) == []
    cache = follower.report.cache if follower.report else None
    assert cache is not None and (cache.how, cache.wait(30)) == ("tee", "published")
    assert distance.same_trees()


def test_a_load_beside_a_pull_waits_for_the_pull(distance: Distance, tmp_path: Path) -> None:
    child = forked(lambda: distance.pull(), tmp_path / "pull.json")
    wait_until(lambda: len(distance.server.calls) > 1)
    tensors = distance.load(staging="force", settings=distance.settings(stall_seconds=60.0))
    assert os.waitpid(child, 0)[1] == 0
    assert wrong(tensors.items()) == []
    assert distance.sent_bytes <= 1.1 * WEIGHT_BYTES + 400_000


def test_a_follower_maps_and_fetches_nothing_and_its_progress_is_told(distance: Distance) -> None:
    distance.server.inject("GetObject", Stall(0), key="model-2", times=None)
    patient = distance.settings(stall_seconds=60.0)
    seen: list[Any] = []
    with distance.stream(settings=patient) as leader:
        tensors = [next(leader)]
        with distance.stream(settings=patient, on_event=seen.append) as follower:
            tensors += [next(follower) for _ in range(8)]
            distance.server.heal()
            distance.server.hang_up()
            rest: list[Any] = []
            thread = threading.Thread(target=lambda: rest.extend(leader))
            thread.start()
            tensors += follower
        thread.join()
    tensors += rest
    assert wrong(tensors) == []
    assert follower.report is not None
    assert (follower.report.path, follower.report.fetched_bytes) == ("network-mapped", 0)
    progress = [event for event in seen if isinstance(event, Progress)]
    assert progress[-1].done_bytes == progress[-1].total_bytes >= WEIGHT_BYTES


def test_a_leader_that_brings_nothing_is_not_waited_for(distance: Distance) -> None:
    store, tag = Store(distance.home), Tag("m", "v1")
    manifest = Store(distance.publisher).describe(Store(distance.publisher).get("m:v1"))
    turn = take_turn(store, tag)
    assert turn is not None
    assert take_turn(store, tag) is None
    now = [0.0]

    def clock() -> float:
        now[0] += 0.1
        return now[0]

    shelf = Shelf(store, tag, manifest)
    following = Following(store, tag, shelf, patience_seconds=5.0, lead=lambda turn: None, clock=clock)
    from bentosync.loader.proof import Proof

    entry = next(entry for entry in manifest.files if entry.path == "model-1.safetensors")
    assert not following.obtain(Proof(entry, "full"), 0, memoryview(bytearray(MIB)))
    assert not following.waits
    turn.close()
