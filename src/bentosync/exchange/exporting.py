"""A version of the store as an archive or a folder.

The manifest comes first (remembered digests make it free), then each file in one pass: read, proven against the
manifest, written. Equal manifests give equal archives. Format: docs/formats/archive.md.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bentosync import settings as configuration
from bentosync.errors import InvalidArgument, Unsupported
from bentosync.events import Observer, Warned, ignore
from bentosync.exchange import place, proven
from bentosync.exchange.external.contract import Sending, Storage
from bentosync.exchange.external.folder import ExternalFolderWriter
from bentosync.exchange.external.location import Location
from bentosync.exchange.external.serial import serial
from bentosync.exchange.folder_writer import FolderWriter
from bentosync.exchange.output import Output
from bentosync.exchange.place import Target
from bentosync.exchange.watch import Watch
from bentosync.formats.archive import kinds
from bentosync.formats.archive.kinds import Format
from bentosync.formats.archive.member import Bytes, Member, Writer
from bentosync.formats.archive.opening import open_writer
from bentosync.manifest import encode
from bentosync.manifest.values import FileEntry, Manifest
from bentosync.settings import Settings
from bentosync.store.disk import Disk, translated
from bentosync.store.model import Model
from bentosync.store.store import Store
from bentosync.tag import Tag

_NOT_COMPRESSED = ("tar", "folder")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and where: `place` is what an import accepts, and `shown` the same without secrets."""

    tag: Tag
    place: str = field(repr=False)
    shown: str
    manifest: Manifest

    @property
    def path(self) -> Path:
        """The archive or folder, if it is on this machine."""
        return Path(self.place)


def export_model(
    store: Store,
    tag: Tag | str,
    path: str | Location,
    output_format: str | None = None,
    *,
    compress: bool = False,
    on_event: Observer = ignore,
    disk: Disk | None = None,
    settings: Settings | None = None,
) -> Exported:
    """Write a version to an archive or folder.

    Args:
        store: Where it is.
        tag: Which; a prefix or `latest` will do.
        path: Absolute, or a location in other storage (see `place.of`): a file, or a folder to put it in.
        output_format: One of `kinds.FORMATS`; default what the name of the file says.
        compress: Spend time on making it smaller.
        on_event: Told about progress.
        disk: The file-system calls, injected by tests.
        settings: How other storage is reached; default those of environment and config files.

    Raises:
        NotFound: There is no such version.
        Unsupported: There is no such format.
        InvalidArgument: The format cannot be compressed, or there is something else at the target.
        Conflict: The target is a folder that exists.
        IntegrityError: A file is not what its digests say.
        LocalIOError: The disk refuses.
        AuthError, NetworkError, MissingExtra: Other storage refuses, breaks off, or needs a library.
    """
    model = store.get(tag)
    if isinstance(path, Location):
        return _export_to(path, store, model, output_format, compress, on_event, settings or configuration.load())
    target = place.target(path, model.tag, output_format)
    _check_format(target.format, compress)
    _check_parent(target.path, make=path.endswith("/"))
    watch = Watch(on_event, "export", str(target.path))
    manifest = _described(store, model, watch)
    with translated(f"exporting {model.tag} to {target.path}"), _writing(target, compress, disk or Disk()) as writer:
        _write(model, manifest, writer, watch)
    _finish(watch, model, manifest)
    return Exported(model.tag, str(target.path), str(target.path), manifest)


def _export_to(
    at: Location, store: Store, model: Model, asked: str | None, compress: bool, on_event: Observer, settings: Settings
) -> Exported:
    from bentosync.exchange.external.opening import opened

    if not at.scheme.writable:
        raise Unsupported(f"{at.shown}: {at.scheme.name}:// can only be read")
    on_event = serial(on_event)
    with opened(at, settings, on_event) as storage:
        target, chosen = place.distant(at, model.tag, asked, lambda path: _is_folder(storage, path))
        _check_format(chosen, compress)
        watch = Watch(on_event, "export", target.shown)
        manifest = _described(store, model, watch)
        if chosen == "folder" and (manifest.directories or any(entry.executable for entry in manifest.files)):
            on_event(Warned(f"{target.shown}: executable bits and empty folders are not kept; an archive keeps them"))
        with (
            translated(f"exporting {model.tag} to {target.shown}"),
            _sending(storage, target, chosen, compress, _bytes_max(manifest)) as writer,
        ):
            _write(model, manifest, writer, watch)
        _finish(watch, model, manifest)
        return Exported(model.tag, target.url, target.shown, manifest)


def _is_folder(storage: Storage, path: str) -> bool:
    found = storage.find(path)
    return found is not None and found.folder


def _check_format(chosen: Format, compress: bool) -> None:
    if compress and chosen in _NOT_COMPRESSED:
        raise InvalidArgument(f"a {chosen} cannot be compressed", hint="--format bentomodel, gz, bz2, xz, zst or zip")


def _described(store: Store, model: Model, watch: Watch) -> Manifest:
    watch.phase(str(model.tag), "hash")
    manifest = store.describe(model)
    watch.start(str(model.tag), files=manifest.card.files, total_bytes=manifest.card.size)
    return manifest


def _write(model: Model, manifest: Manifest, writer: Writer, watch: Watch) -> None:
    writer.manifest(encode.body(manifest))
    for entry in manifest.files:
        member = Member(entry.path, entry.size, entry.executable)
        writer.file(member, _watched(Path(model.path), entry, watch))
    for folder in manifest.directories:
        writer.directory(folder)
    writer.finish()


def _finish(watch: Watch, model: Model, manifest: Manifest) -> None:
    watch.finish("done", str(model.tag), files=manifest.card.files, total_bytes=manifest.card.size, digest=manifest.pin)


def _bytes_max(manifest: Manifest) -> int:
    """More than any archive of it can have: headers, padding, what compression may add, the manifest itself."""
    return manifest.card.size * 51 // 50 + 8192 * (len(manifest.files) + len(manifest.directories)) + (128 << 20)


@contextlib.contextmanager
def _sending(storage: Storage, at: Location, chosen: Format, compress: bool, bytes_max: int) -> Iterator[Writer]:
    """As `_writing`, in other storage."""
    container = kinds.container(chosen)
    if container == "folder":
        with ExternalFolderWriter(storage, at) as folder:
            yield folder
            folder.commit()
    else:
        with storage.create(at.path, bytes_max) as sending:
            with open_writer(_Forward(sending), container, compress=compress, patching=False) as writer:
                yield writer
            sending.commit()


class _Forward:
    """A file in other storage as an output that cannot be patched."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending

    @property
    def position(self) -> int:
        return self._sending.position

    def write(self, parts: Sequence[Bytes]) -> None:
        self._sending.write(parts)

    def patch(self, offset: int, data: bytes) -> None:
        raise AssertionError("what was sent is sent")


@contextlib.contextmanager
def _writing(target: Target, compress: bool, disk: Disk) -> Iterator[Writer]:
    """The writer of the target, which appears when the block ends without an error."""
    container = kinds.container(target.format)
    if container == "folder":
        with FolderWriter(target.path, disk) as folder:
            yield folder
            folder.commit()
    else:
        with Output(target.path, disk) as output:
            with open_writer(output, container, compress=compress) as writer:
                yield writer
            output.commit()


def _watched(root: Path, entry: FileEntry, watch: Watch) -> Iterator[memoryview]:
    done = 0
    for block in proven.blocks(root, entry):
        yield block
        done += len(block)
        watch.count(len(block))
        watch.advance(entry.path, done, entry.size)
    if not entry.size:
        watch.advance(entry.path, 0, 0)


def _check_parent(target: Path, *, make: bool) -> None:
    if make:
        with translated(f"making {target.parent}"):
            os.makedirs(target.parent, exist_ok=True)
    elif not target.parent.is_dir():
        raise InvalidArgument(f"{target.parent} is not a folder", hint=f"mkdir -p {target.parent}")
