"""From what the user wrote to one manifest: pointer (if no version was named) and manifest, two exchanges at most."""

from __future__ import annotations

from msgspec import Struct

from bentosync.errors import IntegrityError, NotFound, UnsafeInput
from bentosync.manifest import decode
from bentosync.manifest.rules import MANIFEST_BYTES_MAX
from bentosync.manifest.values import Envelope, Manifest
from bentosync.remote import keys
from bentosync.remote.contract import MissingRemote, Remote
from bentosync.sync import pointer
from bentosync.sync.documents import describe
from bentosync.tag import Reference, Tag
from bentosync.transfer.packs import Pack, packs


class Resolved(Struct, frozen=True):
    """A version on a remote: its manifest, the envelope that says where its files lie, and the bytes of both."""

    tag: Tag
    envelope: Envelope
    manifest: Manifest
    document: bytes
    etag: str

    def key(self, path: str) -> str:
        """The key of one of its files."""
        return keys.file_key(self.tag, self.envelope.push_id, path)

    def packs(self) -> dict[str, Pack]:
        """By their keys, the packs that its push may have left."""
        found = packs((entry.path, entry.size) for entry in self.manifest.files)
        return {keys.pack_key(self.tag, self.envelope.push_id, pack.number): pack for pack in found}


async def resolve(remote: Remote, reference: Reference) -> Resolved:
    """Find the version that `reference` names on `remote`.

    Raises:
        NotFound: There is no such model or version.
        IntegrityError: The manifest is not the pinned one, not the one that the alias was set to, or not a manifest.
    """
    if reference.alias is not None:
        return await _aliased(remote, reference, reference.alias)
    if reference.version is not None:
        return await fetch(remote, Tag(reference.name, reference.version), reference)
    named = await pointer.read(remote, reference.name)
    if named is not None:
        try:
            return await fetch(remote, Tag(reference.name, named[0].version), reference)
        except NotFound:
            pass
    listed = await pointer.newest(remote, reference.name)
    if listed is None:
        raise NotFound(
            f"no Models with name '{reference.name}' found on {remote.properties.url}",
            hint=f"bentosync push {reference.name}",
        )
    return await fetch(remote, listed, reference)


async def _aliased(remote: Remote, reference: Reference, alias: str) -> Resolved:
    named = await pointer.read_alias(remote, reference.name, alias)
    if named is None:
        raise NotFound(
            f"model '{reference.name}' has no alias '{alias}' on {remote.properties.url}",
            hint=f"bentosync alias list {reference.name}; or bentosync alias set {reference.name}:VERSION {alias}",
        )
    tag = Tag(reference.name, named.version)
    try:
        found = await fetch(remote, tag, reference)
    except NotFound as error:
        raise NotFound(
            f"alias '{alias}' names {tag}, which is gone from {remote.properties.url}",
            hint=f"bentosync alias set {reference.name}:VERSION {alias}",
        ) from error
    if found.manifest.pin != named.manifest:
        raise IntegrityError(
            f"alias '{alias}' was set to {tag}@{named.manifest}, but {remote.properties.url} now holds "
            f"{found.manifest.pin} under that name",
            hint=f"if that was meant: bentosync alias set {tag} {alias}",
        )
    return found


async def fetch(remote: Remote, tag: Tag, reference: Reference) -> Resolved:
    """Read and check the manifest of exactly `tag`."""
    try:
        found = await _read(remote, tag)
    except UnsafeInput:
        found = await _read(remote, tag)  # The store holds a broken one only if it gives it twice.
    manifest = found.manifest
    if reference.pin is not None and manifest.pin != reference.pin:
        raise IntegrityError(
            f"{describe(reference)} was asked for, but {remote.properties.url} holds {manifest.pin} under that name",
            hint="the version was pushed again with other content; check who pushed it before trusting the new pin",
        )
    return found


async def _read(remote: Remote, tag: Tag) -> Resolved:
    try:
        entity = await remote.read(keys.manifest_key(tag), bytes_max=MANIFEST_BYTES_MAX)
    except MissingRemote:
        raise
    except NotFound:
        raise NotFound(f"Model '{tag}' is not found on {remote.properties.url}", hint=f"bentosync push {tag}") from None
    envelope, manifest = decode.document(entity.data, name=tag.name, version=tag.version)
    return Resolved(tag, envelope, manifest, entity.data, entity.etag)
