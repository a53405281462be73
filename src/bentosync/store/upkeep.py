"""What a store's state folder holds that nobody needs any more: found here, named, and removed on request.

Everything in the state folder may be deleted at the cost of work done twice, so the question is only whose work.
Partials are another run's head start: they stay while their version's lock is held, and for a while after. Staged trees
stay while their maker lives. What lies in the trash is garbage, except the old life of a version whose new life has
not arrived.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct

from bentosync.errors import Busy, InvalidTag, LocalIOError, UnsafeInput
from bentosync.manifest import decode
from bentosync.store.disk import Disk, translated
from bentosync.store.layout import Layout
from bentosync.store.locks import Locks
from bentosync.store.staging import Staging
from bentosync.store.trash import Trash
from bentosync.tag import Tag

Kind = Literal["partial", "staging", "trash", "quarantine", "record", "scratch"]

MIN_AGE_SECONDS = 7 * 24 * 3600.0
"""How long an unfinished pull is kept."""

_SCRATCH_SECONDS = 3600.0
_SCRATCH = re.compile(r"(?:.+\.record\.\d+\.\d+|owner\.[0-9a-f]{32}|\..+\.\d+)")


class Leftover(Struct, frozen=True):
    """Something that is not needed. `size_bytes` is what it takes on the disk; `kept` is why it stays, if it does."""

    kind: Kind
    path: Path
    size_bytes: int
    age_seconds: float
    tag: Tag | None = None
    kept: str | None = None


class Upkeep:
    """The housekeeping of one store."""

    def __init__(self, layout: Layout, disk: Disk, locks: Locks, now_ns: Callable[[], int]) -> None:
        self._layout = layout
        self._disk = disk
        self._locks = locks
        self._now_ns = now_ns
        self._trash = Trash(layout, disk)
        self._staging = Staging(layout, disk, locks, self._trash)

    def leftovers(self, *, min_age_seconds: float) -> list[Leftover]:
        """Everything of the kind, the young and the used ones with the reason why they stay. Writes nothing."""
        with translated(f"looking through {self._layout.state}"):
            return [
                *self._partials(min_age_seconds),
                *(self._leftover("staging", path) for path in self._staging.abandoned()),
                *(self._leftover("trash", path) for path in self._trash.garbage()),
                *self._aged("quarantine", _entries(self._layout.quarantine), min_age_seconds),
                *self._aged("record", self._orphans(), _SCRATCH_SECONDS),
                *self._aged("scratch", self._scratch(), _SCRATCH_SECONDS),
            ]

    def clear(self, leftover: Leftover) -> bool:
        """Remove it; false if it came into use meanwhile.

        Raises:
            LocalIOError: The disk refuses.
        """
        with translated(f"removing {leftover.path}"):
            if leftover.path.is_dir() and not leftover.path.is_symlink():
                try:
                    with self._alone(leftover.tag):
                        self._disk.make_directory(self._layout.trash)
                        self._trash.discard(leftover.path)
                except Busy:
                    return False
                except FileNotFoundError:
                    return True
            else:
                self._disk.unlink(leftover.path)
        return True

    def _partials(self, min_age_seconds: float) -> Iterator[Leftover]:
        for root in _entries(self._layout.partials):
            tag = _tag_of(root)
            found = self._leftover("partial", root, tag)
            if self._in_use(tag):
                yield _keep(found, "in use")
            elif found.age_seconds < min_age_seconds:
                yield _keep(found, "resumable")
            else:
                yield found

    def _aged(self, kind: Kind, paths: Iterator[Path], min_age_seconds: float) -> Iterator[Leftover]:
        for path in paths:
            found = self._leftover(kind, path)
            yield found if found.age_seconds >= min_age_seconds else _keep(found, "too young")

    def _orphans(self) -> Iterator[Path]:
        """Digests, stamps of use and pins of versions that are gone."""
        for area, suffixes in (("manifests", (".record",)), ("use", (".used", ".pin"))):
            for path in sorted((self._layout.state / area).glob("*/*")):
                if path.suffix in suffixes:
                    with contextlib.suppress(InvalidTag):
                        if not os.path.lexists(self._layout.version_dir(Tag(path.parent.name, path.stem))):
                            yield path

    def _scratch(self) -> Iterator[Path]:
        """Files that were to be renamed when their writer died."""
        for pattern in ("owner.*", "manifests/*/*", "seen/*/*/.*"):
            for path in sorted(self._layout.state.glob(pattern)):
                if _SCRATCH.fullmatch(path.name):
                    yield path

    def _leftover(self, kind: Kind, path: Path, tag: Tag | None = None) -> Leftover:
        size, changed_ns = _extent(path)
        return Leftover(kind, path, size, max(0.0, (self._now_ns() - changed_ns) / 1e9), tag)

    def _in_use(self, tag: Tag | None) -> bool:
        try:
            with self._alone(tag):
                return False
        except Busy:
            return True
        except LocalIOError:
            return False  # a read-only store: nobody writes to it

    def _alone(self, tag: Tag | None) -> contextlib.AbstractContextManager[None]:
        if tag is None:
            return contextlib.nullcontext()
        return self._locks.hold(self._layout.lock_path(str(tag)), seconds=0, what=str(tag))


def _keep(found: Leftover, why: str) -> Leftover:
    return Leftover(found.kind, found.path, found.size_bytes, found.age_seconds, found.tag, why)


def _tag_of(partial: Path) -> Tag | None:
    """Whose partial it is; None if its manifest does not say (it was never written, or is torn)."""
    try:
        with (partial / "manifest.jsonl").open("rb") as file:
            _, card = decode.card(file.read(decode.HEAD_BYTES))
        return Tag(card.name, card.version)
    except (OSError, UnsafeInput, InvalidTag):
        return None


def _entries(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        yield from sorted(folder.iterdir())


def _extent(path: Path) -> tuple[int, int]:
    """Bytes on the disk, and when anything in there was last written (nanoseconds)."""
    total, newest = 0, 0
    pending = [path]
    while pending:
        here = pending.pop()
        with contextlib.suppress(OSError):
            status = here.lstat()
            total += status.st_blocks * 512
            newest = max(newest, status.st_mtime_ns)
            if here.is_dir() and not here.is_symlink():
                pending += here.iterdir()
    return total, newest
