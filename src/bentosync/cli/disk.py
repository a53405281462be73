"""What the doctor asks the disk of the store: which file system, how much room, and what it can do."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from msgspec import Struct

from bentosync.store.locks import try_lock

FICLONE = 0x4004_9409
MOUNTS = Path("/proc/self/mountinfo")


class DiskReport(Struct, frozen=True):
    """`None` means: could not be tried, because the folder is missing or read-only."""

    exists: bool
    file_system: str
    free_bytes: int
    writable: bool
    reflink: bool | None
    locks: bool | None


def examine(folder: Path) -> DiskReport:
    """Look at `folder`, or at the closest parent that exists; the trials leave nothing behind."""
    exists = folder.is_dir()
    anchor = folder
    while not anchor.is_dir():
        anchor = anchor.parent
    room = os.statvfs(anchor)
    writable = os.access(anchor, os.W_OK) and not room.f_flag & os.ST_RDONLY
    reflink, locks = _trials(folder) if exists and writable else (None, None)
    return DiskReport(exists, _file_system(anchor), room.f_bavail * room.f_frsize, writable, reflink, locks)


def _trials(folder: Path) -> tuple[bool, bool]:
    with tempfile.TemporaryDirectory(prefix=".bentosync-doctor-", dir=folder) as scratch:
        source, target = Path(scratch, "a"), Path(scratch, "b")
        source.write_bytes(b"bentosync" * 1000)
        return _clones(source, target), _excludes(Path(scratch, "lock"))


def _clones(source: Path, target: Path) -> bool:
    with source.open("rb") as original, target.open("wb") as clone:
        try:
            fcntl.ioctl(clone.fileno(), FICLONE, original.fileno())
        except OSError:
            return False
    return True


def _excludes(path: Path) -> bool:
    """Whether a lock keeps out a second descriptor, as it must; some network file systems grant both."""
    with path.open("wb") as first, path.open("wb") as second:
        return try_lock(first.fileno()) and not try_lock(second.fileno())


def _file_system(folder: Path) -> str:
    """The type of the mount that holds `folder`, such as "ext4"; "unknown" where the kernel does not say."""
    try:
        lines = MOUNTS.read_text().splitlines()
    except OSError:
        return "unknown"
    best, kind = "", "unknown"
    for line in lines:
        before, _, after = line.partition(" - ")
        mount = before.split()[4].encode().decode("unicode_escape")
        inside = mount == "/" or folder.resolve().is_relative_to(mount)
        if inside and len(mount) >= len(best) and after:
            best, kind = mount, after.split()[0]
    return kind
