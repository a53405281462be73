"""A model of any size on a small disk: every block of a shard has its own first 4 KiB, the rest is zeros in a hole.

Hashed, sent and received it is as large as any other, and a block at the wrong place is another block. Where copies of
it are written, `digging` makes their zeros holes again while they grow. That changes no byte, so whoever writes there
can be left as he is; it takes bytes off the disk, so no time that is measured beside it says anything.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

_BLOCK = 1 << 20
_STAMP = 4096
_HEADER = _STAMP
_KEEP_SIZE_AND_PUNCH = 0x1 | 0x2
_PAUSE_SECONDS = 0.1
_LIBC = ctypes.CDLL(None, use_errno=True)


def write(folder: Path, *, size: int, shards: int) -> None:
    """`shards` safetensors files in `folder` that hold `size` bytes in all, each a whole number of blocks."""
    blocks = max(1, size // shards // _BLOCK)
    for shard in range(shards):
        data = blocks * _BLOCK - _HEADER
        table = {"hollow": {"dtype": "U8", "shape": [data], "data_offsets": [0, data]}}
        header = json.dumps(table).encode().ljust(_HEADER - 8)
        with (folder / f"model-{shard + 1:05d}-of-{shards:05d}.safetensors").open("wb", buffering=0) as file:
            file.truncate(blocks * _BLOCK)
            file.write(struct.pack("<Q", len(header)) + header)
            for block in range(1, blocks):
                os.pwrite(file.fileno(), struct.pack("<QQ", shard, block) * (_STAMP // 16), block * _BLOCK)


@contextlib.contextmanager
def digging(*folders: Path) -> Iterator[None]:
    """While the block runs, and once more at its end, the zeros of hollow files below `folders` become holes."""
    over = threading.Event()

    def dig() -> None:
        while not over.wait(_PAUSE_SECONDS):
            _dig_all(folders)

    thread = threading.Thread(target=dig)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        _dig_all(folders)


def _dig_all(folders: tuple[Path, ...]) -> None:
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):  # renamed or removed meanwhile
                    _dig(Path(parent, name))


def _dig(path: Path) -> None:
    found = path.lstat()
    # What is small is not worth it, and what has been dug out has little left.
    if not stat.S_ISREG(found.st_mode) or found.st_size < 2 * _BLOCK or found.st_blocks * 512 <= found.st_size // 64:
        return
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if any(os.pread(fd, _STAMP, _STAMP)):
            return  # neither a shard nor a part of one
        at = 0
        with contextlib.suppress(OSError):  # ENXIO: holes to the end
            while True:
                begin = os.lseek(fd, at, os.SEEK_DATA)
                at = os.lseek(fd, begin, os.SEEK_HOLE)
                for block in range(begin // _BLOCK, -(-at // _BLOCK)):
                    if at - max(begin, block * _BLOCK) > _STAMP:
                        _punch(fd, block * _BLOCK + _STAMP, _BLOCK - _STAMP)
    finally:
        os.close(fd)


def _punch(fd: int, offset: int, length: int) -> None:
    if _LIBC.fallocate(fd, _KEEP_SIZE_AND_PUNCH, ctypes.c_int64(offset), ctypes.c_int64(length)):
        raise OSError(ctypes.get_errno(), "fallocate")
