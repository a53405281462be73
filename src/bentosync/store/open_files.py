"""Which files running processes hold open or mapped, as far as this process may look.

Seen are the processes of this user (of everybody for root) in this PID namespace. Not seen are other users' processes,
other containers and other hosts that share the disk, and a process that knows a path but has not opened it yet; for
those the age of the last use is what protects. Files are told apart by inode number and name, because the device that
`/proc` names for a mapping is not always the file system's: a coincidence keeps a version and never costs one.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

_PROC = Path("/proc")


class OpenFiles(Struct, frozen=True):
    """Inode numbers and names in use, and how many processes could not be looked into (None: there is no `/proc`)."""

    files: frozenset[tuple[int, str]]
    unseen: int | None

    def any_below(self, root: Path) -> bool:
        """Whether a regular file below `root` is among them."""
        for folder, _, names in os.walk(root):
            for name in names:
                with contextlib.suppress(OSError):
                    if (os.lstat(os.path.join(folder, name)).st_ino, name) in self.files:  # noqa: PTH118  once per file
                        return True
        return False


def look(proc: Path = _PROC) -> OpenFiles:
    """What is open now."""
    files: set[tuple[int, str]] = set()
    unseen = 0
    try:
        processes = [entry for entry in os.listdir(proc) if entry.isdecimal()]
    except OSError:
        return OpenFiles(frozenset(), None)
    for process in processes:
        try:
            files.update(_descriptors(proc / process / "fd"))
            files.update(_mappings(proc / process / "maps"))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended
        except OSError:
            unseen += 1
    return OpenFiles(frozenset(files), unseen)


def _descriptors(folder: Path) -> Iterator[tuple[int, str]]:
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            link = folder / name
            # What is no path (a socket, a pipe) need not be asked for.
            if (path := os.readlink(link)).startswith("/"):
                status = os.stat(link)
                if stat.S_ISREG(status.st_mode):
                    yield status.st_ino, _name(path)


def _mappings(path: Path) -> Iterator[tuple[int, str]]:
    for line in path.read_bytes().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[4] != b"0":
            yield int(fields[4]), _name(os.fsdecode(fields[5]))


def _name(path: str) -> str:
    """The last component of a path as the kernel shows it."""
    return path.removesuffix(" (deleted)").rpartition("/")[2]
