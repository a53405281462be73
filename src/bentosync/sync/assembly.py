"""Assembly: from a manifest and a remote to a tree that holds every byte of it, whichever way each one got there.

The tree grows in the partial named by the manifest's digest: first what an earlier try left there, then what a local
tree (the seed) holds at the same place, then the rest from the remote. Every block is proven before it counts.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from bentosync.blocking import in_thread
from bentosync.errors import BentoMLException, Conflict, IntegrityError, NoSpace, NotFound
from bentosync.manifest.digests import unit_bytes
from bentosync.manifest.values import FileEntry
from bentosync.remote.contract import Remote
from bentosync.settings import Settings
from bentosync.store import tree
from bentosync.store.partial import Partial, PartialFile, missing_allocation
from bentosync.store.store import Store
from bentosync.sync.resolve import Resolved, fetch
from bentosync.sync.watch import Watch
from bentosync.tag import Reference, Tag
from bentosync.transfer import download, plateau
from bentosync.transfer.unpack import unpack, wanted

_MIB = 1 << 20


class Assembled(Struct, frozen=True):
    """A complete tree, ready to be published; of its bytes, `fetched` came from the remote just now.

    `refetched` bytes came more than once.
    """

    tree: Path
    fetched: int
    refetched: int


class Assembly:
    """The making of one version's tree."""

    def __init__(
        self, store: Store, remote: Remote, found: Resolved, *, settings: Settings, watch: Watch, strong: bool
    ) -> None:
        self._store = store
        self._remote = remote
        self._found = found
        self._settings = settings
        self._watch = watch
        self._strong = strong
        self._manifest = found.manifest

    async def run(self, partial: Partial, *, seed: Path | None = None) -> Assembled:
        """Complete `partial`, which the caller owns; raises as `sync.pull.pull` does, and `OSError`."""
        require_space(self._store, partial, self._found.tag)
        try:
            await in_thread(partial.prepare, self._found.document, strong=self._strong)
            if seed is not None:
                await in_thread(_plant, seed, partial.files, strong=self._strong)
            missing = sum(span.length for file in partial.files for span in file.missing(self._unit))
            try:
                tally = await self._download(partial)
            except IntegrityError as error:
                raise await explained(self._remote, self._found, error) from error
            self._watch.phase(str(self._found.tag), "commit")
            return Assembled(await in_thread(partial.finish), missing, tally.dropped)
        finally:
            partial.close()

    @property
    def _unit(self) -> int:
        return unit_bytes(strong=self._strong)

    async def _download(self, partial: Partial) -> download.Tally:
        already = {f.entry.path: f.entry.size - sum(s.length for s in f.missing(self._unit)) for f in partial.files}
        self._watch.start(
            str(self._found.tag), self._remote.properties.url,
            files=len(partial.entries), total_bytes=sum(entry.size for entry in partial.entries),
            reused_bytes=sum(already.values()),
        )  # fmt: skip
        for entry in partial.entries:
            if entry.inline is not None:
                self._watch.advance(entry.path, entry.size, entry.size)

        def proven(entry: FileEntry, count: int) -> None:
            self._watch.advance(entry.path, entry.size, count, already[entry.path])

        transfer = self._settings.transfer
        self._watch.meter.limit_bytes_per_second = transfer.limit_bytes_per_second
        tally = download.Tally(proven, meter=self._watch.meter)
        self._watch.phase(str(self._found.tag), "transfer")
        await unpack(
            self._remote,
            wanted(self._found.packs(), partial.files),
            jobs=transfer.streams_max,
            memory_bytes=transfer.memory_bytes,
            strong=self._strong,
            tally=tally,
        )
        await download.download(
            self._remote,
            [download.Target(self._found.key(file.entry.path), file) for file in partial.files if file.blocks],
            jobs=transfer.streams_max,
            memory_bytes=transfer.memory_bytes,
            range_bytes=transfer.range_bytes,
            controller=plateau.controller(seeking=transfer.seeking),
            strong=self._strong,
            tally=tally,
        )
        return tally


def _plant(seed: Path, files: Sequence[PartialFile], *, strong: bool) -> None:
    """Take over what the tree `seed` holds already. A file that is gone, or no regular file, gives nothing."""
    for file in files:
        with contextlib.suppress(BentoMLException):
            source = tree.open_file(seed, file.entry.path)
            try:
                file.adopt(source, strong=strong)
            finally:
                os.close(source)


async def explained(remote: Remote, found: Resolved, error: IntegrityError) -> BentoMLException:
    """A version that was deleted or replaced while it was read looks damaged; say what really happened."""
    tag = found.tag
    try:
        now = await fetch(remote, tag, Reference(tag.name, tag.version, None))
    except NotFound:
        return NotFound(f"{tag} was deleted from {remote.properties.url} while it was being read")
    except BentoMLException:
        return error
    if now.manifest.pin == found.manifest.pin and now.envelope.push_id == found.envelope.push_id:
        hint = f"the remote's copy is damaged; from a store that has a good one: bentosync push --resend {tag}"
        return IntegrityError(error.message, hint=error.hint or hint)
    return Conflict(f"{tag} was replaced on {remote.properties.url} while it was being read", hint="try again")


def require_space(store: Store, partial: Partial, tag: Tag) -> None:
    """Raise `NoSpace` if the disk of `store` has no room for what `partial` has not allocated yet."""
    needed = missing_allocation(partial)
    anchor = store.layout.state
    while not anchor.exists():
        anchor = anchor.parent
    disk = os.statvfs(anchor)
    free = disk.f_bavail * disk.f_frsize
    if needed > free:
        raise NoSpace(
            f"{tag} needs {needed / _MIB:.1f} MiB more in {store.home}, {free / _MIB:.1f} MiB are free",
            hint="free some space, or use another store: bentosync --store DIR pull …",
        )
