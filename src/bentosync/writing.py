"""How much one call writes.

Disk file systems take the memory for all of one call in as few pieces as they can. Of 1 GiB on ext4, written by calls
of 128 KiB, that costs 0.17 CPU-s; by calls of 1 MiB 0.15, or 0.6 on a virtual machine that has given large pieces of
free memory back to its host; by calls of 2 MiB 1.0 to 2.0 (docs/adr/0026-how-much-one-write-writes.md).
"""

from __future__ import annotations

import os

WRITE_BYTES = 128 << 10
"""At most this much by one call, wherever files grow large."""


def write_at(fd: int, data: memoryview, offset: int) -> None:
    """`pwrite` all of `data`, bytes, from `offset` of the file on. Raises `OSError`."""
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done : done + WRITE_BYTES], offset + done)


def append(fd: int, data: bytes | bytearray | memoryview) -> None:
    """`write` all of `data`, bytes, to where the file stands. Raises `OSError`."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest[:WRITE_BYTES]) :]
