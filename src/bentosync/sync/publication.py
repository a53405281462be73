"""The last steps of whatever writes a version to a remote: manifest, pointer, marker, record, and what is left over.

A push and a copy between remotes both end here. The manifest is the commit point: it is created if absent, or replaces
exactly the object that was seen, and after a lost reply the random id in its envelope tells whose it is.
"""

from __future__ import annotations

import getpass
import secrets
import socket
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import Struct

from bentosync.errors import BentoMLException, Conflict, NetworkError, NotFound, UnsafeInput
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


class Standing(Struct, frozen=True):
    """What lies under the key of a version's manifest; `version` is None if that is no manifest at all."""

    etag: str
    version: Resolved | None

    @property
    def push_id(self) -> str | None:
        """Names the folder that it reads from."""
        return None if self.version is None else self.version.envelope.push_id


class Publication:
    """The publishing of one version. `taken` makes the error for other content that stands in its place.

    `exclusive` says whether the remote honours conditions; it is set once that is known.
    """

    def __init__(self, remote: Remote, tag: Tag, taken: Callable[[Resolved], Conflict]) -> None:
        self._remote = remote
        self._tag = tag
        self._taken = taken
        self.exclusive = True

    async def standing(self, *, force: bool) -> Standing | None:
        """What stands there now.

        Raises:
            UnsafeInput: It is no manifest, and `force` does not say that it shall be replaced nevertheless.
        """
        try:
            found = await self._found()
        except UnsafeInput as error:
            if not force:
                hint = f"bentosync push {self._tag} --force puts a good one in its place"
                raise UnsafeInput(error.message, hint=error.hint or hint) from error
            return Standing((await self._remote.stat(keys.manifest_key(self._tag))).etag, None)
        return None if found is None else Standing(found.etag, found)

    async def _found(self) -> Resolved | None:
        try:
            return await fetch(self._remote, self._tag, Reference(self._tag.name, self._tag.version, None))
        except NotFound:
            return None

    async def publish(self, manifest: Manifest, claimed: Claim, standing: Standing | None) -> str:
        """Make the files that were stored under `claimed` the version, in the place of `standing`; return its pin.

        Another writer may have been faster with the same content: then its pin is returned and our files go.

        Raises:
            Conflict: Other content won, the push record was taken over, or the version was deleted meanwhile.
        """
        await claimed.confirm()
        winner = await self._write_manifest(manifest, claimed.push_id, standing)
        if winner is not None and winner.manifest.card.content != manifest.card.content:
            raise self._taken(winner)
        await pointer.advance(self._remote, self._tag.name, Pointer.to(manifest), exclusive=self.exclusive)
        await self._mark_format()
        await claimed.release()
        # The winner may be this very push in an earlier life, whose manifest arrived after its death.
        read_from = claimed.push_id if winner is None else winner.envelope.push_id
        written = {claimed.push_id} | (
            {standing.push_id} if winner is None and standing and standing.push_id else set()
        )
        for push_id in written - {read_from}:
            await remove_push(self._remote, self._tag, push_id)
        return manifest.pin if winner is None else winner.manifest.pin

    async def _write_manifest(self, manifest: Manifest, folder: str, standing: Standing | None) -> Resolved | None:
        """Write the commit point; return the other manifest if another push was first, None if ours stands."""
        write_id = secrets.token_hex(16)
        envelope = Envelope(
            folder, write_id, _word(_user()), _word(socket.gethostname()), datetime.now(UTC).isoformat()
        )
        condition: Condition = IfMatch(standing.etag) if standing else IfAbsent()
        if not self.exclusive:
            condition = None
            if (now := await self._unlike(standing)) is not None:
                return now
        key = keys.manifest_key(self._tag)
        try:
            await self._remote.write(key, encode.document(envelope, manifest), condition=condition)
        except Conflict:
            pass
        except NetworkError as error:
            # No try was answered, and any of them may have arrived.
            if not await self._is_written(write_id):
                raise error
            return None
        else:
            if self.exclusive:
                return None
        stands = await self._found()
        if stands is None:
            raise Conflict(f"{key} was deleted while {self._tag} was being pushed", hint="push again")
        # After a lost reply the write that won may be our own: its random id tells.
        return None if stands.envelope.write_id == write_id else stands

    async def _unlike(self, standing: Standing | None) -> Resolved | None:
        """Without conditional writes: the manifest that stands there now, if it is not what was seen before."""
        try:
            now = await self._found()
        except UnsafeInput:
            if standing is None or standing.version is not None:
                raise
            return None
        return now if now is not None and (standing is None or now.etag != standing.etag) else None

    async def _is_written(self, write_id: str) -> bool:
        """Whether the manifest that stands there is the one with this id, as far as can be found out."""
        try:
            stands = await self._found()
        except BentoMLException:
            return False
        return stands is not None and stands.envelope.write_id == write_id

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
