"""What is at a path that somebody wants to import: an archive, told by its first bytes, or a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bentosync.errors import InvalidArgument, NotFound
from bentosync.exchange.folder_reader import FolderReader
from bentosync.exchange.place import known
from bentosync.formats.archive import kinds
from bentosync.formats.archive.member import Limits, Reader
from bentosync.formats.archive.opening import open_reader

# O_NONBLOCK: opening a named pipe must not wait for its writer.
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Source:
    """Something to read a model from. `files` is 0 where it is not known yet; `total_bytes` are those to be read.

    `nameless` says that there is certainly no model.yaml in it.
    """

    reader: Reader
    files: int
    total_bytes: int
    nameless: bool = False


@contextmanager
def open_source(
    path: str, input_format: str | None, limits: Limits, progress: Callable[[int], None]
) -> Iterator[Source]:
    """Open what is at `path`; `progress` gets the bytes of every read.

    Raises:
        NotFound: There is nothing.
        InvalidArgument: It is no archive, or not of the format that was said.
        Unsupported: There is no such format.
        InvalidModel: A folder with something in it that no model can hold.
        OSError: It cannot be read.
    """
    wanted = None if input_format is None else kinds.container(known(input_format))
    try:
        fd = os.open(path, _OPEN)
    except FileNotFoundError:
        raise NotFound(f"{path}: there is no such file or folder") from None
    try:
        status = os.fstat(fd)
        found = _container(fd, status.st_mode)
        if found is None:
            raise InvalidArgument(f"{path} is no archive of a known format ({', '.join(kinds.FORMATS)})")
        if wanted not in (None, found):
            raise InvalidArgument(f"{path} is not {input_format}, it is {found}", hint="leave the format out")
        if found == "folder":
            folder = FolderReader(_snapshot(Path(path)), limits, progress)
            yield Source(folder, folder.files, folder.total_bytes, folder.nameless)
        else:
            yield Source(open_reader(fd, found, limits, progress), 0, status.st_size)
    finally:
        os.close(fd)


def _container(fd: int, mode: int) -> kinds.Container | None:
    if stat.S_ISDIR(mode):
        return "folder"
    return kinds.sniffed(os.pread(fd, kinds.HEAD_BYTES, 0)) if stat.S_ISREG(mode) else None


def _snapshot(path: Path) -> Path:
    """The folder itself, or the main snapshot of one in Hugging Face's cache (`models--org--name`)."""
    main, snapshots = path / "refs/main", path / "snapshots"
    if not (snapshots.is_dir() and main.is_file()):
        return path
    with main.open("rb") as file:
        revision = Path(file.read(65).decode("ascii", "replace").strip()).name
    return snapshots / revision if revision and (snapshots / revision).is_dir() else path
