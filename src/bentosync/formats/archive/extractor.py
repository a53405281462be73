"""Creates what an archive holds below one folder, and nothing anywhere else.

Every name is looked up relative to the descriptor of its folder and never through a link, files are created where
nothing is, and folders are entered only if they are folders: even somebody who changes the tree meanwhile can
make an extraction fail but not write elsewhere. Paths are checked before the disk sees them.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import TracebackType

from bentosync.errors import UnsafeInput
from bentosync.manifest import paths

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_FOLDER = (errno.ENOTDIR, errno.ELOOP)


class Extractor:
    """Fills the folder `root`. Methods raise `OSError` where the disk refuses.

    Args:
        root: An existing folder.
        entries_max: Most files and folders, those between them included.
    """

    def __init__(self, root: Path, entries_max: int) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._here = ""
        self._here_fd = -1
        self._entries_max = entries_max
        self._entries = 0
        self._made: set[str] = set()
        self._declared: set[str] = set()

    def __enter__(self) -> Extractor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
        os.close(self._root)

    @property
    def folders(self) -> set[str]:
        """Every folder made so far."""
        return self._made

    def folder(self, path: str) -> None:
        """Make a folder; one that was only made because something lies in it is fine.

        Raises:
            UnsafeInput: The path is not portable, was there before, or is a file.
        """
        paths.check(path)
        if path in self._declared:
            raise UnsafeInput(f"archive: the folder {path[:200]!a} appears twice")
        self._declared.add(path)
        self._enter(path)

    def file(self, path: str, executable: bool) -> int:
        """Create a file and return its descriptor, which the caller closes.

        Raises:
            UnsafeInput: The path is not portable, was there before, or leads through a file.
        """
        paths.check(path)
        self._count()
        folder, _, name = path.rpartition("/")
        self._enter(folder)
        try:
            return os.open(name, _CREATE, 0o777 if executable else 0o666, dir_fd=self._folder_fd())
        except FileExistsError:
            raise UnsafeInput(f"archive: there are two entries {path[:200]!a}") from None

    def _folder_fd(self) -> int:
        return self._here_fd if self._here else self._root

    def _enter(self, folder: str) -> None:
        """Stand in a folder, making it and what leads to it."""
        if folder == self._here:
            return
        self._leave()
        if not folder:
            return
        fd = os.dup(self._root)
        try:
            path = ""
            for name in folder.split("/"):
                path = f"{path}/{name}" if path else name
                inner = self._inner(fd, name, path)
                os.close(fd)
                fd = inner
        except BaseException:
            os.close(fd)
            raise
        self._here, self._here_fd = folder, fd

    def _inner(self, fd: int, name: str, path: str) -> int:
        if path not in self._made:
            self._count()
            try:
                os.mkdir(name, dir_fd=fd)
            except FileExistsError:
                raise UnsafeInput(f"archive: {path[:200]!a} is a file and a folder") from None
            self._made.add(path)
        try:
            return os.open(name, _FOLDER, dir_fd=fd)
        except OSError as error:
            if error.errno in _NO_FOLDER:
                raise UnsafeInput(f"{path[:200]!a} was replaced while it was filled") from error
            raise

    def _leave(self) -> None:
        if self._here:
            os.close(self._here_fd)
            self._here, self._here_fd = "", -1

    def _count(self) -> None:
        self._entries += 1
        if self._entries > self._entries_max:
            raise UnsafeInput(f"archive: more than {self._entries_max} files and folders")
