"""Checkout: some or all files of a remote's version, in the store's partial or as plain files in the user's folder.

A version shows in the store only when all of it is there. Of a selection the partial keeps what was fetched, marked
with what was asked for, so that a later pull of the whole version fetches only the rest.
"""

from __future__ import annotations

import json
from pathlib import Path

from msgspec import Struct

from bentosync.blocking import in_thread
from bentosync.errors import from_os_error
from bentosync.events import Finished
from bentosync.remote.contract import Remote
from bentosync.settings import Settings
from bentosync.store.copying import Copied, copy_files
from bentosync.store.partial import Partial
from bentosync.store.seen import Seen
from bentosync.store.store import Store
from bentosync.sync.assembly import Assembly
from bentosync.sync.pull import Verify, check_verify, pull
from bentosync.sync.resolve import Resolved, resolve
from bentosync.sync.selection import Selection
from bentosync.sync.turn import turn
from bentosync.sync.watch import Watch
from bentosync.tag import Reference, Tag


class CheckedOut(Struct, frozen=True):
    """Where the files are. `complete` says whether the store now has the whole version."""

    tag: Tag
    path: Path
    complete: bool
    finished: Finished
    copied: Copied | None


async def checkout(
    store: Store,
    remote: Remote,
    reference: Reference,
    *,
    selection: Selection,
    to: Path | None,
    settings: Settings,
    watch: Watch,
    force: bool = False,
    verify: Verify = "auto",
) -> CheckedOut:
    """Fetch the selected files of the version that `reference` names, and copy them to the folder `to` if one is given.

    Raises:
        NotFound: There is no such version, or nothing of it is selected.
        Conflict: The folder holds other bytes under the same name, or as `pull`; `force` replaces them.
        IntegrityError, AuthError, NetworkError, NoSpace, LocalIOError: As `pull`.
    """
    check_verify(verify)
    found = await resolve(remote, reference)
    chosen = selection.of(found.manifest)
    entries = [entry for entry in found.manifest.files if entry.path in chosen]
    if len(entries) == len(found.manifest.files):
        exactly = Reference(found.tag.name, found.tag.version, reference.pin)
        pulled = await pull(store, remote, exactly, settings=settings, watch=watch, force=force, verify=verify)
        source, finished, complete = Path(pulled.model.path), pulled.finished, True
    else:
        strong = verify == "strong" or reference.pin is not None
        async with turn(store, found.tag, seconds=settings.lock_seconds, observer=watch):
            source, finished, complete = await _some(
                store, remote, found, chosen, settings, watch, strong=strong, pinned=reference.pin is not None
            )
    if to is None:
        return CheckedOut(found.tag, source, complete, finished, None)
    try:
        copied = await in_thread(copy_files, source, to, entries, replace=force)
    except OSError as error:
        raise from_os_error(error, f"copying {found.tag} to {to}") from error
    return CheckedOut(found.tag, to, complete, finished, copied)


async def _some(
    store: Store,
    remote: Remote,
    found: Resolved,
    chosen: frozenset[str],
    settings: Settings,
    watch: Watch,
    *,
    strong: bool,
    pinned: bool,
) -> tuple[Path, Finished, bool]:
    """The tree that holds the chosen files: the version's if the store has it, else its partial's."""
    url, pin = remote.properties.url, found.manifest.pin
    seen = Seen(store.layout.state)
    place = await remote.place()
    if not pinned:
        seen.check(place, found.tag, pin)
    total = sum(entry.size for entry in found.manifest.files if entry.path in chosen)
    present = store.find(found.tag)
    if present is not None:
        here = await in_thread(store.describe, present)
        if here.card.content == found.manifest.card.content:
            watch.start(str(found.tag), url, files=len(chosen), total_bytes=total, reused_bytes=total)
            return Path(present.path), watch.finish("up-to-date", pin, moved=0, reused=total), True
    partial = Partial(store.layout.partial_dir(found.manifest.digest), found.manifest, chosen)
    assembly = Assembly(store, remote, found, settings=settings, watch=watch, strong=strong)
    try:
        assembled = await assembly.run(partial)
        mark = json.dumps({"files": sorted(chosen), "format": 1}, ensure_ascii=False)
        await in_thread((partial.root / "selection.json").write_text, mark + "\n")
    except OSError as error:
        raise from_os_error(error, f"pulling {found.tag}") from error
    seen.remember(place, found.tag, pin)
    inline = sum(entry.size for entry in partial.entries if entry.inline is not None)
    moved = assembled.fetched + inline
    finished = watch.finish("done", pin, moved=moved, reused=total - moved, refetched=assembled.refetched)
    return assembled.tree, finished, False
