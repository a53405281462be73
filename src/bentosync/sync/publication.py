"""The last steps of whatever writes a version to a remote: manifest, pointer, marker, record, and what is left over.

A push and a copy between remotes both end here. The manifest is the commit point: it is created if absent, or replaces
exactly the one that was seen, and after a lost reply the random id in its envelope tells whose it is.
"""

from __future__ import annotations

import getpass
import secrets
import socket
from collections.abc import Callable
from datetime import UTC, datetime

from bentosync.errors import Conflict, NotFound
from bentosync.manifest import encode
from bentosync.manifest.values import Envelope, Manifest
from bentosync.remote import keys
from bentosync.remote.contract import Condition, IfAbsent, IfMatch, Remote
from bentosync.sync import pointer
from bentosync.sync.claim import Claim
from bentosync.sync.delete import remove_push
from bentosync.sync.documents import Pointer
from bentosync.sync.resolve import Resolved, fetch
from bentosync.tag import Reference, Tag

_FORMAT_MARKER = b'{"format":1}\n'


class Publication:
    """The publishing of one version. `taken` makes the error for other content that stands in its place.

    `exclusive` says whether the remote honours conditions; it is set once that is known.
    """

    def __init__(self, remote: Remote, tag: Tag, taken: Callable[[Resolved], Conflict]) -> None:
        self._remote = remote
        self._tag = tag
        self._taken = taken
        self.exclusive = True

    async def existing(self) -> Resolved | None:
        """What stands there now."""
        try:
            return await fetch(self._remote, self._tag, Reference(self._tag.name, self._tag.version, None))
        except NotFound:
            return None

    async def publish(self, manifest: Manifest, claimed: Claim, existing: Resolved | None) -> str:
        """Make the files that were stored under `claimed` the version, in the place of `existing`; return its pin.

        Another writer may have been faster with the same content: then its pin is returned and our files go.

        Raises:
            Conflict: Other content won, the push record was taken over, or the version was deleted meanwhile.
        """
        await claimed.confirm()
        winner = await self._write_manifest(manifest, claimed.push_id, existing)
        if winner is not None and winner.manifest.card.content != manifest.card.content:
            raise self._taken(winner)
        await pointer.advance(self._remote, self._tag.name, Pointer.to(manifest), exclusive=self.exclusive)
        await self._mark_format()
        await claimed.release()
        # The winner may be this very push in an earlier life, whose manifest arrived after its death.
        read_from = claimed.push_id if winner is None else winner.envelope.push_id
        written = {claimed.push_id} | ({existing.envelope.push_id} if winner is None and existing else set())
        for push_id in written - {read_from}:
            await remove_push(self._remote, self._tag, push_id)
        return manifest.pin if winner is None else winner.manifest.pin

    async def _write_manifest(self, manifest: Manifest, folder: str, existing: Resolved | None) -> Resolved | None:
        """Write the commit point; return the other manifest if another push was first, None if ours stands."""
        write_id = secrets.token_hex(16)
        envelope = Envelope(
            folder, write_id, _word(_user()), _word(socket.gethostname()), datetime.now(UTC).isoformat()
        )
        condition: Condition = IfMatch(existing.etag) if existing else IfAbsent()
        if not self.exclusive:
            condition = None
            if (now := await self.existing()) is not None and (existing is None or now.etag != existing.etag):
                return now
        key = keys.manifest_key(self._tag)
        try:
            await self._remote.write(key, encode.document(envelope, manifest), condition=condition)
        except Conflict:
            pass
        else:
            if self.exclusive:
                return None
        stands = await self.existing()
        if stands is None:
            raise Conflict(f"{key} was deleted while {self._tag} was being pushed", hint="push again")
        # After a lost reply the write that won may be our own: its random id tells.
        return None if stands.envelope.write_id == write_id else stands

    async def _mark_format(self) -> None:
        try:
            await self._remote.stat(keys.FORMAT_MARKER)
        except NotFound:
            await self._remote.write(keys.FORMAT_MARKER, _FORMAT_MARKER)


def _word(text: str) -> str:
    """A name as the envelope takes it: printable ASCII, bounded."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)[:64] or "unknown"


def _user() -> str:
    """Who pushes, as far as the system knows: a random uid in a container has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
