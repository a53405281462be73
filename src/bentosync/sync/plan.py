"""What a push or a pull would do, without doing it: which files, how many bytes, how many of them need not move."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from bentosync.blocking import in_thread
from bentosync.errors import Conflict, NotFound, UnsafeInput
from bentosync.manifest.values import BLOCK_BYTES, Manifest
from bentosync.remote.contract import Remote
from bentosync.store.model import Model
from bentosync.store.partial import Partial
from bentosync.store.seen import Seen
from bentosync.store.store import Store
from bentosync.sync.replacement import require_undamaged
from bentosync.sync.resolve import fetch, resolve
from bentosync.sync.selection import Selection
from bentosync.tag import Reference


class FilePlan(Struct, frozen=True):
    """One file, and how many of its bytes would move."""

    path: str
    size_bytes: int
    move_bytes: int


class Plan(Struct, frozen=True):
    """A push or pull that was not done. What an interrupted push left on the remote is not subtracted."""

    operation: Literal["push", "pull"]
    tag: str
    remote: str
    digest: str
    files: tuple[FilePlan, ...]

    @property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def move_bytes(self) -> int:
        """Bytes that would move."""
        return sum(file.move_bytes for file in self.files)


async def plan_pull(
    store: Store, remote: Remote, reference: Reference, *, selection: Selection, force: bool = False
) -> Plan:
    """What pulling would fetch; what an interrupted pull claims to have is believed.

    Raises:
        NotFound: There is no such version, or nothing of it is selected.
        Conflict: As the pull would.
    """
    found = await resolve(remote, reference)
    url, tag = remote.properties.url, found.tag
    if not force and reference.pin is None:
        Seen(store.layout.state).check(await remote.place(), tag, found.manifest.pin)
    chosen = selection.of(found.manifest)
    present = store.find(tag)
    if present is not None:
        here = await in_thread(store.describe, present)
        if here.card.content == found.manifest.card.content:
            return Plan("pull", str(tag), url, found.manifest.pin, _unmoved(found.manifest, chosen))
        if not force:
            raise Conflict(
                f"{tag} in {store.home} has other content than on {url}", hint=f"bentosync pull {tag} --force"
            )
    partial = Partial(store.layout.partial_dir(found.manifest.digest), found.manifest, chosen)
    await in_thread(partial.glance)
    missing = {file.entry.path: sum(span.length for span in file.missing(BLOCK_BYTES)) for file in partial.files}
    files = (FilePlan(entry.path, entry.size, missing.get(entry.path, entry.size)) for entry in partial.entries)
    return Plan("pull", str(tag), url, found.manifest.pin, tuple(files))


async def plan_push(store: Store, remote: Remote, model: Model, *, force: bool = False, as_is: bool = False) -> Plan:
    """What pushing would send; the files are digested if they are not known, as for a push.

    Raises:
        Conflict: The remote holds other content under that name and `force` is not set.
        IntegrityError: As the push would.
    """
    url, tag = remote.properties.url, model.tag
    mine = await in_thread(store.describe, model)
    every = frozenset(entry.path for entry in mine.files)
    existing, broken = None, False
    try:
        existing = await fetch(remote, tag, Reference(tag.name, tag.version, None))
    except NotFound:
        pass
    except UnsafeInput:
        if not force:
            raise
        broken = True
    if existing is not None and existing.manifest.card.content == mine.card.content:
        return Plan("push", str(tag), url, mine.pin, _unmoved(mine, every))
    if existing is not None and not force:
        raise Conflict(
            f"{tag} exists on {url} with other content ({existing.manifest.pin})",
            hint=f"push it under another version, or replace it: bentosync push {tag} --force",
        )
    if (existing is not None or broken) and not as_is:
        there = existing.manifest.pin if existing else "the broken manifest"
        await in_thread(require_undamaged, store, tag, there=f"{there} on {url}")
    return Plan(
        "push", str(tag), url, mine.pin, tuple(FilePlan(entry.path, entry.size, entry.size) for entry in mine.files)
    )


def _unmoved(manifest: Manifest, chosen: frozenset[str]) -> tuple[FilePlan, ...]:
    return tuple(FilePlan(entry.path, entry.size, 0) for entry in manifest.files if entry.path in chosen)
