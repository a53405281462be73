"""Repair: what a version's manifest says and its files do not, fetched again and put in place whole.

The tree is rebuilt beside the damaged one: good blocks are taken from it (proven once more), bad ones from a remote
whose manifest has the same digest, and then the new tree takes the old one's place in one step. Nothing is mended in
place: a reader sees the damaged version or the whole one.
"""

from __future__ import annotations

import shutil

from bentosync.blocking import in_thread
from bentosync.errors import Conflict, NotFound, from_os_error
from bentosync.events import Finished
from bentosync.remote.contract import Remote
from bentosync.settings import Settings
from bentosync.store.partial import Partial
from bentosync.store.proof import Strength, check_strength
from bentosync.store.record import Record
from bentosync.store.store import Store
from bentosync.sync.assembly import Assembly
from bentosync.sync.resolve import Resolved, fetch
from bentosync.sync.turn import turn
from bentosync.sync.watch import Watch
from bentosync.tag import Reference, Tag


async def repair(
    store: Store, remote: Remote, tag: Tag, *, settings: Settings, watch: Watch, strength: Strength = "full"
) -> Finished:
    """Make a damaged version whole again with as few bytes of `remote` as it needs; `moved_bytes` says how many.

    Raises:
        NotFound: Nothing is remembered about the version, or the remote does not have it.
        Conflict: The remote's manifest is not the remembered one.
        IntegrityError: The remote's bytes are damaged too.
        NoSpace, LocalIOError: The disk is full (the whole version is built again beside) or refuses.
    """
    check_strength(strength)
    async with turn(store, tag, seconds=settings.lock_seconds, observer=watch):
        watch.phase(str(tag), "resolve")
        known = store.record(tag)
        if known is None:
            raise NotFound(f"no digests of {tag} are remembered", hint=f"bentosync pull --force {tag}")
        found = await _same(remote, tag, known)
        try:
            return await _rebuild(store, remote, found, known, settings, watch, strong=strength == "strong")
        except OSError as error:
            raise from_os_error(error, f"repairing {tag}") from error


async def _same(remote: Remote, tag: Tag, known: Record) -> Resolved:
    """The remote's manifest, if it is the one that the local version was proven against."""
    found = await fetch(remote, tag, Reference(tag.name, tag.version, None))
    if found.manifest.digest != known.manifest.digest:
        raise Conflict(
            f"{tag} on {remote.properties.url} is {found.manifest.pin}, the local version is {known.manifest.pin}",
            hint=f"name a remote that has it (--remote), or take the other one: bentosync pull --force {tag}",
        )
    return found


async def _rebuild(
    store: Store, remote: Remote, found: Resolved, known: Record, settings: Settings, watch: Watch, *, strong: bool
) -> Finished:
    partial = Partial(store.layout.partial_dir(found.manifest.digest), found.manifest)
    assembly = Assembly(store, remote, found, settings=settings, watch=watch, strong=strong)
    assembled = await assembly.run(partial, seed=store.layout.version_dir(found.tag))
    await in_thread(store.publish, assembled.tree, found.manifest, replace=True, origin=known.origin)
    await in_thread(shutil.rmtree, partial.root, ignore_errors=True)
    reused = found.manifest.card.size - assembled.fetched
    return watch.finish(
        "done", found.manifest.pin, moved=assembled.fetched, reused=reused, refetched=assembled.refetched
    )
