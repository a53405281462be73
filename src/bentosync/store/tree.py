"""A version's files as they lie on disk, read without following a link or waiting on a pipe."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from bentosync.errors import InvalidModel, LocalIOError, from_os_error

ENTRIES_MAX = 200_000

_FICLONE = 0x40049409

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: opening a named pipe must not wait for its writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class TreeFile(Struct, frozen=True):
    """One regular file; `path` is relative with `/`, `size` in bytes."""

    path: str
    size: int
    executable: bool


class Tree(Struct, frozen=True):
    """Files and folders without entries, each sorted by the bytes of their paths."""

    files: tuple[TreeFile, ...]
    directories: tuple[str, ...]

    def folders(self) -> set[str]:
        """Every folder below the root, those without entries included."""
        found: set[str] = set(self.directories)
        for path in (*(file.path for file in self.files), *self.directories):
            while "/" in path:
                path = path.rpartition("/")[0]
                if path in found:
                    break
                found.add(path)
        return found


def scan(root: Path) -> Tree:
    """List a tree.

    Raises:
        InvalidModel: It holds a link, a pipe, a socket or a device, or more than 200,000 entries.
        LocalIOError: A folder cannot be read.
    """
    files: list[TreeFile] = []
    directories: list[str] = []
    pending = [""]
    while pending:
        folder = pending.pop()
        empty = True
        for entry in _entries(root, folder):
            empty = False
            path = f"{folder}/{entry.name}" if folder else entry.name
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                pending.append(path)
            elif stat.S_ISREG(status.st_mode):
                files.append(TreeFile(path, status.st_size, bool(status.st_mode & stat.S_IXUSR)))
            else:
                raise InvalidModel(f"{root / path} is {kind(status.st_mode)}; a model holds regular files and folders")
            if len(files) + len(directories) + len(pending) > ENTRIES_MAX:
                raise InvalidModel(f"{root} holds more than {ENTRIES_MAX} files and folders")
        if empty and folder:
            directories.append(folder)
    return Tree(
        files=tuple(sorted(files, key=lambda file: os.fsencode(file.path))),
        directories=tuple(sorted(directories, key=os.fsencode)),
    )


def size(root: str | os.PathLike[str]) -> int:
    """Bytes of all regular files below `root`, links followed as BentoML does; what vanishes meanwhile counts zero."""
    total, pending = 0, [os.fspath(root)]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif entry.is_file():
                    total += entry.stat().st_size
    return total


def open_file(root: Path, path: str) -> int:
    """A descriptor to read a regular file below `root`; no component may be a link, whatever happens meanwhile.

    Raises:
        InvalidModel: A component is a link, or the file is not a regular one.
        LocalIOError: It does not exist or cannot be read.
    """
    *folders, name = path.split("/")
    here = -1
    try:
        here = os.open(root, _FOLDER)
        for folder in folders:
            inner = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inner
        fd = os.open(name, _FILE, dir_fd=here)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise InvalidModel(f"{root / path} is not a regular file in regular folders") from error
        raise from_os_error(error, f"reading {root / path}") from error
    finally:
        if here >= 0:
            os.close(here)
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        raise InvalidModel(f"{root / path} is {kind(mode)}, not a regular file")
    return fd


def read_small(root: Path, path: str, bytes_max: int) -> bytes:
    """The bytes of a file of at most `bytes_max` bytes.

    Raises:
        LocalIOError: It is longer, or cannot be read.
    """
    with open(open_file(root, path), "rb") as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise LocalIOError(f"{root / path} is over {bytes_max} bytes")
    return data


def reflink(source: int, target: int) -> bool:
    """Let the open file `target` share the bytes of `source`; False, and nothing changed, where that cannot be done."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def kind(mode: int) -> str:
    """What a file is, in words."""
    kinds = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFDIR: "a folder",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def _entries(root: Path, folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(root / folder) as entries:
            yield from entries
    except OSError as error:
        raise from_os_error(error, f"listing {root / folder}") from error
