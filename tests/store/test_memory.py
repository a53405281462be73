"""Which files are memory: those are not allocated before their bytes come."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from bentosync.store.memory import is_in_memory
from bentosync.store.partial import _allocate

SHM = Path("/dev/shm")
MIB = 1 << 20


@pytest.fixture
def in_memory() -> Iterator[Path]:
    if not (SHM.is_dir() and any(line.split()[1:3] == [str(SHM), "tmpfs"] for line in mounts())):
        pytest.skip("there is no tmpfs at /dev/shm")
    path = SHM / f"bentosync-test-{secrets.token_hex(8)}"
    yield path
    path.unlink(missing_ok=True)


def mounts() -> list[str]:
    return Path("/proc/mounts").read_text().splitlines()


def test_tmpfs_is_memory_and_proc_is_not(in_memory: Path) -> None:
    for path, expected in ((in_memory, True), (Path("/proc/self/stat"), False)):
        fd = os.open(path, os.O_RDONLY | (os.O_CREAT if expected else 0))
        assert is_in_memory(fd) is expected
        os.close(fd)


def test_a_file_in_memory_has_its_size_and_no_pages_until_its_bytes_come(in_memory: Path) -> None:
    _allocate(in_memory, 3 * MIB)
    assert (in_memory.stat().st_size, in_memory.stat().st_blocks) == (3 * MIB, 0)


def test_a_file_in_memory_that_was_longer_is_cut(in_memory: Path) -> None:
    in_memory.write_bytes(b"x" * MIB)
    _allocate(in_memory, 4097)
    assert in_memory.read_bytes() == b"x" * 4097
