"""The rituals by which versions appear, change and vanish: at any instant, and after any crash, all of one or nothing.

A version appears by one rename of a tree whose every file and folder is on the disk already, and it is there for good
once the folder that names it is. It vanishes by one rename into the trash, and only what is in the trash is unlinked.
`latest` changes by a rename of its own; its bytes are written before the version appears, so that a full disk shows
while nothing has happened yet. Between the two renames `latest` may name an older version or none; readers heal
the second.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from bentosync.errors import BentoMLException, Busy, Conflict, LocalIOError, NotFound
from bentosync.store.disk import MOUNT_HINT, Disk, translated
from bentosync.store.fidelity import Modes, current_umask
from bentosync.store.layout import Layout
from bentosync.store.locks import Locks
from bentosync.store.staging import Staging
from bentosync.store.trash import Trash
from bentosync.store.tree import Tree
from bentosync.tag import Tag

SYNC_ONE_BY_ONE_MAX = 64
"""Above this many files one syncfs is cheaper than an fsync each."""

_NAME_LOCK_SECONDS = 60.0
_logger = logging.getLogger("bentosync")


class Commit:
    """The rituals of one store."""

    def __init__(self, layout: Layout, disk: Disk, locks: Locks) -> None:
        self._layout = layout
        self._disk = disk
        self._locks = locks
        self._trash = Trash(layout, disk)
        self.staging = Staging(layout, disk, locks, self._trash)
        self._ready = False

    def ready(self) -> None:
        """Make the store fit for writing: folders there, on one file system, what a crash left cleared away.

        Raises:
            LocalIOError: It is read-only, or `models` and the state folder are on different file systems.
        """
        if self._ready:
            return
        with translated(f"preparing {self._layout.state}"):
            self._disk.make_directory(self._layout.models)
            self._disk.make_directory(self._layout.state)
            if self._layout.models.stat().st_dev != self._layout.state.stat().st_dev:
                raise LocalIOError(
                    f"{self._layout.models} and {self._layout.state} are on different file systems, "
                    "so nothing can be renamed from one to the other",
                    hint=MOUNT_HINT,
                )
            self._disk.make_directory(self._layout.staging)
            self._disk.make_directory(self._layout.trash)
            self._heal()
        self._ready = True

    def _heal(self) -> None:
        self._restore()
        self._trash.empty()
        self.staging.sweep()

    def heal(self) -> None:
        """Put back versions that a replacement took away and never replaced, because its process died.

        Raises:
            LocalIOError: The store cannot be written.
        """
        if not self._ready:
            self.ready()
            return
        with translated(f"healing {self._layout.state}"):
            self._restore()

    def _restore(self) -> None:
        for tag in self._trash.interrupted():
            with contextlib.suppress(Busy), self.name_lock(tag.name, seconds=0):
                self._trash.restore(tag)

    def name_lock(self, name: str, *, seconds: float = _NAME_LOCK_SECONDS) -> contextlib.AbstractContextManager[None]:
        """Held while a model's folder changes: for moments, unlike the lock of a version."""
        return self._locks.hold(self._layout.lock_path(name), seconds=seconds, what=f"model {name}")

    def modes(self) -> Modes:
        """The modes new files and folders get here."""
        models = self._layout.models.stat()
        return Modes(current_umask(), models.st_gid if models.st_mode & stat.S_ISGID else None)

    def sync(self, root: Path, tree: Tree) -> None:
        """Put a whole tree on the disk: bytes first, then names.

        A file whose sync fails is removed: the kernel may have dropped its bytes and call the next sync a success, so
        whoever tries again must write it anew. Of a file system that fails it may be any file.
        """
        if len(tree.files) > SYNC_ONE_BY_ONE_MAX:
            with self._distrusting(*(root / file.path for file in tree.files)):
                self._disk.sync_file_system(root)
            return
        for file in tree.files:
            with self._distrusting(root / file.path):
                self._disk.sync_file(root / file.path)
        for folder in sorted(tree.folders(), reverse=True):
            self._disk.sync_directory(root / folder)
        self._disk.sync_directory(root)

    @contextlib.contextmanager
    def _distrusting(self, *files: Path) -> Iterator[None]:
        try:
            yield
        except OSError:
            for file in files:
                with contextlib.suppress(OSError):
                    self._disk.unlink(file)
            raise

    def publish(self, tree: Path, tag: Tag, *, replace: bool, point: Callable[[], bool]) -> None:
        """Make the synced tree the version `tag`. `point` decides, under the lock, whether `latest` shall name it.

        Raises:
            Conflict: The version exists and is not to be replaced; BentoML's message.
            OSError: The disk refuses.
        """
        final = self._layout.version_dir(tag)
        with self.name_lock(tag.name):
            if not final.parent.is_dir():
                self._disk.make_directory(final.parent)
                self._disk.sync_directory(self._layout.models)
            exists = os.path.lexists(final)
            if exists and not replace:
                raise already_exists(tag, self._layout)
            with self._pointer(tag, wanted=point()) as set_latest:
                old = self._replace(tree, tag) if exists else None
                if old is None:
                    self._appear(tree, tag)
                self._disk.sync_directory(final.parent)
                set_latest()
            if old is not None:
                self._trash.discard(old)

    def _appear(self, tree: Path, tag: Tag) -> None:
        try:
            self._disk.rename_new(tree, self._layout.version_dir(tag))
        except FileExistsError as error:
            raise already_exists(tag, self._layout) from error

    def _replace(self, tree: Path, tag: Tag) -> Path:
        if self._disk.exchange(tree, self._layout.version_dir(tag)):
            return tree
        return self._trash.swap(tree, tag)

    def delete(self, tag: Tag, remaining: Callable[[], str | None]) -> None:
        """Take a version away. `remaining` then says which version `latest` shall name, if any.

        Raises:
            NotFound: It is not there; BentoML's message.
            OSError: The disk refuses.
        """
        final = self._layout.version_dir(tag)
        with self.name_lock(tag.name):
            if not os.path.lexists(final):
                raise NotFound(f"Model '{tag}' not found")
            self._trash.retire(tag)
            gone = self._trash.take(final)
            self._disk.sync_directory(self._layout.trash)
            self._disk.sync_directory(final.parent)
            newest = remaining()
            if newest is None:
                self._remove_name(tag.name)
            else:
                self.point(Tag(tag.name, newest))
        self._disk.remove_tree(gone)

    def _remove_name(self, name: str) -> None:
        self._disk.unlink(self._layout.latest(name))
        self._disk.remove_directory(self._layout.name_dir(name))
        self._disk.sync_directory(self._layout.models)

    def tidy(self, name: str) -> None:
        """Remove the pointer and the folder of a model if they are all that is left of it. Raises `OSError`."""
        with self.name_lock(name):
            if not any(entry.is_dir() for entry in self._layout.name_dir(name).iterdir()):
                self._remove_name(name)

    def delete_all(self, name: str) -> None:
        """Take every version of a model away at once.

        Raises:
            NotFound: There is none; BentoML's message.
            OSError: The disk refuses.
        """
        folder = self._layout.name_dir(name)
        with self.name_lock(name):
            if not os.path.lexists(folder):
                raise NotFound(f"Model '{name}' not found")
            for tag in self._trash.interrupted():
                if tag.name == name:
                    self._trash.retire(tag)
            gone = self._trash.take(folder)
            self._disk.sync_directory(self._layout.trash)
            self._disk.sync_directory(self._layout.models)
        self._disk.remove_tree(gone)

    def point(self, tag: Tag) -> None:
        """Let `latest` name `tag`. Called under the lock of the name."""
        with self._pointer(tag, wanted=True) as set_latest:
            set_latest()

    @contextlib.contextmanager
    def _pointer(self, tag: Tag, *, wanted: bool) -> Iterator[Callable[[], None]]:
        """Write the pointer's bytes now; what is yielded renames them into place."""
        latest = self._layout.latest(tag.name)
        if not wanted or latest.is_dir():
            if wanted:
                _logger.warning("%s is a folder, so `latest` of %s cannot be set; remove it", latest, tag.name)
            yield lambda: None
            return
        fresh = self._trash.place()
        self._disk.write(fresh, str(tag.version).encode("ascii"))

        def set_latest() -> None:
            self._disk.rename(fresh, latest)
            self._disk.sync_directory(latest.parent)

        try:
            yield set_latest
        except (OSError, BentoMLException):
            self._disk.unlink(fresh)
            raise


def already_exists(tag: Tag, layout: Layout) -> Conflict:
    """BentoML's words for a version that is there already."""
    return Conflict(
        f"Item '{tag}' already exists in the store {layout.models}",
        hint=f"choose another version, or delete this one first: bentosync delete {tag}",
    )
