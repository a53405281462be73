"""The writing half of a store: create, publish, delete.

A version is staged, settled (`fidelity`), digested and synced, and then appears by the ritual of `commit`.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from bentosync.errors import BentoMLException, IntegrityError, NotFound, UnsafeInput
from bentosync.formats import model_yaml
from bentosync.formats.model_yaml import ModelInfo
from bentosync.manifest.values import Manifest
from bentosync.store import custom_objects as pickles
from bentosync.store import fidelity, latest, tree
from bentosync.store.catalog import Catalog
from bentosync.store.commit import Commit, already_exists
from bentosync.store.digests import Digests
from bentosync.store.disk import Disk, translated
from bentosync.store.layout import Layout
from bentosync.store.locks import Locks
from bentosync.store.model import CUSTOM_OBJECTS, Model
from bentosync.store.record import Origin, Record
from bentosync.store.tree import Tree
from bentosync.tag import LATEST, Tag

_logger = logging.getLogger("bentosync")


class Writer:
    """Changes one store; `Store` documents the methods of the same names."""

    def __init__(self, layout: Layout, disk: Disk, locks: Locks, catalog: Catalog, digests: Digests) -> None:
        self._layout = layout
        self._disk = disk
        self._locks = locks
        self._catalog = catalog
        self._digests = digests
        self._commit = Commit(layout, disk, locks)

    @contextlib.contextmanager
    def create(
        self,
        info: ModelInfo,
        *,
        custom_objects: dict[str, Any] | None,
        external_modules: Sequence[ModuleType],
    ) -> Iterator[Model]:
        """A new version, published when the block ends."""
        document = model_yaml.dumps(info)
        if custom_objects:
            pickles.required()
        self._commit.ready()
        if os.path.lexists(self._layout.version_dir(info.tag)):
            self.mend_latest(info.tag)
            raise already_exists(info.tag, self._layout)
        root = self.staging()
        try:
            model = Model(info.tag, root, info, custom_objects, internal=True)
            with pickles.by_value(external_modules):
                yield model
                files = {model_yaml.FILE_NAME: document}
                if custom_objects:
                    files[CUSTOM_OBJECTS] = pickles.dumps(custom_objects)
            self._keep(root, info, files)
            model._path = self._layout.version_dir(info.tag)
        finally:
            self.drop_staging(root)

    def _keep(self, root: Path, info: ModelInfo, files: Mapping[str, bytes]) -> None:
        with translated(f"creating {info.tag}"):
            modes = self._commit.modes()
            fidelity.settle(root, modes)
            for name, data in files.items():
                self._disk.unlink(root / name)
                self._disk.write(root / name, data)
            modes.apply(root, root.stat().st_mode)
            listing = tree.scan(root)
            described = self._digests.fresh(root, info)
            self._commit.sync(root, listing)
            self._publish(root, info, replace=False)
        if described is not None:
            self._digests.note(info.tag, Record(described.manifest, described.stamps))

    def publish(self, root: Path, manifest: Manifest, *, replace: bool = False, origin: Origin | None = None) -> Model:
        """Make a proven tree a version."""
        tag = Tag(manifest.card.name, manifest.card.version)
        self._commit.ready()
        with translated(f"publishing {tag}"):
            modes = self._commit.modes()
            fidelity.settle(root, modes)
            listing = _expected(root, manifest)
            info = _checked_info(root, tag)
            stamps = self._digests.settled_stamps(root, listing)
            self._commit.sync(root, listing)
            with self._digests.forgotten(tag, manifest):
                self._publish(root, info, replace=replace)
        self._digests.note(tag, Record(manifest, stamps, origin))
        return Model(tag, self._layout.version_dir(tag), info, internal=True)

    def _publish(self, root: Path, info: ModelInfo, *, replace: bool) -> None:
        self._commit.publish(root, info.tag, replace=replace, point=lambda: self._is_latest(info))

    def _is_latest(self, info: ModelInfo) -> bool:
        """Whether `latest` shall name this version: nothing newer is there. Called under the lock of the name."""
        if not self._pointer_holds(info.name):
            found = self._catalog.newest(info.name)
            return found is None or info.creation_time >= found.creation_time
        try:
            return info.creation_time >= self._catalog.latest(info.name)[0].creation_time
        except BentoMLException:
            return True

    def delete(self, tag: Tag | str) -> Sequence[Tag]:
        """Remove a version, or all of a name; return what is gone."""
        asked = Tag.from_taglike(tag)
        if asked.version == LATEST:
            version = latest.read(self._layout.latest(asked.name))
            if version is None:
                return []
            asked = Tag(asked.name, version)
        if not os.path.lexists(self._layout.models / asked.path()):
            self.tidy(asked.name)
            raise NotFound(f"Model '{tag}' not found")
        self._commit.ready()
        with translated(f"deleting {asked}"):
            if asked.version is None:
                versions = self._catalog.versions(asked.name)
                self._commit.delete_all(asked.name)
            else:
                versions = [asked]
                self._commit.delete(asked, lambda: self._successor(asked.name))
        for gone in versions:
            self._digests.forget(gone)
        return versions

    def tidy(self, name: str) -> None:
        """Remove what a delete that was killed left of a model without versions: its pointer and its folder."""
        if os.path.lexists(self._layout.name_dir(name)):
            with contextlib.suppress(BentoMLException):
                self._commit.ready()
                with translated(f"deleting {name}"):
                    self._commit.tidy(name)

    def _successor(self, name: str) -> str | None:
        newest = self._catalog.newest(name)
        return None if newest is None else newest.tag.version

    def staging(self) -> Path:
        """A new empty folder on the store's file system."""
        self._commit.ready()
        with translated(f"staging in {self._layout.staging}"):
            return self._commit.staging.make()

    def drop_staging(self, root: Path) -> None:
        """Remove what `staging` made, or what publishing left of it."""
        self._commit.staging.drop(root)

    @contextlib.contextmanager
    def lock(self, tag: Tag, *, seconds: float) -> Iterator[None]:
        """Keep others from working on the same version; it saves double work and nothing relies on it.

        Raises:
            Busy: Somebody else held it for `seconds`.
            LocalIOError: The disk refuses.
        """
        self._commit.ready()
        path = self._layout.lock_path(f"{tag.name}:{tag.version or LATEST}")
        with self._locks.hold(path, seconds=seconds, what=str(tag)):
            yield

    def heal(self) -> None:
        """Put back what a replacement that died took away; where the store cannot be written it stays as it is."""
        try:
            self._commit.heal()
        except BentoMLException as error:
            _logger.debug("an interrupted replacement is not healed: %s", error)

    def mend_latest(self, tag: Tag) -> None:
        """Let `latest` name `tag` if it is the newest and a crash kept the pointer from saying so."""
        if latest.read(self._layout.latest(tag.name)) == tag.version:
            return
        try:
            self._commit.ready()
            with self._commit.name_lock(tag.name, seconds=1), translated(f"setting latest of {tag.name}"):
                model = self._catalog.find(tag)
                if model is not None and self._is_latest(model.info):
                    self._commit.point(tag)
        except BentoMLException as error:
            _logger.debug("latest of %s stays as it is: %s", tag.name, error)

    def _pointer_holds(self, name: str) -> bool:
        version = latest.read(self._layout.latest(name))
        return version is not None and self._layout.version_dir(Tag(name, version)).exists()


def _checked_info(root: Path, tag: Tag) -> ModelInfo:
    info = model_yaml.loads(tree.read_small(root, model_yaml.FILE_NAME, model_yaml.BYTES_MAX))
    if info.tag != tag:
        raise UnsafeInput(f"model.yaml of {tag} says that it is {info.tag}")
    return info


def _expected(root: Path, manifest: Manifest) -> Tree:
    """The tree, which must have exactly the manifest's files and folders."""
    listing = tree.scan(root)
    found = {file.path: (file.size, file.executable) for file in listing.files}
    wanted = {entry.path: (entry.size, entry.executable) for entry in manifest.files}
    if found != wanted or set(listing.directories) != set(manifest.directories):
        different = sorted({path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path)})
        different += sorted(set(listing.directories) ^ set(manifest.directories))
        raise IntegrityError(f"{root} is not the tree of its manifest: {', '.join(different[:5])!r} differ")
    return listing
