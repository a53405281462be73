"""How much one call writes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bentosync.writing import WRITE_BYTES, append, write_at


def test_all_bytes_lie_where_they_should_whatever_their_number(tmp_path: Path) -> None:
    for size in (0, 1, WRITE_BYTES - 1, WRITE_BYTES, WRITE_BYTES + 1, 3 * WRITE_BYTES + 7):
        data = os.urandom(size)
        fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            append(fd, b"head")
            append(fd, data)
            assert os.pread(fd, size + 9, 0) == b"head" + data
            write_at(fd, memoryview(data), 2)
            assert os.pread(fd, size + 2, 0) == b"he" + data
        finally:
            os.close(fd)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's counts are Linux's")
def test_no_call_writes_more_than_it_should(tmp_path: Path) -> None:
    data = bytes(5 * WRITE_BYTES)
    with (tmp_path / "file").open("wb") as file:
        before = _calls()
        write_at(file.fileno(), memoryview(data), 0)
        append(file.fileno(), data)
        assert _calls() - before == 10


def _calls() -> int:
    """System calls of this process that wrote, by the kernel's count."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("syscw")).split()[1])
