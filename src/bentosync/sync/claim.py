"""The record of a push in flight: made before the first byte, adopted after a crash, read back before the manifest.

A record gives a later push of the same version the folder, the finished files and the parts of an earlier one. It may
be taken over at once by the store that made it (whoever holds the store's lock knows that the earlier process is
dead), and by any other store when nobody has touched it for `ABANDONED_SECONDS`; a living push touches its record
every `TOUCH_SECONDS`. Taking over is a compare-and-swap, so of two stores one wins and the other one notices.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from bentosync.errors import AuthError, Conflict, NotFound, UnsafeInput
from bentosync.events import Observer, Warned, ignore
from bentosync.remote import keys
from bentosync.remote.contract import IfAbsent, IfMatch, Remote
from bentosync.sync.documents import RECORD_BYTES_MAX, PushRecord
from bentosync.tag import Tag

TOUCH_SECONDS = 120
ABANDONED_SECONDS = 900
ADOPTABLE_SECONDS = 24 * 3600

Now = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock; injected in tests."""
    return datetime.now(UTC)


class Claim(Struct):
    """This process's hold on a push record. `adopted` says that an earlier push began it.

    `offered` is the touch last sent: one that was cancelled on its way may have arrived or not.
    """

    remote: Remote
    tag: Tag
    record: PushRecord
    etag: str
    adopted: bool
    exclusive: bool
    now: Now
    offered: PushRecord | None = None

    @property
    def push_id(self) -> str:
        """Names the folder that this push writes."""
        return self.record.push

    async def touch(self) -> None:
        """Say that this push is alive. Raises `Conflict` if another one took the record over."""
        fresh = self.record.touch(owner=self.record.owner, host=self.record.host, now=_iso(self.now()))
        condition = IfMatch(self.etag) if self.exclusive else None
        key = keys.push_record_key(self.tag, self.push_id)
        self.offered = fresh
        try:
            self.etag = await self.remote.write(key, fresh.encode(), condition=condition)
        except (Conflict, NotFound):
            if not await self._is(fresh):
                raise self._lost() from None
        self.record = fresh

    async def keep_alive(self) -> None:
        """Touch the record for ever, at the pace that keeps others from adopting it."""
        while True:
            await asyncio.sleep(TOUCH_SECONDS)
            await self.touch()

    async def confirm(self) -> None:
        """Read the record back, just before the manifest. Raises `Conflict` if it is gone or somebody else's."""
        if not await self._is(self.record, self.offered):
            raise self._lost()

    async def _is(self, *records: PushRecord | None) -> bool:
        key = keys.push_record_key(self.tag, self.push_id)
        try:
            entity = await self.remote.read(key, bytes_max=RECORD_BYTES_MAX)
        except NotFound:
            return False
        if entity.data not in [record.encode() for record in records if record is not None]:
            return False
        self.etag = entity.etag
        return True

    async def release(self) -> None:
        """Remove the record: the push is published, or gave its folder up."""
        await self.remote.delete(keys.push_record_key(self.tag, self.push_id))

    def _lost(self) -> Conflict:
        return Conflict(
            f"another push of {self.tag} took over the push record {self.push_id}, or clean-up removed it",
            hint="nothing was published by this push; push again",
        )


async def claim(
    remote: Remote,
    tag: Tag,
    files: tuple[tuple[str, int], ...],
    *,
    owner: str,
    exclusive: bool,
    published: str | None = None,
    observer: Observer = ignore,
    now: Now = utc_now,
) -> Claim:
    """Adopt the record of an interrupted push of the same files, or begin a new one.

    `published` is the push id that the standing manifest names. If that push died before it removed its record, its
    folder is whole and read from: it is never written again.
    """
    host = socket.gethostname()
    for key in await _records(remote, tag, published, observer):
        adopted = await _adopt(remote, key, files, tag, owner=owner, host=host, exclusive=exclusive, now=now)
        if adopted is not None:
            return adopted
    record = PushRecord(keys.new_push_id(), str(tag.version), host, owner, _iso(now()), _iso(now()), files)
    key = keys.push_record_key(tag, record.push)
    try:
        etag = await remote.write(key, record.encode(), condition=IfAbsent() if exclusive else None)
    except Conflict:
        # The id is random, so the record there is our own, stored by a write whose reply was lost.
        etag = (await remote.stat(key)).etag
    return Claim(remote, tag, record, etag, adopted=False, exclusive=exclusive, now=now)


async def _records(remote: Remote, tag: Tag, published: str | None, observer: Observer) -> list[str]:
    """Keys of the records of pushes of `tag`. Whoever may write but not list begins anew."""
    found: list[str] = []
    try:
        async for stat in remote.list(keys.pushes_prefix(tag)):
            parsed = keys.parse_push_record(stat.key)
            if parsed is not None and parsed.tag == tag and parsed.push_id != published:
                found.append(stat.key)
    except AuthError as error:
        observer(Warned(f"Interrupted pushes of {tag} cannot be looked for: {error.message}", error.hint))
    return found


async def _adopt(
    remote: Remote,
    key: str,
    files: tuple[tuple[str, int], ...],
    tag: Tag,
    *,
    owner: str,
    host: str,
    exclusive: bool,
    now: Now,
) -> Claim | None:
    try:
        entity = await remote.read(key, bytes_max=RECORD_BYTES_MAX)
        record = PushRecord.decode(entity.data, key=key)
    except (NotFound, UnsafeInput):
        return None
    if record.files != files or not adoptable(record, owner=owner, now=now()):
        return None
    adopted = Claim(remote, tag, record, entity.etag, adopted=True, exclusive=exclusive, now=now)
    adopted.record = record.touch(owner=owner, host=host, now=record.touched)
    try:
        await adopted.touch()
    except Conflict:
        return None
    return adopted


def adoptable(record: PushRecord, *, owner: str, now: datetime) -> bool:
    """Whether `owner` may take `record` over at `now`. Pure."""
    try:
        idle = now - datetime.fromisoformat(record.touched)
    except (ValueError, TypeError):
        return False
    if abs(idle) > timedelta(seconds=ADOPTABLE_SECONDS):
        return False
    return record.owner == owner or idle > timedelta(seconds=ABANDONED_SECONDS)


def _iso(moment: datetime) -> str:
    return moment.isoformat()
