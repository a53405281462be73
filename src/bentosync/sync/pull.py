"""Pull: pointer, manifest, missing blocks, publish.

Nothing of a version shows in the store before all of it is proven. An interrupted pull leaves a partial named by the
manifest's digest; the next pull of the same manifest, by any process, goes on from its proven blocks.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from bentosync.errors import BentoMLException, Conflict, IntegrityError, NoSpace, NotFound, from_os_error
from bentosync.events import Finished
from bentosync.manifest.values import FileEntry, Manifest
from bentosync.remote.contract import Remote
from bentosync.settings import Settings
from bentosync.store.model import Model
from bentosync.store.partial import Partial, PartialFile, missing_allocation
from bentosync.store.record import Origin
from bentosync.store.seen import Seen
from bentosync.store.store import Store
from bentosync.sync.resolve import Resolved, fetch, resolve
from bentosync.sync.turn import turn
from bentosync.sync.watch import Watch
from bentosync.tag import Reference
from bentosync.transfer import download

Verify = Literal["off", "auto", "full", "strong"]


@dataclass(frozen=True, slots=True)
class Pulled:
    """The version in the local store, and how it got there."""

    model: Model
    finished: Finished


async def pull(
    store: Store,
    remote: Remote,
    reference: Reference,
    *,
    settings: Settings,
    watch: Watch,
    force: bool = False,
    verify: Verify = "auto",
) -> Pulled:
    """Make the version that `reference` names on `remote` a complete version of `store`.

    Every byte is checked against its block's XXH3; `verify="strong"` or a pin adds BLAKE3.

    Raises:
        NotFound: The remote has no such version.
        Conflict: The store holds other content under that name and `force` is not set, or the remote's manifest is not
            the one seen before.
        IntegrityError: Bytes kept arriving wrong, or a pin does not match.
        NoSpace, LocalIOError: The disk is full or refuses.
    """
    watch.phase(reference.name, "resolve")
    found = await resolve(remote, reference)
    url = remote.properties.url
    seen = Seen(store.layout.state)
    if not force:
        seen.check(url, found.tag, found.manifest.pin)
    async with turn(store, found.tag, seconds=settings.lock_seconds, observer=watch):
        job = _Pull(store, remote, found, settings, watch, strong=verify == "strong" or reference.pin is not None)
        pulled = await job.run(force=force)
    seen.remember(url, found.tag, found.manifest.pin)
    return pulled


class _Pull:
    """One pull whose manifest is known and whose turn it is."""

    def __init__(
        self, store: Store, remote: Remote, found: Resolved, settings: Settings, watch: Watch, *, strong: bool
    ) -> None:
        self._store = store
        self._remote = remote
        self._found = found
        self._manifest: Manifest = found.manifest
        self._settings = settings
        self._watch = watch
        self._strong = strong

    async def run(self, *, force: bool) -> Pulled:
        present = self._store.find(self._found.tag)
        if present is not None:
            if await self._is_current(present):
                return self._up_to_date(present)
            if not force:
                raise Conflict(
                    f"{self._found.tag} in {self._store.home} has other content than on {self._remote.properties.url}",
                    hint=f"keep it under another version, or replace it: bentosync pull {self._found.tag} --force",
                )
        root = self._store.layout.partial_dir(self._manifest.digest)
        try:
            return await self._fetch(Partial(root, self._manifest), replace=present is not None)
        except OSError as error:
            raise from_os_error(error, f"pulling {self._found.tag}") from error

    async def _is_current(self, present: Model) -> bool:
        self._watch.phase(str(self._found.tag), "check")
        mine = await asyncio.to_thread(self._store.describe, present)
        return mine.card.content == self._manifest.card.content

    def _up_to_date(self, present: Model) -> Pulled:
        card = self._manifest.card
        self._start(reused=card.size)
        finished = self._watch.finish("up-to-date", self._manifest.pin, moved=0, reused=card.size)
        return Pulled(present, finished)

    async def _fetch(self, partial: Partial, *, replace: bool) -> Pulled:
        self._require_space(partial)
        try:
            await asyncio.to_thread(partial.prepare, self._found.document, strong=self._strong)
            try:
                tally, reused = await self._download(partial)
            except IntegrityError as error:
                raise await self._explained(error) from error
            self._watch.phase(str(self._found.tag), "commit")
            tree = await asyncio.to_thread(partial.finish)
        finally:
            partial.close()
        origin = Origin(self._remote.properties.url, datetime.now(UTC).isoformat())
        model = await asyncio.to_thread(self._store.publish, tree, self._manifest, replace=replace, origin=origin)
        await asyncio.to_thread(shutil.rmtree, partial.root, ignore_errors=True)
        moved = self._manifest.card.size - reused
        return Pulled(
            model, self._watch.finish("done", self._manifest.pin, moved=moved, reused=reused, refetched=tally.dropped)
        )

    async def _explained(self, error: IntegrityError) -> BentoMLException:
        """A version that was deleted or replaced meanwhile looks damaged; say what really happened."""
        tag = self._found.tag
        try:
            now = await fetch(self._remote, tag, Reference(tag.name, tag.version, None))
        except NotFound:
            return NotFound(f"{tag} was deleted from {self._remote.properties.url} while it was being pulled")
        except BentoMLException:
            return error
        if now.manifest.pin == self._manifest.pin and now.envelope.push_id == self._found.envelope.push_id:
            return error
        return Conflict(
            f"{tag} was replaced on {self._remote.properties.url} while it was being pulled", hint="pull again"
        )

    def _start(self, *, reused: int) -> None:
        card = self._manifest.card
        self._watch.start(
            str(self._found.tag), self._remote.properties.url,
            files=card.files, total_bytes=card.size, reused_bytes=reused,
        )  # fmt: skip

    async def _download(self, partial: Partial) -> tuple[download.Tally, int]:
        unit = download.unit_bytes(self._strong)
        already = {f.entry.path: f.entry.size - sum(s.length for s in f.missing(unit)) for f in partial.files}
        reused = sum(already.values())
        self._start(reused=reused)
        for entry in self._manifest.files:
            if entry.inline is not None:
                self._watch.advance(entry.path, entry.size, entry.size)

        def proven(entry: FileEntry, count: int) -> None:
            self._watch.advance(entry.path, entry.size, count, already[entry.path])

        tally = download.Tally(proven)
        transfer = self._settings.transfer
        self._watch.phase(str(self._found.tag), "transfer")
        await download.download(
            self._remote,
            [self._target(file) for file in partial.files if file.blocks],
            jobs=transfer.jobs,
            memory_bytes=transfer.memory_bytes,
            range_bytes=transfer.range_bytes,
            strong=self._strong,
            tally=tally,
        )
        return tally, reused

    def _target(self, file: PartialFile) -> download.Target:
        return download.Target(self._found.key(file.entry.path), file)

    def _require_space(self, partial: Partial) -> None:
        needed = missing_allocation(partial.root, self._manifest)
        anchor = self._store.layout.state
        while not anchor.exists():
            anchor = anchor.parent
        disk = os.statvfs(anchor)
        free = disk.f_bavail * disk.f_frsize
        if needed > free:
            raise NoSpace(
                f"{self._found.tag} needs {needed} more bytes in {self._store.home}, {free} are free",
                hint="free some space, or use another store: bentosync --store DIR pull …",
            )
