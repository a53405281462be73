"""Copy: a version from one remote to another, under the same pin, by the same order of writes as a push.

The manifest is the source's, body for body, so what was pinned, signed or remembered about it holds on the mirror too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bentosync.errors import AuthError, Conflict, InvalidArgument
from bentosync.events import Finished
from bentosync.remote import keys
from bentosync.remote.contract import Remote
from bentosync.settings import Settings
from bentosync.store.store import Store
from bentosync.sync import pointer
from bentosync.sync.claim import Claim, claim
from bentosync.sync.documents import Pointer
from bentosync.sync.publication import Publication
from bentosync.sync.resolve import Resolved, resolve
from bentosync.sync.turn import turn
from bentosync.sync.watch import Watch
from bentosync.sync.writing import exclusive
from bentosync.tag import Reference
from bentosync.transfer import engine
from bentosync.transfer.relay import Passage, Relay
from bentosync.transfer.repack import carry
from bentosync.transfer.tally import Tally


async def copy(
    store: Store,
    source: Remote,
    target: Remote,
    reference: Reference,
    *,
    settings: Settings,
    watch: Watch,
    force: bool = False,
    single_writer: bool = False,
) -> Finished:
    """Publish on `target` the version that `reference` names on `source`; the store only lends its lock and its id.

    Raises:
        NotFound: `source` has no such version.
        Conflict: `target` has another manifest under that name and `force` is not set, or another writer won.
        IntegrityError: Bytes kept arriving wrong, or a pin does not match.
        InvalidArgument: Both are the same remote, or `target` ignores conditional writes, without `single_writer`.
    """
    if source.properties.url == target.properties.url:
        raise InvalidArgument(f"{source.properties.url} is both source and target")
    watch.phase(reference.name, "resolve")
    found = await resolve(source, reference)
    async with turn(store, found.tag, seconds=settings.lock_seconds, observer=watch):
        job = _Copy(source, target, found, settings, watch, strong=reference.pin is not None)
        return await job.run(owner=store.owner, force=force, single_writer=single_writer)


class _Copy:
    """One copy whose turn it is."""

    def __init__(
        self, source: Remote, target: Remote, found: Resolved, settings: Settings, watch: Watch, *, strong: bool
    ) -> None:
        self._source = source
        self._target = target
        self._found = found
        self._tag = found.tag
        self._settings = settings
        self._watch = watch
        self._strong = strong

    async def run(self, *, owner: str, force: bool, single_writer: bool) -> Finished:
        manifest = self._found.manifest
        publication = Publication(self._target, self._tag, self._taken)
        standing = await publication.standing(force=force)
        existing = standing.version if standing else None
        if existing is not None and existing.manifest.digest == manifest.digest:
            return await self._up_to_date(publication)
        if existing is not None and not force:
            raise self._taken(existing)
        publication.exclusive = await exclusive(self._target, single_writer=single_writer, observer=self._watch)
        claimed = await claim(
            self._target, self._tag, tuple((entry.path, entry.size) for entry in manifest.files),
            owner=owner, exclusive=publication.exclusive, published=standing.push_id if standing else None,
        )  # fmt: skip
        async with engine.alongside(claimed.keep_alive()):
            tally = await self._carry(claimed, exclusive=publication.exclusive)
        self._watch.phase(str(self._tag), "commit")
        pin = await publication.publish(manifest, claimed, standing)
        if pin != manifest.pin:
            raise Conflict(f"{self._tag} was pushed to {self._target.properties.url} meanwhile, as {pin}")
        return self._watch.finish("done", pin, moved=tally.sent, reused=tally.reused)

    async def _up_to_date(self, publication: Publication) -> Finished:
        card = self._found.manifest.card
        self._start(reused=card.size)
        # Whoever may only read leaves `latest` as it is.
        with contextlib.suppress(AuthError):
            await pointer.advance(
                self._target, self._tag.name, Pointer.to(self._found.manifest), exclusive=publication.exclusive
            )
        return self._watch.finish("up-to-date", self._found.manifest.pin, moved=0, reused=card.size)

    async def _carry(self, claimed: Claim, *, exclusive: bool) -> Tally:
        self._start(reused=0)
        self._watch.phase(str(self._tag), "transfer")
        if claimed.adopted:
            async for upload in self._target.list_uploads(keys.folder_prefix(self._tag, claimed.push_id)):
                await self._target.abort_upload(upload)
        sizes = {entry.path: entry.size for entry in self._found.manifest.files}
        self._watch.meter.limit_bytes_per_second = self._settings.transfer.limit_bytes_per_second
        tally = Tally(lambda path, count: self._watch.advance(path, sizes[path], count), self._watch.meter)
        relay = Relay(
            self._source,
            self._target,
            jobs=self._settings.transfer.streams_max,
            memory_bytes=self._settings.transfer.memory_bytes,
            strong=self._strong,
            exclusive=exclusive,
            resumed=claimed.adopted,
            tally=tally,
        )
        await relay.run(
            [
                Passage(entry, self._found.key(entry.path), keys.file_key(self._tag, claimed.push_id, entry.path))
                for entry in self._found.manifest.files
            ]
        )
        await carry(self._source, self._target, self._packs(claimed), memory_bytes=self._settings.transfer.memory_bytes)
        return tally

    def _packs(self, claimed: Claim) -> Iterator[tuple[str, str, int]]:
        for key, pack in self._found.packs().items():
            yield key, keys.pack_key(self._tag, claimed.push_id, pack.number), pack.size

    def _start(self, *, reused: int) -> None:
        card = self._found.manifest.card
        url = self._target.properties.url
        self._watch.start(str(self._tag), url, files=card.files, total_bytes=card.size, reused_bytes=reused)

    def _taken(self, standing: Resolved) -> Conflict:
        return Conflict(
            f"{self._tag} is {standing.manifest.pin} on {self._target.properties.url}, "
            f"and {self._found.manifest.pin} on {self._source.properties.url}",
            hint="look at both before you replace one: --force",
        )
