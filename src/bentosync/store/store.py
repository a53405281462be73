"""The store: BentoML's folder of models, with BentoML's semantics and without its races.

Reading is `catalog`; it needs no lock, and `get` mends a broken `latest` where it may. The writing half and the digests
are imported when they are first needed: a list of models must not wait for hash functions and parsers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from bentosync.errors import InvalidTag, NotFound, from_os_error
from bentosync.formats.model_yaml import ModelContext, ModelInfo, ModelOptions
from bentosync.store.catalog import Catalog
from bentosync.store.layout import Layout
from bentosync.store.model import Model
from bentosync.store.summary import Summary
from bentosync.store.use import Use
from bentosync.tag import LATEST, Tag

if TYPE_CHECKING:
    from bentosync.manifest.values import FileEntry, Manifest
    from bentosync.store.digests import Digests
    from bentosync.store.disk import Disk
    from bentosync.store.locks import Locks
    from bentosync.store.proof import Damage, Progress, Strength
    from bentosync.store.record import Origin, PartChecksums, Record, Stamp, Vouched
    from bentosync.store.unfinished import Unfinished
    from bentosync.store.upkeep import Leftover, Upkeep
    from bentosync.store.writer import Writer


def _silent(count: int) -> None:
    """The progress that watches nothing."""


class Store:
    """The store under `home` (BENTOML_HOME). Cheap to make; touches the disk only when asked something.

    Args:
        home: The folder that holds `models`.
        state_dir: Where our own state lies, on the file system of `models`; default `home/.bentosync`.
        disk: The file-system calls that write, injected by tests.
        locks: The locks, injected by tests.
        now_ns: The time of day in nanoseconds, injected by tests.
    """

    def __init__(
        self,
        home: Path,
        *,
        state_dir: Path | None = None,
        disk: Disk | None = None,
        locks: Locks | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.layout = Layout(home, state_dir)
        self._read = Catalog(self.layout)
        self._use = Use(self.layout)
        self._given_disk = disk
        self._given_locks = locks
        self._now_ns = now_ns

    @cached_property
    def _disk(self) -> Disk:
        from bentosync.store.disk import Disk

        return self._given_disk or Disk()

    @cached_property
    def _digests(self) -> Digests:
        from bentosync.store.digests import Digests

        return Digests(self.layout, self._disk, self._now_ns)

    @cached_property
    def _writer(self) -> Writer:
        from bentosync.store.locks import Locks
        from bentosync.store.writer import Writer

        return Writer(self.layout, self._disk, self._given_locks or Locks(), self._read, self._digests)

    @cached_property
    def _upkeep(self) -> Upkeep:
        from bentosync.store.locks import Locks
        from bentosync.store.upkeep import Upkeep

        return Upkeep(self.layout, self._disk, self._given_locks or Locks(), self._now_ns)

    @property
    def _catalog(self) -> Catalog:
        """What is there, once a replacement that died half-way is healed: its version would be missing."""
        if self._read.swap_interrupted():
            self._writer.heal()
        return self._read

    @property
    def home(self) -> Path:
        """The folder that holds `models`."""
        return self.layout.home

    @property
    def owner(self) -> str:
        """The random id of this store."""
        from bentosync.store.owner import owner_id

        return owner_id(self.layout.state)

    # --- reading ------------------------------------------------------------------------------------------------------

    def get(self, tag: Tag | str) -> Model:
        """The version named, the one version that starts with what is named, or the latest.

        Raises:
            NotFound: There is none.
            BentoMLException: Several versions start with it, or the version is damaged.
        """
        asked = Tag.from_taglike(tag)
        if asked.version is not None and asked.version != LATEST:
            return self._catalog.match(asked)
        model, pointed = self._catalog.latest(asked.name)
        if not pointed:
            self._writer.mend_latest(model.tag)
        return model

    def find(self, tag: Tag) -> Model | None:
        """Exactly this version, or None if it is not there.

        Raises:
            BentoMLException: It is there and damaged.
        """
        return self._catalog.find(tag)

    def list(self, tag: Tag | str | None = None) -> list[Model]:
        """All models, all versions of one, or the version named (an empty list if it is not there), sorted by tag.

        Raises:
            NotFound: There is no model of that name.
            BentoMLException: The version named is damaged; in longer lists damaged ones are skipped with a warning.
        """
        return self._catalog.models(Tag.from_taglike(tag) if tag else None)

    def tags(self) -> Sequence[Tag]:
        """Every version that has a folder, damaged ones included, sorted."""
        return [tag for name in self._catalog.names() for tag in self._catalog.versions(name)]

    def summaries(self, name: str | None = None) -> Sequence[Summary]:
        """What a list shows, sorted by tag; fast for thousands of versions. Damaged ones are skipped with a warning."""
        return [*self._catalog.summaries(name)]

    def unfinished(self) -> Sequence[Unfinished]:
        """Versions of which only a part is here: pulls under way, cut off, or of some files."""
        if not self.layout.partials.is_dir() or not any(self.layout.partials.iterdir()):
            return []
        from bentosync.store.unfinished import unfinished

        return [found for found in unfinished(self.layout) if not self._has(found)]

    def _has(self, found: Unfinished) -> bool:
        """Whether the version is here after all; then its partial is a leftover."""
        record = self.record(found.tag)
        here = record is not None and record.manifest.digest == found.digest
        return here and self.layout.version_dir(found.tag).is_dir()

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(
        self,
        name: Tag | str,
        *,
        module: str = "",
        api_version: str = "v1",
        signatures: Mapping[str, Any] | None = None,
        labels: Mapping[str, Any] | None = None,
        options: ModelOptions | None = None,
        custom_objects: dict[str, Any] | None = None,
        external_modules: Sequence[ModuleType] | None = None,
        metadata: Mapping[str, Any] | None = None,
        context: ModelContext | None = None,
    ) -> AbstractContextManager[Model]:
        """A new version. Write its files below the yielded model's `path`; it is in the store when the block ends.

        The files lie on the store's file system from the start, so publishing moves nothing. If the block raises,
        nothing remains. Afterwards the model's `path` is its place in the store.

        Raises:
            InvalidTag: The name is no tag, or its version is `latest`.
            InvalidModel: Labels or metadata that model.yaml cannot hold; links or special files among the files.
            BentoMLException: The version exists; BentoML's message.
            MissingExtra: Custom objects are given and cloudpickle is not installed.
            LocalIOError: The disk refuses.
        """
        info = ModelInfo(
            tag=_new_tag(name),
            module=module,
            labels={} if labels is None else labels,
            options=ModelOptions() if options is None else options,
            metadata={} if metadata is None else metadata,
            context=ModelContext("", {}) if context is None else context,
            signatures={} if signatures is None else signatures,
            api_version=api_version,
        )
        return self._writer.create(info, custom_objects=custom_objects, external_modules=external_modules or ())

    def publish(self, tree: Path, manifest: Manifest, *, replace: bool = False, origin: Origin | None = None) -> Model:
        """Make `tree`, whose contents the caller has proven against `manifest`, a version; it is consumed.

        Args:
            tree: A folder on the store's file system, outside `models`.
            manifest: What it holds.
            replace: Take the place of a version that exists; otherwise that is a conflict.
            origin: Where it was pulled from, to be remembered.

        Raises:
            BentoMLException: The version exists; BentoML's message.
            IntegrityError: Names, sizes or modes in the tree are not the manifest's.
            LocalIOError: The disk refuses.
        """
        return self._writer.publish(tree, manifest, replace=replace, origin=origin)

    def delete(self, tag: Tag | str) -> None:
        """Remove a version, or without a version all of them. `m:latest` without a pointer removes nothing.

        Raises:
            NotFound: It is not there.
            LocalIOError: The disk refuses.
        """
        for gone in self._writer.delete(tag):
            self._use.forget(gone)

    def staging(self) -> Path:
        """A new empty folder on the store's file system; `publish` it or `drop_staging` it.

        Raises:
            LocalIOError: The disk refuses.
        """
        return self._writer.staging()

    def drop_staging(self, root: Path) -> None:
        """Remove what `staging` made, or what publishing left of it. Idempotent."""
        self._writer.drop_staging(root)

    def lock(self, tag: Tag, *, seconds: float) -> AbstractContextManager[None]:
        """Keep others from working on the same version; it saves double work and nothing relies on it.

        Raises:
            Busy: Somebody else held it for `seconds`.
            LocalIOError: The disk refuses.
        """
        return self._writer.lock(tag, seconds=seconds)

    def mend_latest(self, tag: Tag) -> None:
        """Let `latest` name this version if it is the newest and a crash right after it appeared kept it from that.

        Where the store cannot be written nothing happens.
        """
        self._writer.mend_latest(tag)

    def tidy(self) -> None:
        """Remove the folders of models that a delete which died left without a version. Never fails."""
        for name in self._read.names():
            if not self._read.versions(name):
                self._writer.tidy(name)

    def leftovers(self, *, min_age_seconds: float) -> Sequence[Leftover]:
        """What the state folder holds that nobody needs, and what of it stays for now and why. Writes nothing.

        Args:
            min_age_seconds: How long an unfinished pull is kept, in which nothing was written.

        Raises:
            LocalIOError: The disk refuses.
        """
        return self._upkeep.leftovers(min_age_seconds=min_age_seconds)

    def clear(self, leftover: Leftover) -> bool:
        """Remove a leftover; false if it came into use meanwhile. Raises `LocalIOError` if the disk refuses."""
        return self._upkeep.clear(leftover)

    # --- use ----------------------------------------------------------------------------------------------------------

    def used(self, tag: Tag) -> None:
        """Remember that a version is being used now, where that can be written. Never fails."""
        self._use.stamp(tag)

    def last_used(self, tag: Tag) -> float | None:
        """When a version was last used (seconds since 1970), if that is known."""
        return self._use.last(tag)

    def pin(self, tag: Tag, *, keep: bool) -> None:
        """Never prune a version, or prune it like any other.

        Raises:
            NotFound: It is not there.
            LocalIOError: The disk refuses.
        """
        if not self.layout.version_dir(tag).is_dir():
            raise NotFound(f"Model '{tag}' not found")
        try:
            (self._use.pin if keep else self._use.unpin)(tag)
        except OSError as error:
            raise from_os_error(error, f"pinning {tag}") from error

    def pinned(self, tag: Tag) -> bool:
        """Whether a version is never to be pruned."""
        return self._use.pinned(tag)

    # --- digests ------------------------------------------------------------------------------------------------------

    def record(self, tag: Tag) -> Record | None:
        """What is remembered about a version, if it is whole."""
        return self._digests.record(tag)

    def vouched(self, tag: Tag) -> Vouched | None:
        """What is remembered about a version as far as a load needs it: quick, however many tensors it has."""
        return self._digests.vouched(tag)

    def describe(self, model: Model, *, progress: Progress = _silent) -> Manifest:
        """The manifest of a version as it lies there now; only files are read whose stamp says they may have changed.

        Raises:
            IntegrityError: A file changed while it was read.
            UnsafeInput: No manifest can describe it: its paths are not portable, or it is over a limit.
            InvalidModel: It holds links or special files.
            LocalIOError: The disk refuses.
        """
        return self._digests.describe(model, progress=progress)

    def remember(
        self,
        model: Model,
        digested: Mapping[str, tuple[FileEntry, Stamp | None]],
        directories: Iterable[str],
        parts: Mapping[str, PartChecksums] = MappingProxyType({}),
    ) -> Manifest:
        """The manifest of a version whose files somebody else read and digested; it is remembered like a described one.

        Args:
            model: The version.
            digested: By path, every file's entry, and the stamp it had while it was read if that was settled.
            directories: Its empty folders.
            parts: By path, the checksums of a file's parts, to be remembered with the stamp.

        Raises:
            UnsafeInput: No manifest can describe it.
            Conflict: A small file changed since it was digested.
        """
        return self._digests.remember(model, digested, directories, parts)

    def adopt(self, tag: Tag, manifest: Manifest) -> None:
        """Remember that a version, whose files were just described, is what `manifest` says."""
        self._digests.adopt(tag, manifest)

    def check(self, version: Model | Tag, *, strength: Strength, progress: Progress = _silent) -> Sequence[Damage]:
        """Every way in which a version differs from its remembered manifest; nothing means it is whole.

        A tag names it too, because a version without its model.yaml is no `Model`.

        Raises:
            NotFound: Nothing is remembered about it.
            IntegrityError: A file changed while it was read.
            InvalidModel: It holds links or special files.
            LocalIOError: The disk refuses.
        """
        tag = version if isinstance(version, Tag) else version.tag
        return self._digests.check(tag, strength=strength, progress=progress)


def _new_tag(name: Tag | str) -> Tag:
    """The version that is to be created, an automatic one where none is named."""
    tag = Tag.from_taglike(name)
    if tag.version == LATEST:
        raise InvalidTag(
            f"{tag} cannot be created: 'latest' is the pointer to the newest version",
            hint=f"name a version, or create '{tag.name}' for an automatic one",
        )
    return tag if tag.version is not None else tag.make_new_version()
