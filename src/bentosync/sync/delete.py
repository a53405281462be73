"""Delete from a remote: `latest` looks elsewhere, the manifest goes, then exactly the folder it named.

In this order a reader finds a whole version or none at every moment, and a crash leaves at most a folder that no
manifest names, which `gc` removes. Deleting one version never touches another's bytes.
"""

from __future__ import annotations

from bentosync.errors import Conflict, NotFound, UnsafeInput
from bentosync.remote import keys
from bentosync.remote.contract import IfMatch, Remote
from bentosync.sync import pointer
from bentosync.sync.documents import Pointer
from bentosync.sync.heads import Head, read_all
from bentosync.sync.resolve import fetch
from bentosync.tag import LATEST, Reference, Tag

_TRIES_MAX = 20


async def versions(remote: Remote, tag: Tag, *, jobs: int) -> list[Head]:
    """The versions that `tag` stands for: itself, the newest for `latest`, all of them without a version.

    Raises:
        NotFound: There is none.
        UnsafeInput: A manifest of that model is none, so nobody can say which folder it named.
    """

    def refuse(bad: Tag, error: Exception) -> None:
        if tag.version in (None, LATEST, bad.version):
            raise error

    found = await read_all(remote, tag.name, jobs=jobs, unreadable=refuse)
    if tag.version == LATEST:
        found = sorted(found, key=lambda head: (head.created, head.tag))[-1:]
    elif tag.version is not None:
        found = [head for head in found if head.tag == tag]
    if not found:
        raise NotFound(f"Model '{tag}' is not found on {remote.properties.url}", hint="bentosync list --remote")
    return found


async def delete(remote: Remote, head: Head, *, exclusive: bool) -> None:
    """Remove the version that `head` describes.

    Raises:
        NotFound: It is gone already.
        Conflict: It was pushed again with other content since `head` was read; nothing was removed.
    """
    key = keys.manifest_key(head.tag)
    replaced = Conflict(f"{head.tag} on {remote.properties.url} was replaced meanwhile", hint="look at it again first")
    now = await remote.stat(key)
    if now.etag != head.etag:
        raise replaced
    await _look_elsewhere(remote, head.tag, exclusive=exclusive)
    try:
        await remote.delete(key, condition=IfMatch(head.etag) if exclusive else None)
    except Conflict:
        if await _is_there(remote, key):
            raise replaced from None
        # Gone: by this very delete, whose first reply was lost, or by somebody else's.
    await remove_push(remote, head.tag, head.envelope.push_id)


async def _is_there(remote: Remote, key: str) -> bool:
    try:
        await remote.stat(key)
    except NotFound:
        return False
    return True


async def remove_push(remote: Remote, tag: Tag, push_id: str) -> None:
    """Remove a push that no manifest names: first the record by which another one could adopt its folder."""
    await remote.delete(keys.push_record_key(tag, push_id))
    await remove_folder(remote, keys.folder_prefix(tag, push_id))


async def remove_folder(remote: Remote, prefix: str) -> None:
    """Delete all objects and unfinished uploads below `prefix`, a push's folder that no manifest names, and packs."""
    async for unfinished in remote.list_uploads(prefix):
        await remote.abort_upload(unfinished)
    for below in (keys.packs_prefix(prefix), prefix):
        async for stat in remote.list(below):
            await remote.delete(stat.key)


async def _look_elsewhere(remote: Remote, gone: Tag, *, exclusive: bool) -> None:
    """If `latest` names the version that is about to go, let it name the newest other one, or remove it."""
    key = keys.latest_key(gone.name)
    for _ in range(_TRIES_MAX):
        try:
            current = await pointer.read(remote, gone.name)
        except UnsafeInput:
            return  # names nothing; the next push replaces it
        if current is None or current[0].version != gone.version:
            return
        other = await pointer.newest(remote, gone.name, besides=gone)
        if other is None:
            await remote.delete(key)
            return
        try:
            successor = await fetch(remote, other, Reference(other.name, other.version, None))
            condition = IfMatch(current[1]) if exclusive else None
            await remote.write(key, Pointer.to(successor.manifest).encode(), condition=condition)
            return
        except (Conflict, NotFound):
            continue  # somebody pushed or deleted another version: look again
    raise Conflict(f"{key} changed on each of {_TRIES_MAX} tries", hint="delete again in a moment")
