"""The store: BentoML's folder of models, with BentoML's semantics and without its races.

Reading is `catalog`; it needs no lock, and `get` mends a broken `latest` where it may. Writing goes through the rituals
of `commit`. What is remembered about versions (`record`) only ever saves work.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace as replaced
from pathlib import Path
from types import ModuleType
from typing import Any

from bentosync.errors import BentoMLException, IntegrityError, InvalidTag, NotFound, UnsafeInput
from bentosync.formats import model_yaml
from bentosync.formats.model_yaml import ModelContext, ModelInfo, ModelOptions
from bentosync.manifest.values import FileEntry, Manifest
from bentosync.store import custom_objects as pickles
from bentosync.store import fidelity, latest, proof, record, tree
from bentosync.store.catalog import Catalog
from bentosync.store.commit import Commit, already_exists
from bentosync.store.disk import Disk, translated
from bentosync.store.layout import Layout
from bentosync.store.locks import Locks
from bentosync.store.model import CUSTOM_OBJECTS, Model
from bentosync.store.owner import owner_id
from bentosync.store.proof import Damage, Described, Progress, Strength
from bentosync.store.record import Origin, Record, Stamp
from bentosync.store.summary import Summary
from bentosync.store.tree import Tree
from bentosync.tag import LATEST, Tag

_logger = logging.getLogger("bentosync")


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
        self._disk = disk or Disk()
        self._locks = locks or Locks()
        self._catalog = Catalog(self.layout)
        self._commit = Commit(self.layout, self._disk, self._locks)
        self._now_ns = now_ns

    @property
    def home(self) -> Path:
        """The folder that holds `models`."""
        return self.layout.home

    @property
    def owner(self) -> str:
        """The random id of this store."""
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
            self._mend_latest(model.tag)
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

    def summaries(self, name: str | None = None) -> Sequence[Summary]:
        """What a list shows, sorted by tag; fast for thousands of versions. Damaged ones are skipped with a warning."""
        return [*self._catalog.summaries(name)]

    def _mend_latest(self, tag: Tag) -> None:
        try:
            self._commit.ready()
            with self._commit.name_lock(tag.name, seconds=1), translated(f"setting latest of {tag.name}"):
                if not self._pointer_holds(tag.name):
                    self._commit.point(tag)
        except BentoMLException as error:
            _logger.debug("latest of %s stays as it is: %s", tag.name, error)

    def _pointer_holds(self, name: str) -> bool:
        version = latest.read(self.layout.latest(name))
        return version is not None and self.layout.version_dir(Tag(name, version)).exists()

    # --- writing ------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
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
    ) -> Iterator[Model]:
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
        info = _info(name, module, api_version, signatures, labels, options, metadata, context)
        document = model_yaml.dumps(info)
        if custom_objects:
            pickles.required()
        self._commit.ready()
        if os.path.lexists(self.layout.version_dir(info.tag)):
            raise already_exists(info.tag, self.layout)
        root = self.staging()
        try:
            model = Model(info.tag, root, info, custom_objects, internal=True)
            with pickles.by_value(external_modules or ()):
                yield model
                files = {model_yaml.FILE_NAME: document}
                if custom_objects:
                    files[CUSTOM_OBJECTS] = pickles.dumps(custom_objects)
            self._keep(root, info, files)
            model._path = self.layout.version_dir(info.tag)
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
            described = self._described(root, info)
            self._commit.sync(root, listing)
            self._publish(root, info, replace=False)
        if described is not None:
            self._remember(info.tag, Record(described.manifest, described.stamps))

    def _described(self, root: Path, info: ModelInfo) -> Described | None:
        """Digests while the pages are warm; none for a tree that no manifest can describe, which BentoML may hold."""
        try:
            return proof.describe(root, info, None, self._now_ns, proof.silent)
        except UnsafeInput as error:
            _logger.warning("%s is created but cannot be pushed: %s", info.tag, error)
            return None

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
        tag = Tag(manifest.card.name, manifest.card.version)
        self._commit.ready()
        with translated(f"publishing {tag}"):
            modes = self._commit.modes()
            fidelity.settle(tree, modes)
            listing = _expected(tree, manifest)
            info = _checked_info(tree, tag)
            stamps = self._settled_stamps(tree, listing)
            self._commit.sync(tree, listing)
            self._publish(tree, info, replace=replace)
        self._remember(tag, Record(manifest, stamps, origin))
        return Model(tag, self.layout.version_dir(tag), info, internal=True)

    def _publish(self, root: Path, info: ModelInfo, *, replace: bool) -> None:
        def newest() -> bool:
            if not self._pointer_holds(info.name):
                found = self._catalog.newest(info.name)
                return found is None or info.creation_time >= found.creation_time
            try:
                return info.creation_time >= self._catalog.latest(info.name)[0].creation_time
            except BentoMLException:
                return True

        self._commit.publish(root, info.tag, replace=replace, point=newest)

    def delete(self, tag: Tag | str) -> None:
        """Remove a version, or without a version all of them. `m:latest` without a pointer removes nothing.

        Raises:
            NotFound: It is not there.
            LocalIOError: The disk refuses.
        """
        asked = Tag.from_taglike(tag)
        if asked.version == LATEST:
            version = latest.read(self.layout.latest(asked.name))
            if version is None:
                return
            asked = Tag(asked.name, version)
        if not os.path.lexists(self.layout.models / asked.path()):
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
            self._forget(gone)

    def _successor(self, name: str) -> str | None:
        newest = self._catalog.newest(name)
        return None if newest is None else newest.tag.version

    def staging(self) -> Path:
        """A new empty folder on the store's file system; `publish` it or `drop_staging` it.

        Raises:
            LocalIOError: The disk refuses.
        """
        self._commit.ready()
        with translated(f"staging in {self.layout.staging}"):
            return self._commit.staging.make()

    def drop_staging(self, root: Path) -> None:
        """Remove what `staging` made, or what publishing left of it. Idempotent."""
        self._commit.staging.drop(root)

    @contextlib.contextmanager
    def lock(self, tag: Tag, *, seconds: float) -> Iterator[None]:
        """Keep others from working on the same version; it saves double work and nothing relies on it.

        Raises:
            Busy: Somebody else held it for `seconds`.
            LocalIOError: The disk refuses.
        """
        self._commit.ready()
        path = self.layout.lock_path(f"{tag.name}:{tag.version or LATEST}")
        with self._locks.hold(path, seconds=seconds, what=str(tag)):
            yield

    # --- digests ------------------------------------------------------------------------------------------------------

    def record(self, tag: Tag) -> Record | None:
        """What is remembered about a version, if it is whole."""
        path = self.layout.record_path(tag)
        try:
            if path.stat().st_size > record.BYTES_MAX:
                return None
            found = record.loads(path.read_bytes())
        except OSError:
            return None
        same = found is not None and (found.manifest.card.name, found.manifest.card.version) == (tag.name, tag.version)
        return found if same else None

    def describe(self, model: Model, *, progress: Progress = proof.silent) -> Manifest:
        """The manifest of a version as it lies there now; only files are read whose stamp says they may have changed.

        Raises:
            IntegrityError: A file changed while it was read.
            UnsafeInput: No manifest can describe it: its paths are not portable, or it is over a limit.
            InvalidModel: It holds links or special files.
            LocalIOError: The disk refuses.
        """
        known = self.record(model.tag)
        with translated(f"reading {model.tag}"):
            described = proof.describe(Path(model.path), model.info, known, self._now_ns, progress)
        origin = known.origin if known is not None and known.manifest == described.manifest else None
        fresh = Record(described.manifest, described.stamps, origin)
        if fresh != known:
            self._remember(model.tag, fresh)
        return described.manifest

    def known(self, model: Model) -> Mapping[str, FileEntry]:
        """By path, the digests of files that need not be read to know them: their stamps still hold."""
        known = self.record(model.tag)
        return {} if known is None else proof.known_entries(Path(model.path), known)

    def remember(
        self, model: Model, digested: Mapping[str, tuple[FileEntry, Stamp | None]], directories: Iterable[str]
    ) -> Manifest:
        """The manifest of a version whose files somebody else read and digested; it is remembered like a described one.

        Args:
            model: The version.
            digested: By path, every file's entry, and the stamp it had while it was read if that was settled.
            directories: Its empty folders.

        Raises:
            UnsafeInput: No manifest can describe it.
            Conflict: A small file changed since it was digested.
        """
        root = Path(model.path)
        with translated(f"reading {model.tag}"):
            manifest = proof.compose(root, model.info, directories, (entry for entry, _ in digested.values()))
        stamps = {path: stamp for path, (_, stamp) in digested.items() if stamp is not None}
        known = self.record(model.tag)
        origin = known.origin if known is not None and known.manifest == manifest else None
        self._remember(model.tag, Record(manifest, stamps, origin))
        return manifest

    def check(self, model: Model, *, strength: Strength, progress: Progress = proof.silent) -> Sequence[Damage]:
        """Every way in which a version differs from its remembered manifest; nothing means it is whole.

        Raises:
            NotFound: Nothing is remembered about it.
            IntegrityError: A file changed while it was read.
            InvalidModel: It holds links or special files.
            LocalIOError: The disk refuses.
        """
        known = self.record(model.tag)
        if known is None:
            raise NotFound(
                f"no digests of {model.tag} are remembered, so there is nothing to check it against",
                hint=f"bentosync pull --force {model.tag}, or bentosync push {model.tag} to take it as it is",
            )
        now_ns = self._now_ns()
        with translated(f"checking {model.tag}"):
            damages, stamps = proof.check(Path(model.path), known.manifest, strength, progress)
        proven = {path: stamp for path, stamp in stamps.items() if stamp.settled(now_ns)}
        if proven != known.stamps:
            self._remember(model.tag, replaced(known, stamps=proven))
        return damages

    def _settled_stamps(self, root: Path, listing: Tree) -> dict[str, Stamp]:
        now_ns = self._now_ns()
        stamps = {file.path: Stamp.of(os.lstat(root / file.path)) for file in listing.files}
        return {path: stamp for path, stamp in stamps.items() if stamp.settled(now_ns)}

    def _remember(self, tag: Tag, fresh: Record) -> None:
        """Write the record, by rename and without fsync: a record lost or torn in a crash is as good as none."""
        path = self.layout.record_path(tag)
        scratch = path.with_name(f"{path.name}.{os.getpid()}.{time.monotonic_ns()}")
        try:
            self._disk.make_directory(path.parent)
            scratch.write_bytes(record.dumps(fresh))
            self._disk.rename(scratch, path)
        except OSError as error:
            _logger.debug("digests of %s are not remembered: %s", tag, error)
            with contextlib.suppress(OSError):
                scratch.unlink()

    def _forget(self, tag: Tag) -> None:
        path = self.layout.record_path(tag)
        with contextlib.suppress(OSError):
            self._disk.unlink(path)
            self._disk.remove_directory(path.parent)


def _info(
    name: Tag | str,
    module: str,
    api_version: str,
    signatures: Mapping[str, Any] | None,
    labels: Mapping[str, Any] | None,
    options: ModelOptions | None,
    metadata: Mapping[str, Any] | None,
    context: ModelContext | None,
) -> ModelInfo:
    tag = Tag.from_taglike(name)
    if tag.version == LATEST:
        raise InvalidTag(
            f"{tag} cannot be created: 'latest' is the pointer to the newest version",
            hint=f"name a version, or create '{tag.name}' for an automatic one",
        )
    return ModelInfo(
        tag=tag if tag.version is not None else tag.make_new_version(),
        module=module,
        labels={} if labels is None else labels,
        options=ModelOptions() if options is None else options,
        metadata={} if metadata is None else metadata,
        context=ModelContext("", {}) if context is None else context,
        signatures={} if signatures is None else signatures,
        api_version=api_version,
    )


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
