"""A version of the store as an archive or a folder.

The manifest comes first (remembered digests make it free), then each file in one pass: read, proven against the
manifest, written. Equal manifests give equal archives. Format: docs/formats/archive.md.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bentosync.errors import InvalidArgument
from bentosync.events import Observer, ignore
from bentosync.exchange import place, proven
from bentosync.exchange.folder_writer import FolderWriter
from bentosync.exchange.output import Output
from bentosync.exchange.place import Target
from bentosync.exchange.watch import Watch
from bentosync.formats.archive import kinds
from bentosync.formats.archive.member import Member, Writer
from bentosync.formats.archive.opening import open_writer
from bentosync.manifest import encode
from bentosync.manifest.values import FileEntry, Manifest
from bentosync.store.disk import Disk, translated
from bentosync.store.store import Store
from bentosync.tag import Tag

_NOT_COMPRESSED = ("tar", "folder")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and where."""

    tag: Tag
    path: Path
    manifest: Manifest


def export_model(
    store: Store,
    tag: Tag | str,
    path: str,
    output_format: str | None = None,
    *,
    compress: bool = False,
    on_event: Observer = ignore,
    disk: Disk | None = None,
) -> Exported:
    """Write a version to an archive or folder.

    Args:
        store: Where it is.
        tag: Which; a prefix or `latest` will do.
        path: Absolute (see `place.local`): a file, or a folder to put it in.
        output_format: One of `kinds.FORMATS`; default what the name of the file says.
        compress: Spend time on making it smaller.
        on_event: Told about progress.
        disk: The file-system calls, injected by tests.

    Raises:
        NotFound: There is no such version.
        Unsupported: There is no such format.
        InvalidArgument: The format cannot be compressed, or there is something else at the target.
        Conflict: The target is a folder that exists.
        IntegrityError: A file is not what its digests say.
        LocalIOError: The disk refuses.
    """
    model = store.get(tag)
    target = place.target(path, model.tag, output_format)
    if compress and target.format in _NOT_COMPRESSED:
        raise InvalidArgument(f"a {target.format} cannot be compressed", hint="--format bentomodel, gz, bz2, xz or zip")
    _check_parent(target.path, make=path.endswith("/"))
    watch = Watch(on_event, "export", str(target.path))
    watch.phase(str(model.tag), "hash")
    manifest = store.describe(model)
    watch.start(str(model.tag), files=manifest.card.files, total_bytes=manifest.card.size)
    with translated(f"exporting {model.tag} to {target.path}"), _writing(target, compress, disk or Disk()) as writer:
        writer.manifest(encode.body(manifest))
        for entry in manifest.files:
            member = Member(entry.path, entry.size, entry.executable)
            writer.file(member, _watched(Path(model.path), entry, watch))
        for folder in manifest.directories:
            writer.directory(folder)
        writer.finish()
    watch.finish("done", str(model.tag), files=manifest.card.files, total_bytes=manifest.card.size, digest=manifest.pin)
    return Exported(model.tag, target.path, manifest)


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
