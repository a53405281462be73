"""An export as a plain folder, built beside its target and renamed when it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from bentosync.errors import Conflict
from bentosync.exchange.output import beside
from bentosync.formats.archive.extractor import Extractor
from bentosync.formats.archive.member import Bytes, Member
from bentosync.manifest.rules import ENTRIES_MAX
from bentosync.store.disk import Disk
from bentosync.writing import append


class FolderWriter:
    """Writes the folder `target`, which must not exist; use it as a context and `commit` inside.

    The contract is `member.Writer`'s. A folder carries no manifest: a file for it would become part of the model.
    """

    def __init__(self, target: Path, disk: Disk) -> None:
        if os.path.lexists(target):
            raise _exists(target)
        self._target = target
        self._disk = disk
        self._scratch = beside(target, disk)
        self._scratch.mkdir()
        # Folders on the way count too, and a manifest does not list them.
        self._extractor = Extractor(self._scratch, entries_max=2 * ENTRIES_MAX)

    def __enter__(self) -> FolderWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._extractor.__exit__(kind, error, trace)
        self._disk.remove_tree(self._scratch)

    def manifest(self, body: bytes) -> None:
        """Nothing: see the class."""

    def directory(self, path: str) -> None:
        """Make a folder."""
        self._extractor.folder(path)

    def file(self, member: Member, pieces: Iterable[Bytes]) -> None:
        """Write a file."""
        fd = self._extractor.file(member.path, member.executable)
        try:
            for piece in pieces:
                append(fd, piece)
        finally:
            os.close(fd)

    def finish(self) -> None:
        """Nothing ends a folder."""

    def commit(self) -> None:
        """Put it on the disk and in its place.

        Raises:
            Conflict: Something is there by now.
        """
        self._disk.sync_file_system(self._scratch)
        try:
            self._disk.rename_new(self._scratch, self._target)
        except FileExistsError as error:
            raise _exists(self._target) from error
        self._disk.sync_directory(self._target.parent)


def _exists(target: Path) -> Conflict:
    return Conflict(f"{target} exists, and a folder is never replaced", hint="remove it, or name another one")
