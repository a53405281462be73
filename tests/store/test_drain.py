"""Bytes of a pull set out for the disk before it is published."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from pathlib import Path

import pytest

from bentosync.store.drain import Drain
from bentosync.store.memory import is_in_memory

SIZE = 16 << 20
_CACHESTAT = 451


def test_what_was_written_sets_out_for_the_disk_though_nobody_syncs(tmp_path: Path) -> None:
    drain = Drain()
    with (tmp_path / "file").open("w+b") as file:
        if is_in_memory(file.fileno()):
            pytest.skip("the temporary folder is memory")
        file.write(os.urandom(SIZE))
        file.flush()
        assert _dirty_pages(file.fileno())
        drain.start(tmp_path / "file", 0, SIZE)
        deadline = time.monotonic() + 20
        while _dirty_pages(file.fileno()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        drain.close()


def test_a_file_that_is_gone_and_a_range_beyond_its_end_are_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"short")
    drain = Drain()
    drain.start(tmp_path / "gone", 0, SIZE)
    drain.start(path, SIZE, SIZE)
    drain.close()
    drain.close()
    assert path.read_bytes() == b"short"


def test_closing_ends_the_thread_and_one_that_was_never_needed_has_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    threads = {thread.name for thread in threading.enumerate()}
    Drain().close()
    drain = Drain()
    for _ in range(100):
        drain.start(tmp_path / "file", 0, 1)
    drain.close()
    assert {thread.name for thread in threading.enumerate()} - threads == set()


def _dirty_pages(fd: int) -> int:
    """Pages of an open file that nobody has begun to write back (`cachestat`, Linux 6.5)."""
    whole, counts = (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)()
    if ctypes.CDLL(None).syscall(_CACHESTAT, fd, whole, counts, 0) != 0:
        pytest.skip("this kernel does not count the pages of a file")
    return int(counts[1])
