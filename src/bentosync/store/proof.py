"""Digests of trees: what is there (`describe`), and whether it is what it should be (`check`).

Both read each file once, in order, through one buffer. A file that changes while it is read is not described at all:
its digests would belong to bytes that never existed together.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

from msgspec import Struct

from bentosync.errors import IntegrityError, InvalidArgument
from bentosync.formats.digester import FileDigester
from bentosync.formats.model_yaml import ModelInfo
from bentosync.manifest import build
from bentosync.manifest.digests import differences
from bentosync.manifest.values import LEAF_BYTES, FileEntry, Manifest
from bentosync.store import tree
from bentosync.store.disk import translated
from bentosync.store.record import Record, Stamp
from bentosync.store.tree import TreeFile

Strength = Literal["full", "strong"]
Kind = Literal["missing", "extra", "size", "mode", "bytes"]
Progress = Callable[[int], None]

_INLINE_READ_BYTES_MAX = 1 << 20


class Damage(Struct, frozen=True):
    """Bytes [begin, end) of `path` are not what the manifest says; for `missing` and `extra` the whole file."""

    path: str
    begin: int
    end: int
    kind: Kind


class Described(Struct, frozen=True):
    """A tree's manifest, and the stamps its files had when their digests were taken."""

    manifest: Manifest
    stamps: Mapping[str, Stamp]


def silent(count: int) -> None:
    """The progress that watches nothing."""


def check_strength(strength: str) -> None:
    """Refuse what is no strength. Raises `InvalidArgument`."""
    if strength not in get_args(Strength):
        raise InvalidArgument(f"strength={strength!r} is not one of {', '.join(get_args(Strength))}")


def describe(
    root: Path, info: ModelInfo, known: Record | None, now_ns: Callable[[], int], progress: Progress
) -> Described:
    """Digest a tree, except files whose stamp in `known` still holds.

    Args:
        root: The tree.
        info: What its model.yaml says.
        known: What is remembered about it.
        now_ns: The time of day.
        progress: Called with the bytes of each step, those that need not be read included.

    Raises:
        IntegrityError: A file changed while it was read.
        UnsafeInput: The tree cannot be a manifest: its paths are not portable, it is over a limit.
        InvalidModel: It holds links or special files.
    """
    listing = tree.scan(root)
    held = {} if known is None else known_entries(root, known)
    remembered = {} if known is None else known.stamps
    entries: list[FileEntry] = []
    stamps: dict[str, Stamp] = {}
    for file in listing.files:
        entry = held.get(file.path)
        if entry is None:
            started = now_ns()
            entry, stamp = _digest(root, file, progress)
            if stamp.settled(started):
                stamps[file.path] = stamp
        else:
            stamps[file.path] = remembered[file.path]
            progress(file.size)
        entries.append(entry)
    return Described(compose(root, info, listing.directories, entries), stamps)


def known_entries(root: Path, known: Record) -> dict[str, FileEntry]:
    """The entries in `known` of files whose stamp still holds."""
    held: dict[str, FileEntry] = {}
    for entry in known.manifest.files:
        try:
            status = os.lstat(root / entry.path)
        except OSError:
            continue
        executable = bool(status.st_mode & 0o100)
        if known.stamps.get(entry.path) == Stamp.of(status) and executable == entry.executable:
            held[entry.path] = entry
    return held


def compose(root: Path, info: ModelInfo, directories: Iterable[str], entries: Iterable[FileEntry]) -> Manifest:
    """The manifest of a tree whose files are digested."""
    return build.compose(
        name=info.name,
        version=info.version,
        created=info.creation_time.isoformat(),
        module=info.module,
        labels=info.labels,
        files=entries,
        directories=directories,
        read=lambda path: tree.read_small(root, path, _INLINE_READ_BYTES_MAX),
    )


def _digest(root: Path, file: TreeFile, progress: Progress) -> tuple[FileEntry, Stamp]:
    digester = FileDigester(file.path, file.size, file.executable)
    with _Reading(root, file.path) as reading:
        if reading.stamp.size != file.size:
            raise _changed(root / file.path)
        for data in reading.leaves(file.size):
            digester.update(data)
            progress(len(data))
        if reading.stamp_now() != reading.stamp:
            raise _changed(root / file.path)
    return digester.finish(), reading.stamp


def check(
    root: Path, manifest: Manifest, strength: Strength, progress: Progress
) -> tuple[list[Damage], dict[str, Stamp]]:
    """Every way in which a tree differs from its manifest, and the stamps of the files that do not.

    Raises:
        InvalidArgument: `strength` is none.
        InvalidModel: The tree holds links or special files.
        LocalIOError: A file cannot be read.
    """
    check_strength(strength)
    listing = tree.scan(root)
    present = {file.path: file for file in listing.files}
    damages: list[Damage] = []
    stamps: dict[str, Stamp] = {}
    for entry in manifest.files:
        file = present.pop(entry.path, None)
        if file is None:
            damages.append(Damage(entry.path, 0, entry.size, "missing"))
            continue
        found, stamp = _check_file(root, entry, file, strength, progress)
        damages += found
        if not found:
            stamps[entry.path] = stamp
    damages += [Damage(file.path, 0, file.size, "extra") for file in present.values()]
    damages += [Damage(path, 0, 0, "missing") for path in set(manifest.directories) - set(listing.directories)]
    damages += [Damage(path, 0, 0, "extra") for path in set(listing.directories) - set(manifest.directories)]
    return sorted(damages, key=lambda damage: (damage.path, damage.begin)), stamps


def _check_file(
    root: Path, entry: FileEntry, file: TreeFile, strength: Strength, progress: Progress
) -> tuple[list[Damage], Stamp]:
    found: list[Damage] = []
    if file.executable != entry.executable:
        found.append(Damage(entry.path, 0, 0, "mode"))
    if file.size > entry.size:
        found.append(Damage(entry.path, entry.size, file.size, "size"))
    with _Reading(root, entry.path) as reading:
        offset = 0
        for data in reading.leaves(min(entry.size, reading.stamp.size)):
            wrong = differences(entry, offset, data, strong=strength == "strong")
            found += [Damage(entry.path, place.begin, place.end, "bytes") for place in wrong]
            offset += len(data)
            progress(len(data))
    if offset < entry.size:
        found.append(Damage(entry.path, offset, entry.size, "size"))
    return _joined(found), reading.stamp


def _joined(damages: list[Damage]) -> list[Damage]:
    joined: list[Damage] = []
    for damage in damages:
        last = joined[-1] if joined else None
        if last is not None and last.kind == damage.kind == "bytes" and last.end == damage.begin:
            joined[-1] = Damage(last.path, last.begin, damage.end, "bytes")
        else:
            joined.append(damage)
    return joined


class _Reading:
    """One file being read, leaf by leaf, with the stamp it had when it was opened."""

    def __init__(self, root: Path, path: str) -> None:
        self._path = root / path
        self._fd = tree.open_file(root, path)
        self.stamp = self.stamp_now()

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def stamp_now(self) -> Stamp:
        return Stamp.of(os.fstat(self._fd))

    def leaves(self, size: int) -> Iterator[memoryview]:
        """`size` bytes in pieces of one leaf; each is valid until the next. Ends early at the end of the file."""
        buffer = memoryview(bytearray(min(LEAF_BYTES, size)))
        offset = 0
        while offset < size:
            wanted = min(LEAF_BYTES, size - offset)
            filled = self._fill(buffer[:wanted], offset)
            if filled:
                yield buffer[:filled]
            if filled < wanted:
                return
            offset += filled

    def _fill(self, buffer: memoryview, offset: int) -> int:
        filled = 0
        with translated(f"reading {self._path}"):
            while filled < len(buffer):
                count = os.preadv(self._fd, [buffer[filled:]], offset + filled)
                if count == 0:
                    break
                filled += count
        return filled


def _changed(path: Path) -> IntegrityError:
    return IntegrityError(f"{path} changed while it was read", hint="let whoever writes to it finish, then try again")
