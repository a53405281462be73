"""Remote `latest`: the version with the greatest creation time, kept by compare-and-swap and healed by writers.

Readers follow it and fall back to a listing; only writers write. Creation times are compared as instants, because
foreign tools may spell the same moment with another offset.
"""

from __future__ import annotations

from datetime import UTC, datetime

from bentosync.errors import Conflict, NotFound, UnsafeInput
from bentosync.manifest import decode
from bentosync.remote import keys
from bentosync.remote.contract import Condition, IfAbsent, IfMatch, Remote
from bentosync.sync.documents import POINTER_BYTES_MAX, Pointer
from bentosync.tag import Tag

_TRIES_MAX = 20
_CARD_BYTES = 16 << 10


async def read(remote: Remote, name: str) -> tuple[Pointer, str] | None:
    """The pointer `latest` of model `name` and its ETag; None if there is none. A broken one raises `UnsafeInput`."""
    key = keys.latest_key(name)
    try:
        entity = await remote.read(key, bytes_max=POINTER_BYTES_MAX)
    except NotFound:
        return None
    return Pointer.decode(entity.data, key=key, name=name), entity.etag


async def newest(remote: Remote, name: str) -> Tag | None:
    """The newest version by listing manifests and reading the head of each: for when the pointer is no help."""
    found: tuple[datetime, Tag] | None = None
    async for stat in remote.list(keys.model_prefix(name)):
        tag = keys.parse_manifest(stat.key)
        if tag is None or tag.name != name:
            continue
        head = _Head(min(stat.size, _CARD_BYTES))
        await remote.read_range(stat.key, 0, head.size, head)
        try:
            _, card = decode.card(head.data)
        except UnsafeInput:
            continue
        if found is None or _instant(card.created) > found[0]:
            found = _instant(card.created), tag
    return found[1] if found else None


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
        if current and not await _gives_way(remote, name, current[0], pointer):
            return
        try:
            await remote.write(key, pointer.encode(), condition=_if_unchanged(etag) if exclusive else None)
            return
        except Conflict:
            continue
    raise Conflict(f"{key} changed on each of {_TRIES_MAX} tries", hint="push again in a moment")


def _if_unchanged(etag: str | None) -> Condition:
    return IfAbsent() if etag is None else IfMatch(etag)


async def _gives_way(remote: Remote, name: str, current: Pointer, new: Pointer) -> bool:
    """Whether `current` may be replaced: it is not newer, or names a version that is gone."""
    if current == new:
        return False
    if _instant(current.created) <= _instant(new.created):
        return True
    try:
        await remote.stat(keys.manifest_key(Tag(name, current.version)))
    except NotFound:
        return True
    return False


def _instant(iso: str) -> datetime:
    """The moment that `iso` names; the beginning of time if it names none, so that it never wins."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class _Head:
    """A range sink that keeps a few bytes in memory."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._memory = memoryview(bytearray(size))
        self._filled = 0

    @property
    def data(self) -> bytes:
        return bytes(self._memory[: self._filled])

    def buffer(self) -> memoryview:
        return self._memory[self._filled :]

    def filled(self, count: int) -> None:
        self._filled += count

    def rewind(self) -> int:
        return self._filled
