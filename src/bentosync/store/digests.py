"""Digests of the versions in a store, and the memory of them.

What is remembered (`record`) only ever saves reading: it is used for files whose stamp proves that nothing changed, and
losing it costs a pass over the files.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from bentosync.errors import BentoMLException, NotFound, UnsafeInput
from bentosync.formats.model_yaml import ModelInfo
from bentosync.manifest.values import FileEntry, Manifest
from bentosync.store import proof, record
from bentosync.store.disk import Disk, translated
from bentosync.store.layout import Layout
from bentosync.store.model import Model
from bentosync.store.proof import Damage, Described, Progress, Strength
from bentosync.store.record import PartChecksums, Record, Stamp, Vouched
from bentosync.store.tree import Tree
from bentosync.tag import Tag

_logger = logging.getLogger("bentosync")


class Digests:
    """The digests of one store's versions; `Store` documents the methods of the same names."""

    def __init__(self, layout: Layout, disk: Disk, now_ns: Callable[[], int]) -> None:
        self._layout = layout
        self._disk = disk
        self._now_ns = now_ns

    def record(self, tag: Tag) -> Record | None:
        """What is remembered about a version, if it is whole."""
        found = record.loads(self._read(tag))
        same = found is not None and (found.manifest.card.name, found.manifest.card.version) == (tag.name, tag.version)
        return found if same else None

    def vouched(self, tag: Tag) -> Vouched | None:
        """The same, without understanding the manifest."""
        found = record.vouched(self._read(tag))
        return found if found is not None and (found.name, found.version) == (tag.name, tag.version) else None

    def _read(self, tag: Tag) -> bytes:
        """The record's file; nothing if there is none that could be one."""
        path = self._layout.record_path(tag)
        try:
            return path.read_bytes() if path.stat().st_size <= record.BYTES_MAX else b""
        except OSError:
            return b""

    def describe(self, model: Model, *, progress: Progress) -> Manifest:
        """The manifest of a version as it lies there now."""
        known = self.record(model.tag)
        with translated(f"reading {model.tag}"), self._one_life(model.tag):
            described = proof.describe(Path(model.path), model.info, known, self._now_ns, progress)
        origin = known.origin if known is not None and known.manifest == described.manifest else None
        parts = {} if known is None else record.still_held(known, described.stamps)
        fresh = Record(described.manifest, described.stamps, origin, parts)
        # Looking must not make damage the truth: other content is remembered when it is published, see `remember`.
        if fresh != known and (known is None or known.manifest.card.content == fresh.manifest.card.content):
            self.note(model.tag, fresh)
        return described.manifest

    def remember(
        self,
        model: Model,
        digested: Mapping[str, tuple[FileEntry, Stamp | None]],
        directories: Iterable[str],
        parts: Mapping[str, PartChecksums],
    ) -> Manifest:
        """The manifest of a version whose files somebody else read and digested."""
        root = Path(model.path)
        with translated(f"reading {model.tag}"):
            manifest = proof.compose(root, model.info, directories, (entry for entry, _ in digested.values()))
        stamps = {path: stamp for path, (_, stamp) in digested.items() if stamp is not None}
        known = self.vouched(model.tag)
        same = known if known is not None and known.digest == manifest.digest else None
        held = {} if same is None else record.still_held(same, stamps)
        held |= {path: found for path, found in parts.items() if path in stamps}
        if same is None or (same.stamps, same.parts) != (stamps, held):
            self.note(model.tag, Record(manifest, stamps, same.origin if same else None, held))
        return manifest

    def adopt(self, tag: Tag, manifest: Manifest) -> None:
        """Remember what a version was just found to be, if another content was remembered for it."""
        known = self.record(tag)
        if known is None or known.manifest.card.content != manifest.card.content:
            self.note(tag, Record(manifest))

    def check(self, tag: Tag, *, strength: Strength, progress: Progress) -> Sequence[Damage]:
        """Every way in which a version differs from its remembered manifest."""
        known = self.record(tag)
        if known is None:
            raise NotFound(
                f"no digests of {tag} are remembered, so there is nothing to check it against",
                hint=f"bentosync pull --force {tag}, or bentosync push {tag} to take it as it is",
            )
        now_ns = self._now_ns()
        with translated(f"checking {tag}"):
            damages, stamps = proof.check(self._layout.version_dir(tag), known.manifest, strength, progress)
        proven = {path: stamp for path, stamp in stamps.items() if stamp.settled(now_ns)}
        if proven != known.stamps:
            self.note(tag, replace(known, stamps=proven, parts=record.still_held(known, proven)))
        return damages

    def fresh(self, root: Path, info: ModelInfo) -> Described | None:
        """Digests of a new tree while its pages are warm; none if no manifest can describe it (BentoML may hold it)."""
        try:
            return proof.describe(root, info, None, self._now_ns, proof.silent)
        except UnsafeInput as error:
            _logger.warning("%s is created but cannot be pushed: %s", info.tag, error)
            return None

    def settled_stamps(self, root: Path, listing: Tree) -> dict[str, Stamp]:
        """The stamps of a tree's files that are old enough to be remembered."""
        now_ns = self._now_ns()
        stamps = {file.path: Stamp.of(os.lstat(f"{root}/{file.path}")) for file in listing.files}
        return {path: stamp for path, stamp in stamps.items() if stamp.settled(now_ns)}

    def note(self, tag: Tag, fresh: Record) -> None:
        """Write the record, by rename and without fsync: a record lost or torn in a crash is as good as none."""
        path = self._layout.record_path(tag)
        scratch = path.with_name(f"{path.name}.{os.getpid()}.{time.monotonic_ns()}")
        try:
            self._disk.make_directory(path.parent)
            scratch.write_bytes(record.dumps(fresh))
            self._disk.rename(scratch, path)
        except OSError as error:
            _logger.debug("digests of %s are not remembered: %s", tag, error)
            with contextlib.suppress(OSError):
                scratch.unlink()

    @contextlib.contextmanager
    def forgotten(self, tag: Tag, manifest: Manifest) -> Iterator[None]:
        """Remember nothing about a version while another one replaces it; if it does not, remember it again.

        Otherwise, after a crash in there, the record of the old life would call the new one damaged. A repair puts in
        place what the record says: there it stays, or a crash would leave damage that nothing knows to be damage.
        """
        known = self.record(tag)
        if known is None or known.manifest == manifest:
            yield
            return
        life = self._life(tag)
        self.forget(tag)
        try:
            yield
        finally:
            if self._life(tag) == life:
                self.note(tag, known)

    @contextlib.contextmanager
    def _one_life(self, tag: Tag) -> Iterator[None]:
        """What is read in the block is one life of a version, not half of each of two; else `NotFound`."""
        life = self._life(tag)
        gone = NotFound(f"{tag} was deleted or replaced while it was read", hint="run the same command again")
        try:
            yield
        except (BentoMLException, OSError) as error:
            if life is None or self._life(tag) != life:
                raise gone from error
            raise
        if self._life(tag) != life:
            raise gone

    def _life(self, tag: Tag) -> int | None:
        """Tells one life of a version from the next."""
        try:
            return os.lstat(self._layout.version_dir(tag)).st_ino
        except OSError:
            return None

    def forget(self, tag: Tag) -> None:
        """Remember nothing about a version."""
        path = self._layout.record_path(tag)
        with contextlib.suppress(OSError):
            self._disk.unlink(path)
            self._disk.remove_directory(path.parent)
