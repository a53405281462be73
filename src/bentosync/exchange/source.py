"""What is at a place that somebody wants to import: an archive, told by its first bytes, or a folder.

In other storage an archive is read as a stream. Only a zip file, whose directory is at its end, is fetched into one
temporary file first, of the size that was announced.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bentosync.errors import InvalidArgument, NoSpace, NotFound
from bentosync.exchange.external.contract import Storage
from bentosync.exchange.external.folder import ExternalFolderReader
from bentosync.exchange.external.location import Location
from bentosync.exchange.external.stream import Stream
from bentosync.exchange.folder_reader import FolderReader
from bentosync.exchange.place import known
from bentosync.formats.archive import kinds
from bentosync.formats.archive.member import PIECE_BYTES, Limits, Reader
from bentosync.formats.archive.opening import open_reader, open_stream
from bentosync.writing import append

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
        found = _checked(path, _container(fd, status.st_mode), wanted, input_format)
        if found == "folder":
            folder = FolderReader(_snapshot(Path(path)), limits, progress)
            yield Source(folder, folder.files, folder.total_bytes, folder.nameless)
        else:
            yield Source(open_reader(fd, found, limits, progress), 0, status.st_size)
    finally:
        os.close(fd)


Scratch = Callable[[], AbstractContextManager[Path]]
"""A folder for a temporary file, removed at the end of the block."""


@contextmanager
def open_distant(
    storage: Storage,
    at: Location,
    input_format: str | None,
    limits: Limits,
    progress: Callable[[int], None],
    scratch: Scratch,
) -> Iterator[Source]:
    """Open what is at a location; as `open_source`.

    Raises:
        NetworkError: It cannot be read.
        NoSpace: There is too little room for a zip file.
    """  # fmt: skip
    wanted = None if input_format is None else kinds.container(known(input_format))
    there = storage.find(at.path)
    if there is None:
        raise NotFound(f"{at.shown}: there is no such file or folder")
    if there.folder:
        _checked(at.shown, "folder", wanted, input_format)
        folder = ExternalFolderReader(storage, at, limits, progress)
        yield Source(folder, folder.files, folder.total_bytes, folder.nameless)
        return
    with Stream(storage.read(there), progress) as stream:
        found = _checked(at.shown, kinds.sniffed(stream.head(kinds.HEAD_BYTES)), wanted, input_format)
        if found != "zip":
            yield Source(open_stream(stream.read, found, limits), 0, max(0, there.size))
            return
    with scratch() as scratched, tempfile.TemporaryFile(dir=scratched) as file:
        _fetch(Stream(storage.read(there), _nobody), file.fileno(), scratched, at, there.size)
        yield Source(open_reader(file.fileno(), found, limits, progress), 0, there.size)


def _nobody(count: int) -> None:
    """Nobody is told: the bytes are counted when they are read from the temporary file."""


def _fetch(stream: Stream, fd: int, folder: Path, at: Location, size: int) -> None:
    if size < 0:
        raise InvalidArgument(f"{at.shown}: a zip file of unknown size", hint="download it, and import the file")
    free = shutil.disk_usage(folder).free
    if free < size:
        raise NoSpace(f"{at.shown} has {size} bytes, and {free} are free on the disk of the store")
    with stream:
        while data := stream.read(PIECE_BYTES):
            append(fd, data)


def _checked(
    place: str, found: kinds.Container | None, wanted: kinds.Container | None, input_format: str | None
) -> kinds.Container:
    if found is None:
        raise InvalidArgument(f"{place} is no archive of a known format ({', '.join(kinds.FORMATS)})")
    if wanted not in (None, found):
        raise InvalidArgument(f"{place} is not {input_format}, it is {found}", hint="leave the format out")
    return found


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
