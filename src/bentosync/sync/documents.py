"""The small JSON documents of a remote: pointers and push records, as values and back. Pure.

They are read from places that others can write to, so decoding is strict and bounded, and says which object is wrong.
Format: docs/formats/remote-layout.md.
"""

from __future__ import annotations

import json
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, fields, replace

from bentosync.errors import InvalidArgument, UnsafeInput
from bentosync.manifest.values import Manifest
from bentosync.tag import Reference, parse_reference

POINTER_BYTES_MAX = 4 << 10
RECORD_BYTES_MAX = 64 << 20
FORMAT = 1
TOMBSTONE = b'{"condemned":true,"format":1}\n'
"""What `gc` puts in the place of a push record before it removes the push's folder; nobody can adopt or touch it."""


class Pointer(Struct, frozen=True):
    """What `latest` or an alias names: a version, the pin of its manifest, its creation time (ISO, UTC)."""

    created: str
    manifest: str
    version: str

    @staticmethod
    def to(manifest: Manifest) -> Pointer:
        """The pointer that names this manifest."""
        return Pointer(manifest.card.created, manifest.pin, manifest.card.version)

    def encode(self) -> bytes:
        """Canonical JSON, one line."""
        return _encode(asdict(self))

    @staticmethod
    def decode(data: bytes, *, key: str, name: str) -> Pointer:
        """Parse; raise `UnsafeInput` naming `key` if this is no pointer of model `name`."""
        value = _decode(data, key)
        pointer = Pointer(*(_text(value, member, key) for member in ("created", "manifest", "version")))
        try:
            parse_reference(f"{name}:{pointer.version}@{pointer.manifest}")
        except InvalidArgument as error:
            raise UnsafeInput(f"{key} is no pointer: {error}") from error
        return pointer


class PushRecord(Struct, frozen=True):
    """A push in flight. `owner` is the random id of the local store that pushes; times are ISO, UTC."""

    push: str
    version: str
    host: str
    owner: str
    started: str
    touched: str
    files: tuple[tuple[str, int], ...]

    def encode(self) -> bytes:
        """Canonical JSON, one line."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}  # `asdict` would copy every file's row
        return _encode({**own, "format": FORMAT})

    def touch(self, *, owner: str, host: str, now: str) -> PushRecord:
        """The same push, claimed by `owner` at `now`."""
        return replace(self, owner=owner, host=host, touched=now)

    @staticmethod
    def decode(data: bytes, *, key: str) -> PushRecord:
        """Parse; raise `UnsafeInput` naming `key` if this is no push record of format 1."""
        value = _decode(data, key)
        if value.get("format") != FORMAT:
            raise UnsafeInput(f"{key} has format {value.get('format')!r}, not {FORMAT}", hint="update bentosync")
        files = value.get("files")
        if not isinstance(files, list) or not all(_is_file(row) for row in files):
            raise UnsafeInput(f"{key}: `files` is no list of [path, size]")
        push, version, host, owner, started, touched = (
            _text(value, member, key) for member in ("push", "version", "host", "owner", "started", "touched")
        )
        return PushRecord(push, version, host, owner, started, touched, tuple((row[0], row[1]) for row in files))


def describe(reference: Reference) -> str:
    """How a reference is shown to people."""
    return str(reference)


def _is_file(row: object) -> bool:
    return isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and type(row[1]) is int and row[1] >= 0


def _encode(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _decode(data: bytes, key: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnsafeInput(f"{key} is not JSON") from error
    if not isinstance(value, dict):
        raise UnsafeInput(f"{key} is not a JSON object")
    return value


def _text(value: dict[str, Any], member: str, key: str) -> str:
    text = value.get(member)
    if not isinstance(text, str) or len(text) > 256:
        raise UnsafeInput(f"{key}: `{member}` is not a short string")
    return text
