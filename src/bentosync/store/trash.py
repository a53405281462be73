"""Where trees go to vanish, and how a version is replaced where the file system cannot exchange two folders.

Whatever lies in `trash` is garbage and is removed when a store is next opened for writing, with one exception. A folder
named `swap-<name>:<version>-<random>` is the old life of a version whose new life may not have arrived: its name is
the journal, written by the very rename that takes the old life away. If the version is missing, the old life goes
back; if it is there, the swap was done.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from bentosync.errors import InvalidTag
from bentosync.store.disk import Disk
from bentosync.store.layout import SWAP, Layout
from bentosync.tag import Tag

_FILE_SECONDS = 3600.0
"""Age at which files go: a younger one may be a pointer that its writer is about to rename to where it belongs."""


class Trash:
    """The trash of one store. Methods raise `OSError`."""

    def __init__(self, layout: Layout, disk: Disk) -> None:
        self._layout = layout
        self._disk = disk

    def place(self) -> Path:
        """A free name in the trash, also for files that are about to be renamed to where they belong."""
        return self._layout.trash / secrets.token_hex(8)

    def take(self, path: Path) -> Path:
        """Take a folder out of sight in one step; return where it is now."""
        place = self.place()
        self._disk.rename(path, place)
        return place

    def discard(self, path: Path) -> None:
        """Take a folder out of sight, then remove it."""
        self._disk.remove_tree(path if path.parent == self._layout.trash else self.take(path))

    def swap(self, new: Path, tag: Tag) -> Path:
        """Put `new` in the place of version `tag`; return the old life."""
        final = self._layout.version_dir(tag)
        old = self._layout.trash / f"{SWAP}{tag}-{secrets.token_hex(8)}"
        self._disk.rename(final, old)
        self._disk.sync_directory(self._layout.trash)
        self._disk.sync_directory(final.parent)
        self._disk.rename_new(new, final)
        self._disk.sync_directory(final.parent)
        # From here on another process may empty the trash: the old life is garbage.
        with contextlib.suppress(FileNotFoundError):
            return self.take(old)
        return old

    def retire(self, tag: Tag) -> None:
        """Forget unfinished swaps of a version that is about to be deleted, or it would come back."""
        for path, swapped in self._swaps():
            if swapped == tag:
                self.take(path)

    def interrupted(self) -> list[Tag]:
        """The versions that a swap left without either life."""
        return [tag for _, tag in self._swaps() if not os.path.lexists(self._layout.version_dir(tag))]

    def restore(self, tag: Tag) -> None:
        """Put the old life of a version back if it has none. Called under the lock of its name."""
        final = self._layout.version_dir(tag)
        for path, swapped in self._swaps():
            if swapped == tag and not os.path.lexists(final):
                self._disk.make_directory(final.parent)
                self._disk.rename_new(path, final)
                self._disk.sync_directory(final.parent)

    def empty(self) -> None:
        """Remove everything but the old lives of versions that are missing."""
        for path in self.garbage():
            if path.is_dir() or path.is_symlink():
                self._disk.remove_tree(path)
            else:
                self._disk.unlink(path)

    def garbage(self) -> list[Path]:
        """What `empty` removes."""
        keep = {path for path, tag in self._swaps() if not os.path.lexists(self._layout.version_dir(tag))}
        return [path for path in self._entries() if path not in keep and _is_over(path)]

    def _swaps(self) -> Iterator[tuple[Path, Tag]]:
        for path in self._entries():
            if path.name.startswith(SWAP):
                with contextlib.suppress(InvalidTag):
                    yield path, Tag.from_str(path.name.removeprefix(SWAP).rpartition("-")[0])

    def _entries(self) -> list[Path]:
        try:
            return sorted(self._layout.trash.iterdir())
        except FileNotFoundError:
            return []


def _is_over(path: Path) -> bool:
    """Whether nobody is about to rename `path`."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return not stat.S_ISREG(status.st_mode) or time.time() - status.st_mtime > _FILE_SECONDS
