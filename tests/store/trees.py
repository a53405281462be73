"""Trees and stores to test with. Contents depend on position, so that a block at the wrong place shows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from bentosync.store.model import Model
from bentosync.store.store import Store

SECOND = 1_000_000_000


def pattern(size: int, seed: int = 0) -> bytes:
    """`size` bytes in which every 8 bytes hold their own position."""
    return b"".join((seed << 48 | position).to_bytes(8, "big") for position in range(-(-size // 8)))[:size]


def write(root: Path, files: Mapping[str, bytes]) -> None:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def create(store: Store, tag: str, files: Mapping[str, bytes] | None = None) -> Model:
    with store.create(tag) as model:
        write(Path(model.path), files or {"weights.bin": pattern(1000)})
    return model


def listing(root: Path) -> dict[str, bytes | None]:
    """Every path below `root`: the bytes of files, None for folders."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in sorted(root.rglob("*"))
    }


def age(root: Path, seconds: int = 10) -> None:
    """Make files old enough for their stamps to count; ctime cannot be set, so tests move the clock instead."""
    for path in root.rglob("*"):
        if path.is_file():
            status = path.stat()
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - seconds * SECOND))
