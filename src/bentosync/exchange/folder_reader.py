"""A plain folder as members: BentoML's exported folders, Hugging Face snapshots, whatever somebody saved.

Links are followed, because a Hugging Face snapshot is nothing but links into a shared cache: the model gets the bytes.
A link that leads nowhere, into itself or to something that is no file is refused, and links out of the folder are told
about, since a folder from a stranger may name files of yours.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from bentosync.errors import InvalidModel
from bentosync.exchange.listing import FolderListing
from bentosync.formats.archive.member import PIECE_BYTES, Bytes, Limits, Member
from bentosync.formats.model_yaml import FILE_NAME
from bentosync.store.tree import kind

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_MODEL = frozenset({".cache", ".git"})
"""Beside the files of a download: state of `hf download --local-dir` and of `git clone`."""

_logger = logging.getLogger("bentosync")


class FolderReader(FolderListing[Path]):
    """Reads the folder `root`. The contract is `member.Reader`'s; listing it happens at once.

    Raises:
        InvalidModel: There is something in it that no model can hold.
        OSError: It cannot be read.
    """

    def __init__(self, root: Path, limits: Limits, progress: Callable[[int], None]) -> None:
        self._root = Path(os.path.realpath(root))
        self._limits = limits
        self._progress = progress
        # A snapshot of Hugging Face's cache may link to the blobs beside it.
        self._home = self._root.parents[1] if self._root.parent.name == "snapshots" else self._root
        self._outside = 0
        super().__init__(self._walk())
        if self._outside:
            _logger.warning("%d links lead out of %s; what they name is copied", self._outside, root)

    def _walk(self) -> Iterator[tuple[Member, Path]]:
        skipped = frozenset() if os.path.lexists(self._root / FILE_NAME) else _NOT_MODEL
        pending: list[tuple[str, Path, tuple[Path, ...]]] = [("", self._root, (self._root,))]
        count = 0
        while pending:
            prefix, folder, above = pending.pop()
            for name in os.listdir(folder):
                if not prefix and name in skipped:
                    continue
                count += 1
                path = f"{prefix}{name}"
                if count > self._limits.entries_max:
                    raise InvalidModel(f"{self._root} holds more than {self._limits.entries_max} files and folders")
                source, status = self._resolved(folder / name, path)
                if stat.S_ISDIR(status.st_mode):
                    if any(one.is_relative_to(source) for one in above):
                        raise InvalidModel(f"{path} is a link to a folder that holds it", hint="remove the link")
                    pending.append((f"{path}/", source, (*above, source)))
                    yield Member(path, directory=True), source
                elif stat.S_ISREG(status.st_mode):
                    yield Member(path, status.st_size, bool(status.st_mode & stat.S_IXUSR)), source
                else:
                    raise InvalidModel(f"{path} is {kind(status.st_mode)}; a model holds regular files and folders")

    def _resolved(self, place: Path, path: str) -> tuple[Path, os.stat_result]:
        status = place.lstat()
        if not stat.S_ISLNK(status.st_mode):
            return place, status
        try:
            source = Path(os.path.realpath(place, strict=True))
        except OSError as error:
            raise InvalidModel(
                f"{path} is a link to {os.readlink(place)!r}: {error.strerror}",
                hint="remove the link, or put the file there",
            ) from error
        self._outside += not source.is_relative_to(self._home)
        return source, source.stat()

    def _pieces(self, member: Member, source: Path) -> Iterator[Bytes]:
        buffer = memoryview(bytearray(min(PIECE_BYTES, member.size)))
        fd = os.open(source, _OPEN)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise InvalidModel(f"{member.path} is no regular file any more")
            left = member.size
            while left:
                count = os.readv(fd, [buffer[:left]])
                if not count:
                    raise _changed(member)
                left -= count
                self._progress(count)
                yield buffer[:count]
            if os.read(fd, 1):
                raise _changed(member)
        finally:
            os.close(fd)


def _changed(member: Member) -> InvalidModel:
    return InvalidModel(f"{member.path} changed while it was read", hint="let whoever writes to it finish first")
