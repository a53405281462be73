"""Trees in the making, on the store's own file system, so that publishing one is a rename.

Each is `staging/<random>/tree` beside a lock that lives as long as its maker: a maker killed at any moment leaves a
folder whose lock is free, and the next store that is opened for writing clears it away.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path

from bentosync.store.disk import Disk
from bentosync.store.layout import Layout
from bentosync.store.locks import Locks, try_lock
from bentosync.store.trash import Trash

_TREE = "tree"
_LOCK = "lock"
_ORPHAN_SECONDS = 7 * 24 * 3600.0
"""Age at which a folder goes whose lock says nothing (it was never made, or locks lie here)."""


class Staging:
    """The staging area of one store. Methods raise `OSError`."""

    def __init__(self, layout: Layout, disk: Disk, locks: Locks, trash: Trash) -> None:
        self._layout = layout
        self._disk = disk
        self._locks = locks
        self._trash = trash
        self._held: dict[Path, int] = {}

    def make(self) -> Path:
        """A new empty tree."""
        while True:
            place = self._layout.staging / secrets.token_hex(8)
            self._disk.make_directory(place)
            fd = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            if try_lock(fd):
                break
            os.close(fd)
        tree = place / _TREE
        self._held[tree] = fd
        try:
            self._disk.make_directory(tree)
        except OSError:
            self.drop(tree)
            raise
        return tree

    def drop(self, tree: Path) -> None:
        """Remove a staged tree, or what is left after it was published. Idempotent."""
        fd = self._held.pop(tree, None)
        if fd is not None:
            with contextlib.suppress(OSError):
                self._trash.discard(tree.parent)
            os.close(fd)

    def sweep(self) -> None:
        """Remove the trees whose makers are dead."""
        for place in self.abandoned():
            with contextlib.suppress(OSError):
                self._trash.discard(place)

    def abandoned(self) -> list[Path]:
        """The places whose makers are dead."""
        try:
            places = sorted(self._layout.staging.iterdir())
        except FileNotFoundError:
            return []
        return [place for place in places if place / _TREE not in self._held and self._is_abandoned(place)]

    def _is_abandoned(self, place: Path) -> bool:
        try:
            age = time.time() - place.lstat().st_mtime
        except FileNotFoundError:
            return False
        return self._locks.abandoned(place / _LOCK) or age > _ORPHAN_SECONDS
