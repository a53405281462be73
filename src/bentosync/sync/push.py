"""Push: record, files, manifest, pointer, in this order, so that a reader sees a whole version or none.

The files are read once: digested, checksummed and sent from the same buffers. When the store knows their digests
already (it hashed them at `create`, and their stamps still hold) only the checksum for the wire is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bentosync.blocking import in_thread
from bentosync.errors import AuthError, Conflict, from_os_error
from bentosync.events import Finished, Warned
from bentosync.manifest import paths
from bentosync.manifest.values import Manifest
from bentosync.remote import keys
from bentosync.remote.contract import Remote, Upload
from bentosync.settings import Settings
from bentosync.store.model import Model
from bentosync.store.seen import Seen
from bentosync.store.store import Store
from bentosync.store.tree import Tree, scan
from bentosync.sync import pointer
from bentosync.sync.claim import Claim, claim
from bentosync.sync.documents import Pointer
from bentosync.sync.publication import Publication, Standing
from bentosync.sync.replacement import require_undamaged
from bentosync.sync.resolve import Resolved
from bentosync.sync.turn import turn
from bentosync.sync.watch import Watch
from bentosync.sync.writing import exclusive
from bentosync.transfer import engine, plateau
from bentosync.transfer.packs import packs
from bentosync.transfer.reading import Known, Source
from bentosync.transfer.tally import Tally
from bentosync.transfer.upload import Uploader


async def push(
    store: Store,
    remote: Remote,
    model: Model,
    *,
    settings: Settings,
    watch: Watch,
    force: bool = False,
    as_is: bool = False,
    resend: bool = False,
    single_writer: bool = False,
) -> Finished:
    """Publish a local version on `remote`.

    With `force` it replaces other content there, if its own files are what they were when they were recorded, or
    `as_is` says that the changes are meant. With `resend` nothing on the remote is trusted: every file is sent again.

    Raises:
        Conflict: The remote holds other content under that name and `force` is not set, or another push won.
        IntegrityError: A file changed while it was read, or since it was recorded and `as_is` is not set; nothing is
            published.
        UnsafeInput: What stands under the version's name is no manifest, and `force` is not set.
        InvalidArgument: The remote ignores conditional writes and `single_writer` is not set.
        LocalIOError: A file cannot be read.
    """
    async with turn(store, model.tag, seconds=settings.lock_seconds, observer=watch):
        try:
            job = _Push(store, remote, model, settings, watch)
            return await job.run(force=force, as_is=as_is, resend=resend, single_writer=single_writer)
        except OSError as error:
            raise from_os_error(error, f"pushing {model.tag}") from error


class _Push:
    """One push whose turn it is."""

    def __init__(self, store: Store, remote: Remote, model: Model, settings: Settings, watch: Watch) -> None:
        self._store = store
        self._remote = remote
        self._model = model
        self._tag = model.tag
        self._url = remote.properties.url
        self._settings = settings
        self._watch = watch
        self._publication = Publication(remote, model.tag, self._taken)

    async def run(self, *, force: bool, as_is: bool, resend: bool, single_writer: bool) -> Finished:
        self._watch.phase(str(self._tag), "check")
        standing = await self._publication.standing(force=force)
        existing = standing.version if standing else None
        current = existing is not None and await self._is_current(existing)
        if existing is not None and current and not resend:
            if await self._is_whole(existing):
                return await self._up_to_date(existing)
            self._watch(Warned(f"{self._tag} on {self._url} lacks some of its files: they are sent again"))
        elif existing is not None and not current and not force:
            raise self._taken(existing)
        elif standing is not None and not as_is:
            there = existing.manifest.pin if existing else "the broken manifest"
            await in_thread(require_undamaged, self._store, self._tag, there=f"{there} on {self._url}")
        self._publication.exclusive = await exclusive(self._remote, single_writer=single_writer, observer=self._watch)
        tree = await in_thread(scan, Path(self._model.path))
        paths.check_all((file.path for file in tree.files), tree.directories)
        files = tuple((file.path, file.size) for file in tree.files)
        published = standing.push_id if standing else None
        claimed = await claim(
            self._remote, self._tag, files,
            owner=self._store.owner, exclusive=self._publication.exclusive, published=published, observer=self._watch,
        )  # fmt: skip
        async with engine.alongside(claimed.keep_alive()):
            tally = await self._send(tree, claimed)
        manifest = await in_thread(self._store.remember, self._model, tally.digested, tree.directories, tally.parts)
        return await self._publish(manifest, claimed, standing, tally)

    async def _is_current(self, existing: Resolved) -> bool:
        mine = await in_thread(self._store.describe, self._model)
        return mine.card.content == existing.manifest.card.content

    async def _is_whole(self, existing: Resolved) -> bool:
        """Whether every file lies on the remote at its size; without the permission to list, that is believed."""
        prefix = keys.folder_prefix(self._tag, existing.envelope.push_id)
        try:
            sizes = {stat.key: stat.size async for stat in self._remote.list(prefix)}
        except AuthError:
            return True
        return all(sizes.get(existing.key(entry.path)) == entry.size for entry in existing.manifest.files)

    async def _up_to_date(self, existing: Resolved) -> Finished:
        card = existing.manifest.card
        self._watch.start(str(self._tag), self._url, files=card.files, total_bytes=card.size, reused_bytes=card.size)
        await self._finish_earlier(existing)
        return self._watch.finish("up-to-date", existing.manifest.pin, moved=0, reused=card.size)

    async def _finish_earlier(self, existing: Resolved) -> None:
        """What a push that died after its manifest left undone; who may only read leaves it so."""
        try:
            await pointer.advance(
                self._remote, self._tag.name, Pointer.to(existing.manifest), exclusive=self._publication.exclusive
            )
            await self._remote.delete(keys.push_record_key(self._tag, existing.envelope.push_id))
        except AuthError:
            return

    def _taken(self, existing: Resolved) -> Conflict:
        return Conflict(
            f"{self._tag} exists on {self._url} with other content ({existing.manifest.pin})",
            hint=f"bentosync verify {self._tag} tells whether the local files changed; if they are meant to replace "
            f"the remote's: bentosync push {self._tag} --force",
        )

    async def _send(self, tree: Tree, claimed: Claim) -> Tally:
        known = await in_thread(self._known)
        sizes = {file.path: file.size for file in tree.files}
        self._watch.start(str(self._tag), self._url, files=len(sizes), total_bytes=sum(sizes.values()), reused_bytes=0)
        self._watch.phase(str(self._tag), "transfer")
        self._watch.meter.limit_bytes_per_second = self._settings.transfer.limit_bytes_per_second
        tally = Tally(lambda path, count: self._watch.advance(path, sizes[path], count), self._watch.meter)
        uploader = Uploader(
            self._remote,
            jobs=self._settings.transfer.streams_max,
            memory_bytes=self._settings.transfer.memory_bytes,
            uploads=await self._unfinished(claimed),
            resumed=claimed.adopted,
            exclusive=self._publication.exclusive,
            tally=tally,
            native=self._settings.native,
            controller=plateau.controller(seeking=self._settings.transfer.seeking),
        )
        root, folder = Path(self._model.path), keys.folder_prefix(self._tag, claimed.push_id)
        await uploader.send_all(
            [Source(root, file, folder + file.path, known.get(file.path)) for file in tree.files],
            {keys.pack_key(self._tag, claimed.push_id, pack.number): pack for pack in packs(sizes.items())},
        )
        return tally

    def _known(self) -> Mapping[str, Known]:
        """By path, the digests that the store remembers."""
        record = self._store.record(self._tag)
        if record is None:
            return {}
        entries = {entry.path: entry for entry in record.manifest.files}
        return {
            path: Known(entries[path], stamp, record.parts.get(path))
            for path, stamp in record.stamps.items()
            if path in entries
        }

    async def _unfinished(self, claimed: Claim) -> Mapping[str, Upload]:
        if not claimed.adopted:
            return {}
        prefix = keys.folder_prefix(self._tag, claimed.push_id)
        return {unfinished.key: unfinished async for unfinished in self._remote.list_uploads(prefix)}

    async def _publish(self, manifest: Manifest, claimed: Claim, standing: Standing | None, tally: Tally) -> Finished:
        self._watch.phase(str(self._tag), "commit")
        pin = await self._publication.publish(manifest, claimed, standing)
        Seen(self._store.layout.state).remember(await self._remote.place(), self._tag, pin)
        return self._watch.finish("done", pin, moved=tally.sent, reused=tally.reused)
