"""The bytes of a version's files, each block compared with the manifest before it is handed on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bentosync.errors import IntegrityError
from bentosync.manifest.digests import block_digest
from bentosync.manifest.values import BLOCK_BYTES, FileEntry
from bentosync.store import tree


def blocks(root: Path, entry: FileEntry) -> Iterator[memoryview]:
    """The file's blocks in order; each is valid until the next.

    Raises:
        IntegrityError: The file is not what the manifest says.
        InvalidModel: It is no regular file any more.
        OSError: It cannot be read.
    """
    buffer = memoryview(bytearray(min(BLOCK_BYTES, entry.size)))
    fd = tree.open_file(root, entry.path)
    try:
        if os.fstat(fd).st_size != entry.size:
            raise _damaged(root, entry, 0, entry.size)
        for index, start in enumerate(range(0, entry.size, BLOCK_BYTES)):
            block = buffer[: min(BLOCK_BYTES, entry.size - start)]
            if not _filled(fd, block, start) or block_digest(block) != entry.block_digest(index):
                raise _damaged(root, entry, start, start + len(block))
            yield block
    finally:
        os.close(fd)


def _filled(fd: int, block: memoryview, start: int) -> bool:
    filled = 0
    while filled < len(block):
        count = os.preadv(fd, [block[filled:]], start + filled)
        if count == 0:
            return False
        filled += count
    return True


def _damaged(root: Path, entry: FileEntry, begin: int, end: int) -> IntegrityError:
    return IntegrityError(
        f"{root / entry.path} is not what its digests say (bytes {begin} to {end}), so it is not exported",
        hint="if nobody is writing to it, it is damaged: bentosync verify, then bentosync pull --force",
    )
