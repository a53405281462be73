"""Locks that work, locks that wait, locks that lie."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bentosync.errors import Busy
from bentosync.store.locks import Locks
from bentosync.store.store import Store
from bentosync.tag import Tag
from tests.store.trees import create

_HOLDER = """
import sys
from pathlib import Path
from bentosync.store.locks import Locks
with Locks().hold(Path(sys.argv[1]), seconds=1, what="x"):
    print("held", flush=True)
    sys.stdin.read()
"""


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_lock_of_another_process_is_waited_for_at_most_as_long_as_said_and_freed_by_its_death(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "m"
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    try:
        assert holder.stdout.readline() == "held\n"
        clock = Clock()
        waiting = Locks(clock=clock, sleep=clock.sleep).hold(path, seconds=30, what="model m")
        with pytest.raises(Busy, match="model m is in use"), waiting:
            raise AssertionError
        assert clock.now == pytest.approx(30)
        assert not Locks().abandoned(path)
    finally:
        holder.kill()
        holder.communicate()
    with Locks().hold(path, seconds=0, what="model m"):
        assert not Locks().abandoned(path)
    assert Locks().abandoned(path)


def test_two_lock_objects_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    clock = Clock()
    waiting = Locks(clock=clock, sleep=clock.sleep).hold(tmp_path / "m", seconds=1, what="x")
    with Locks().hold(tmp_path / "m", seconds=1, what="x"), pytest.raises(Busy), waiting:
        raise AssertionError


def test_threads_take_turns(tmp_path: Path) -> None:
    locks, inside, most = Locks(), 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            with locks.hold(tmp_path / "m", seconds=60, what="x"):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert most == 1


def test_a_file_system_whose_locks_do_nothing_is_found_out_and_the_store_still_works(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    locks = Locks(acquire=lambda fd: True)
    with caplog.at_level(logging.WARNING, logger="bentosync"):
        store = Store(tmp_path, locks=locks)
        create(store, "m:v1"), create(store, "m:v2")
    assert len([record for record in caplog.records if "locks do nothing" in record.message]) == 1
    assert store.get("m").tag == Tag("m", "v2")
    (tmp_path / "lock").touch()
    assert not locks.abandoned(tmp_path / "lock"), "what nobody can lock cannot be known to be abandoned"


def test_a_version_lock_does_not_keep_other_versions_from_being_created(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock(Tag("m", "v1"), seconds=1):
        create(store, "m:v2")
        create(store, "m:v1")
    clock = Clock()
    busy = Store(tmp_path, locks=Locks(clock=clock, sleep=clock.sleep))
    with store.lock(Tag("m", "v1"), seconds=1), pytest.raises(Busy, match="m:v1"), busy.lock(Tag("m", "v1"), seconds=5):
        raise AssertionError


def test_staging_of_a_living_maker_is_left_alone(tmp_path: Path) -> None:
    with Store(tmp_path).create("m:v1") as model:
        create(Store(tmp_path), "other:v1")
        assert Path(model.path).is_dir()
    assert Store(tmp_path).get("m").tag == Tag("m", "v1")
