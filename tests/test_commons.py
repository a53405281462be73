from __future__ import annotations

import gc
import os
import threading

from bentosync.commons import Commons


class Thing:
    def __init__(self, key: int) -> None:
        self.key = key


def test_the_same_key_gives_the_same_thing_while_somebody_has_it() -> None:
    commons = Commons(Thing)
    first = commons.of(1)
    assert commons.of(1) is first
    assert commons.of(2) is not first


def test_what_nobody_has_any_more_is_gone() -> None:
    count = 0

    def make(key: int) -> Thing:
        nonlocal count
        count += 1
        return Thing(key)

    commons = Commons(make)
    for _ in range(3):
        commons.of(1)
        gc.collect()
    assert count == 3


def test_threads_that_ask_at_once_get_the_same_thing() -> None:
    commons, barrier = Commons(Thing), threading.Barrier(8)
    found: list[Thing] = []

    def ask() -> None:
        barrier.wait()
        found.append(commons.of(1))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


def test_a_child_of_a_fork_shares_nothing_with_its_parent_and_waits_for_no_lock_of_it() -> None:
    commons = Commons(Thing)
    first = commons.of(1)
    commons._lock.acquire()  # as another thread might hold it at this moment
    child = os.fork()
    if child == 0:
        os._exit(0 if commons.of(1) is not first else 1)
    commons._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
