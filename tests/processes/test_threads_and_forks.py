"""From several threads at once, and in processes that were forked after everything was imported and used."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import bentosync
from bentosync.errors import Busy
from bentosync.store.store import Store
from bentosync.tag import Tag

TAG = Tag("m", "v1")


@pytest.fixture
def store(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The empty store of this process, whose remote has `m:v1` and `m:v2`."""
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.setenv("BENTOSYNC_REMOTE", published.as_uri())
    monkeypatch.chdir(tmp_path)
    return Store(tmp_path / "bentoml")


def test_two_threads_pull_two_models_and_others_the_same(store: Store) -> None:
    with ThreadPoolExecutor(6) as pool:
        models = list(pool.map(bentosync.pull, ("m:v1", "m:v2", "m:v1", "m:v2", "m", "m:v1")))
    assert [str(model.tag) for model in models] == ["m:v1", "m:v2", "m:v1", "m:v2", "m:v2", "m:v1"]
    assert [store.check(tag, strength="strong") for tag in store.tags()] == [[], []]


def test_a_thread_loads_while_others_load_and_pull(store: Store) -> None:
    bentosync.pull("m:v1")
    with ThreadPoolExecutor(4) as pool:
        pulled = pool.submit(bentosync.pull, "m:v2")
        loads = [pool.submit(bentosync.load_to_device, "m:v1", "cpu", staging="force") for _ in range(3)]
        tensors = [dict(load.result()) for load in loads]
        assert str(pulled.result().tag) == "m:v2"
    first, *others = tensors
    for other in others:
        assert all((first[name] == other[name]).all() for name in first)


def forked(act: Callable[[], object]) -> str:
    """What `act` gave in a forked process, or the error it raised."""
    receiving, sending = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        try:
            sending.send(str(act()))
        except BaseException as error:
            sending.send(repr(error))
        finally:
            os._exit(0)
    sending.close()
    assert receiving.poll(30), "the forked process hangs"
    os.waitpid(child, 0)
    return str(receiving.recv())


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_process_forked_after_use_pulls_lists_and_loads(store: Store) -> None:
    bentosync.pull("m:v1")
    bentosync.load_to_device("m:v1", "cpu", staging="force")

    def work() -> str:
        bentosync.pull("m:v2")
        tensors = bentosync.load_to_device("m:v2", "cpu", staging="force")
        return f"{len(bentosync.models.list())} {len(tensors) > 0}"

    assert forked(work) == "2 True"
    assert store.check(Tag("m", "v2"), strength="strong") == []


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_process_forked_inside_a_running_loop_has_loops_of_its_own(store: Store) -> None:
    async def main() -> str:
        await bentosync.aio.pull("m:v1")
        return forked(lambda: bentosync.pull("m:v2").tag)

    assert asyncio.run(main()) == "m:v2"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_process_does_not_keep_the_locks_of_its_parent(store: Store) -> None:
    with store.lock(TAG, seconds=1):
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
    try:
        with Store(store.home).lock(TAG, seconds=0):
            pass
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_lock_that_is_held_while_forking_is_held_for_the_child_too(store: Store) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store.lock(TAG, seconds=1):
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)

    def work() -> None:
        with Store(store.home).lock(TAG, seconds=0.05):
            pass

    said = forked(work)
    done.set()
    thread.join()
    assert Busy.__name__ in said
