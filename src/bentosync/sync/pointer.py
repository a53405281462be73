"""Remote `latest`: the version with the greatest creation time, kept by compare-and-swap and healed by writers.

Readers follow it and fall back to a listing; only writers write. Creation times are compared as instants, because
foreign tools may spell the same moment with another offset.
"""

from __future__ import annotations

from bentosync.errors import AuthError, Conflict, NotFound, UnsafeInput
from bentosync.manifest import decode
from bentosync.manifest.rules import MANIFEST_BYTES_MAX
from bentosync.remote import keys
from bentosync.remote.contract import Condition, IfAbsent, IfMatch, Remote
from bentosync.sync import heads
from bentosync.sync.documents import POINTER_BYTES_MAX, Pointer
from bentosync.sync.heads import instant
from bentosync.tag import Tag

_TRIES_MAX = 20
_HEADS_AT_ONCE = 16


async def read(remote: Remote, name: str) -> tuple[Pointer, str] | None:
    """The pointer `latest` of model `name` and its ETag; None if there is none. A broken one raises `UnsafeInput`."""
    return await _read(remote, keys.latest_key(name), name)


async def read_alias(remote: Remote, name: str, alias: str) -> Pointer | None:
    """The pointer `alias` of model `name`; None if there is none. A broken one raises `UnsafeInput`."""
    found = await _read(remote, keys.alias_key(name, alias), name)
    return found[0] if found else None


async def _read(remote: Remote, key: str, name: str) -> tuple[Pointer, str] | None:
    try:
        entity = await remote.read(key, bytes_max=POINTER_BYTES_MAX)
    except NotFound:
        return None
    return Pointer.decode(entity.data, key=key, name=name), entity.etag


async def newest(remote: Remote, name: str, *, besides: Tag | None = None) -> Tag | None:
    """The newest version, by listing manifests and reading the head of each: for when the pointer is no help.

    `besides` does not count, nor do manifests that are none.
    """
    found = await heads.read_all(remote, name, jobs=_HEADS_AT_ONCE, unreadable=lambda tag, error: None)
    others = [head for head in found if head.tag != besides]
    return max(others, key=lambda head: head.created).tag if others else None


async def advance(remote: Remote, name: str, pointer: Pointer, *, exclusive: bool) -> None:
    """Let `latest` name `pointer` unless it names something newer that exists.

    Without conditional writes (`exclusive` false) this is read, write, read again.

    Raises:
        Conflict: Others changed the pointer on every one of 20 tries.
    """
    key = keys.latest_key(name)
    for _ in range(_TRIES_MAX):
        etag: str | None
        try:
            current = await read(remote, name)
        except UnsafeInput:
            # Broken: replace whatever lies there.
            current, etag = None, (await remote.stat(key)).etag
        else:
            etag = current[1] if current else None
        if current is None:
            pointer = await _or_newest(remote, name, pointer)
        elif not await _gives_way(remote, name, current[0], pointer):
            return
        try:
            await remote.write(key, pointer.encode(), condition=_if_unchanged(etag) if exclusive else None)
            return
        except Conflict:
            continue
    raise Conflict(f"{key} changed on each of {_TRIES_MAX} tries", hint="push again in a moment")


async def _or_newest(remote: Remote, name: str, new: Pointer) -> Pointer:
    """What `latest` should name when no pointer says it: `new`, or a version on the remote that is newer."""
    try:
        listed = await newest(remote, name)
        if listed is None or listed.version == new.version:
            return new
        entity = await remote.read(keys.manifest_key(listed), bytes_max=MANIFEST_BYTES_MAX)
        _, manifest = decode.document(entity.data, name=name, version=listed.version)
    except (AuthError, NotFound, UnsafeInput):
        return new  # it may not be listed, or has just gone
    other = Pointer.to(manifest)
    return other if instant(other.created) > instant(new.created) else new


def _if_unchanged(etag: str | None) -> Condition:
    return IfAbsent() if etag is None else IfMatch(etag)


async def _gives_way(remote: Remote, name: str, current: Pointer, new: Pointer) -> bool:
    """Whether `current` may be replaced: it is not newer, or names a version that is gone."""
    if current == new:
        return False
    if instant(current.created) <= instant(new.created):
        return True
    try:
        await remote.stat(keys.manifest_key(Tag(name, current.version)))
    except NotFound:
        return True
    return False
