"""Clean up a remote: folders that no manifest names and no living push writes, and the uploads and records they left.

Correctness rests on the order of looking, not on clocks. A push writes its record, then files, then its manifest, then
removes the record. So whoever lists the files first, then the records, then the manifests, finds for every file of a
push its record or its manifest, unless the push gave up. A record that nobody touched for `min_age_seconds` (a living
push touches it every two minutes) is first replaced by a tombstone, by compare-and-swap: a push that wakes up after
that finds its record gone and publishes nothing. Ages are measured with the store's own clock.

Anything that cannot be listed or read stops it before the first deletion, and it refuses to remove more than half of
all folders unless told to: an empty or foreign listing must not look like a heap of garbage.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from msgspec import Struct, field

from bentosync.errors import BentoMLException, Conflict, NotFound
from bentosync.remote import keys
from bentosync.remote.contract import IfMatch, Remote, Stat, Upload
from bentosync.remote.keys import PushKey
from bentosync.sync import heads
from bentosync.sync.delete import remove_folder
from bentosync.sync.documents import TOMBSTONE
from bentosync.tag import Tag

MIN_AGE_SECONDS = 7 * 24 * 3600.0


class Folder(Struct):
    """What one push left below `files/`: `newest_at` is when its last object was stored (seconds since 1970)."""

    push: PushKey
    objects: int = 0
    size_bytes: int = 0
    newest_at: float = 0.0
    uploads: list[Upload] = field(default_factory=list)

    @property
    def prefix(self) -> str:
        """What its keys start with."""
        return keys.folder_prefix(self.push.tag, self.push.push_id)


class Seen(Struct, frozen=True):
    """What a remote holds, looked at in the order that makes the picture safe."""

    folders: Mapping[PushKey, Folder]
    records: Mapping[PushKey, Stat]
    condemned: frozenset[PushKey]
    published: Mapping[Tag, str]
    marked: bool


class Plan(Struct, frozen=True):
    """What goes. `stray` are unfinished uploads of published folders; `kept` says why the others stay."""

    folders: tuple[Folder, ...]
    records: tuple[Stat, ...]
    stray: tuple[Upload, ...]
    kept: tuple[tuple[Folder, str], ...]
    total: int

    @property
    def size_bytes(self) -> int:
        """Bytes of the objects that go; parts of unfinished uploads are not counted."""
        return sum(folder.size_bytes for folder in self.folders)


async def look(remote: Remote, *, jobs: int) -> Seen:
    """Files and uploads first, then records, then manifests.

    Raises:
        UnsafeInput: A manifest is none, so nobody can say which folder it names.
        AuthError, NetworkError: Something cannot be listed.
    """
    folders: dict[PushKey, Folder] = {}
    async for stat in remote.list(keys.FILES):
        if (file := keys.parse_file(stat.key)) is not None:
            folder = folders.setdefault(push := PushKey(file.tag, file.push_id), Folder(push))
            folder.objects += 1
            folder.size_bytes += stat.size
            folder.newest_at = max(folder.newest_at, stat.modified_at)
    async for upload in remote.list_uploads(keys.FILES):
        if (file := keys.parse_file(upload.key)) is not None:
            folders.setdefault(push := PushKey(file.tag, file.push_id), Folder(push)).uploads.append(upload)
    listed = {keys.parse_push_record(stat.key): stat async for stat in remote.list(keys.MODELS)}
    records = {push: stat for push, stat in listed.items() if push is not None}
    condemned = frozenset([push for push, stat in records.items() if await _is_tombstone(remote, stat)])
    # Only now: a manifest that was written after the records were listed still counts.
    published = await heads.read_all(remote, None, jobs=jobs, unreadable=_refuse)
    return Seen(
        folders, records, condemned, {head.tag: head.envelope.push_id for head in published}, await _is_marked(remote)
    )


def decide(seen: Seen, *, now: float, min_age_seconds: float) -> Plan:
    """What may go. Pure."""

    def young(moment: float) -> bool:
        return now - moment < min_age_seconds

    gone: list[Folder] = []
    stray: list[Upload] = []
    kept: list[tuple[Folder, str]] = []
    for push, folder in seen.folders.items():
        record = seen.records.get(push)
        if seen.published.get(push.tag) == push.push_id:
            stray += folder.uploads
        elif record is not None and push not in seen.condemned and young(record.modified_at):
            kept.append((folder, "a push in flight"))
        elif young(folder.newest_at):
            kept.append((folder, "too young"))
        else:
            gone.append(folder)
    leaving = {folder.push for folder in gone}
    staying = {folder.push for folder, _ in kept}
    records = [
        stat
        for push, stat in seen.records.items()
        if push in leaving or (push not in staying and (push in seen.condemned or not young(stat.modified_at)))
    ]
    return Plan(tuple(gone), tuple(records), tuple(stray), tuple(kept), len(seen.folders))


def refuse_too_much(seen: Seen, plan: Plan) -> None:
    """Raises `Conflict` if the plan looks more like a wrong address than like cleaning up."""
    if plan.folders and not seen.marked:
        raise Conflict(
            "there is no bentosync.json, so this may not be a remote of bentosync at all",
            hint="check the URL; if it is right: --force",
        )
    if 2 * len(plan.folders) > plan.total:
        raise Conflict(
            f"{len(plan.folders)} of {plan.total} folders would go, which is more than half",
            hint="look at them with --dry-run; if they are garbage: --force",
        )


async def collect(remote: Remote, seen: Seen, plan: Plan, *, exclusive: bool) -> Plan:
    """Remove what is planned; return what was in fact removed. What came to life meanwhile stays."""
    gone: list[Folder] = []
    forgotten: list[Stat] = []
    records = {keys.parse_push_record(stat.key): stat for stat in plan.records}
    for folder in plan.folders:
        stat = records.pop(folder.push, None)
        if await _condemn(remote, seen, folder.push, stat, exclusive=exclusive) and not await _named(remote, folder):
            await remove_folder(remote, folder.prefix)
            gone.append(folder)
            if stat is not None:
                await remote.delete(stat.key)
                forgotten.append(stat)
    for push, stat in records.items():
        if push is not None and await _condemn(remote, seen, push, stat, exclusive=exclusive):
            await remote.delete(stat.key)
            forgotten.append(stat)
    for upload in plan.stray:
        await remote.abort_upload(upload)
    return Plan(tuple(gone), tuple(forgotten), plan.stray, plan.kept, plan.total)


async def store_time(remote: Remote) -> float:
    """What the store's clock says (seconds since 1970), read off a small object that is written and removed."""
    key = f"probes/{secrets.token_hex(10)}"
    await remote.write(key, b"what time is it\n")
    try:
        return (await remote.stat(key)).modified_at
    finally:
        await remote.delete(key)


async def _condemn(remote: Remote, seen: Seen, push: PushKey, stat: Stat | None, *, exclusive: bool) -> bool:
    """Put a tombstone in the record's place, unless somebody touched it since; true if the push can no longer win."""
    if stat is None or push in seen.condemned:
        return True
    try:
        if not exclusive and (await remote.stat(stat.key)).etag != stat.etag:
            return False
        await remote.write(stat.key, TOMBSTONE, condition=IfMatch(stat.etag) if exclusive else None)
    except (Conflict, NotFound):
        return await _stands(remote, stat.key)
    return True


async def _stands(remote: Remote, key: str) -> bool:
    """After a lost reply, or beside another clean-up: whether a tombstone stands there."""
    try:
        return (await remote.read(key, bytes_max=len(TOMBSTONE))).data == TOMBSTONE
    except BentoMLException:
        return False


async def _named(remote: Remote, folder: Folder) -> bool:
    """Whether a manifest names the folder after all: its push died after the manifest, or was just faster."""
    key = keys.manifest_key(folder.push.tag)
    try:
        head = await heads.read(remote, await remote.stat(key), folder.push.tag)
    except NotFound:
        return False
    return head.envelope.push_id == folder.push.push_id


async def _is_tombstone(remote: Remote, stat: Stat) -> bool:
    return stat.size == len(TOMBSTONE) and await _stands(remote, stat.key)


async def _is_marked(remote: Remote) -> bool:
    try:
        await remote.stat(keys.FORMAT_MARKER)
    except NotFound:
        return False
    return True


def _refuse(tag: Tag, error: BentoMLException) -> None:
    raise error
