"""Pull: pointer, manifest, missing blocks, publish.

Nothing of a version shows in the store before all of it is proven. An interrupted pull leaves a partial named by the
manifest's digest; the next pull of the same manifest, by any process, goes on from its proven blocks.
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from typing import Literal, get_args

from msgspec import Struct

from bentosync.blocking import in_thread
from bentosync.errors import BentoMLException, Conflict, InvalidArgument, NotFound, from_os_error
from bentosync.events import Finished
from bentosync.manifest.values import Manifest
from bentosync.remote.contract import Remote
from bentosync.settings import Settings
from bentosync.store.model import Model
from bentosync.store.partial import Partial
from bentosync.store.record import Origin
from bentosync.store.seen import Seen
from bentosync.store.store import Store
from bentosync.sync.assembly import Assembly
from bentosync.sync.resolve import Resolved, resolve
from bentosync.sync.turn import turn
from bentosync.sync.watch import Watch
from bentosync.tag import Reference

Verify = Literal["auto", "full", "strong"]


class Pulled(Struct, frozen=True):
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
        InvalidArgument: `verify` is no strength of a pull.
        Conflict: The store holds other content under that name and `force` is not set, or the remote's manifest is not
            the one seen before (a pin says that it is meant).
        IntegrityError: Bytes kept arriving wrong, or a pin does not match.
        NoSpace, LocalIOError: The disk is full or refuses.
    """
    check_verify(verify)
    watch.phase(reference.name, "resolve")
    found = await resolve(remote, reference)
    place = await remote.place()
    seen = Seen(store.layout.state)
    # Who names the content by its pin has said which one is meant.
    if not force and reference.pin is None:
        seen.check(place, found.tag, found.manifest.pin)
    async with turn(store, found.tag, seconds=settings.lock_seconds, observer=watch):
        job = _Pull(store, remote, found, settings, watch, strong=verify == "strong" or reference.pin is not None)
        pulled = await job.run(force=force)
    seen.remember(place, found.tag, found.manifest.pin)
    store.used(found.tag)
    return pulled


async def complete(
    store: Store,
    remote: Remote,
    found: Resolved,
    partial: Partial,
    *,
    settings: Settings,
    watch: Watch,
    strong: bool,
) -> Pulled:
    """Fetch what an open partial still lacks and publish it, as `pull` does; the caller has had its turn all along.

    Raises:
        Conflict: The store meanwhile holds other content under that name.
        IntegrityError, NetworkError, NoSpace, LocalIOError: As `pull`.
    """
    pulled = await _Pull(store, remote, found, settings, watch, strong=strong, partial=partial).run(force=False)
    Seen(store.layout.state).remember(await remote.place(), found.tag, found.manifest.pin)
    store.used(found.tag)
    return pulled


def check_verify(verify: str) -> None:
    """Refuse what is no strength of a pull. Raises `InvalidArgument`."""
    if verify not in get_args(Verify):
        hint = "every byte that crosses a network is checked; leave verify at auto" if verify == "off" else None
        raise InvalidArgument(f"verify={verify!r} is not one of {', '.join(get_args(Verify))}", hint=hint)


class _Pull:
    """One pull whose manifest is known and whose turn it is."""

    def __init__(
        self,
        store: Store,
        remote: Remote,
        found: Resolved,
        settings: Settings,
        watch: Watch,
        *,
        strong: bool,
        partial: Partial | None = None,
    ) -> None:
        self._partial = partial
        self._store = store
        self._remote = remote
        self._found = found
        self._manifest: Manifest = found.manifest
        self._settings = settings
        self._watch = watch
        self._strong = strong

    async def run(self, *, force: bool) -> Pulled:
        tag = self._found.tag
        present = await self._current(damage_is_fine=force)
        if present is not None:
            return await self._up_to_date(present)
        taken = os.path.lexists(self._store.layout.version_dir(tag))
        if taken and not force:
            raise Conflict(
                f"{tag} in {self._store.home} has other content than on {self._remote.properties.url}",
                hint=f"keep it under another version, or replace it: bentosync pull {tag} --force",
            )
        try:
            return await self._fetch(replace=taken)
        except (OSError, BentoMLException) as error:
            # Where locks do nothing, another process may have been first, and taken the partial that both filled.
            present = await self._current(damage_is_fine=True)
            if present is not None:
                return await self._up_to_date(present)
            if isinstance(error, OSError):
                raise from_os_error(error, f"pulling {tag}") from error
            raise

    async def _current(self, *, damage_is_fine: bool) -> Model | None:
        """The store's version, if it is the one to be pulled. One that is damaged is not, or else an error."""
        try:
            present = self._store.find(self._found.tag)
            if present is None:
                return None
            self._watch.phase(str(self._found.tag), "check")
            mine = await in_thread(self._store.describe, present)
        except NotFound:
            # Somebody deletes or replaces it this very moment, so there is no saying what will be there.
            return None
        except BentoMLException:
            if damage_is_fine:
                return None
            raise
        return present if mine.card.content == self._manifest.card.content else None

    async def _up_to_date(self, present: Model) -> Pulled:
        await in_thread(self._store.mend_latest, present.tag)
        await in_thread(self._store.adopt, present.tag, self._manifest)
        card = self._manifest.card
        self._watch.start(
            str(self._found.tag), self._remote.properties.url,
            files=card.files, total_bytes=card.size, reused_bytes=card.size,
        )  # fmt: skip
        finished = self._watch.finish("up-to-date", self._manifest.pin, moved=0, reused=card.size)
        return Pulled(present, finished)

    async def _fetch(self, *, replace: bool) -> Pulled:
        partial = self._partial or Partial(self._store.layout.partial_dir(self._manifest.digest), self._manifest)
        assembly = Assembly(
            self._store, self._remote, self._found, settings=self._settings, watch=self._watch, strong=self._strong
        )
        # Other content under the same name is most often an older life of the same model, with equal files.
        seed = self._store.layout.version_dir(self._found.tag) if replace else None
        assembled = await assembly.run(partial, seed=seed)
        origin = Origin(self._remote.properties.url, datetime.now(UTC).isoformat())
        model = await in_thread(self._store.publish, assembled.tree, self._manifest, replace=replace, origin=origin)
        await in_thread(shutil.rmtree, partial.root, ignore_errors=True)
        # What the manifest carries inline moved with it.
        moved = assembled.fetched + sum(entry.size for entry in self._manifest.files if entry.inline is not None)
        return Pulled(
            model,
            self._watch.finish(
                "done", self._manifest.pin,
                moved=moved, reused=self._manifest.card.size - moved, refetched=assembled.refetched,
            ),
        )  # fmt: skip
