"""Manifests as canonical bytes: exactly one spelling for every value. See docs/formats/manifest.md.

The decoder compares what it read with what this module writes, so the spelling is defined here and nowhere else.
"""

from __future__ import annotations

import json.encoder
from binascii import b2a_base64
from collections.abc import Iterable, Iterator

import blake3

from bentosync.manifest.values import Card, Envelope, FileEntry, Manifest, TensorTable

FORMAT = 1
KIND = "bentosync-manifest"

_canonical = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode
_quoted = json.encoder.encode_basestring


def line(value: object) -> bytes:
    """One canonical JSON line, its line feed included."""
    return _canonical(value).encode() + b"\n"


def document(envelope: Envelope, manifest: Manifest) -> bytes:
    """The whole manifest, as stored on a remote."""
    return envelope_line(envelope) + body(manifest)


def body(manifest: Manifest) -> bytes:
    """The part under the digest: card, files, empty directories. The same bytes wherever the tree is pushed."""
    return b"".join(body_lines(manifest.card, manifest.files, manifest.directories))


def body_lines(card: Card, files: Iterable[FileEntry], directories: Iterable[str]) -> Iterator[bytes]:
    """The lines of the body in order."""
    yield card_line(card)
    yield from map(file_line, files)
    yield from map(directory_line, directories)


def envelope_line(envelope: Envelope) -> bytes:
    """Line 1 of a document."""
    return line(
        {
            "format": FORMAT,
            "kind": KIND,
            "push": envelope.push_id,
            "pushed_at": envelope.pushed_at,
            "pushed_by": envelope.pushed_by,
            "pushed_host": envelope.pushed_host,
            "write": envelope.write_id,
        }
    )


def card_line(card: Card) -> bytes:
    """Line 1 of a body."""
    members: dict[str, object] = {
        "content": card.content,
        "created": card.created,
        "files": card.files,
        "module": card.module,
        "name": card.name,
        "size": card.size,
        "version": card.version,
    }
    if card.labels:
        members["labels"] = dict(card.labels)
    return line(members)


def file_line(entry: FileEntry) -> bytes:
    """The line of one file."""
    # As `line` would write the members; there may be 200,000 of these, and this takes a third of the time.
    executable = ',"executable":true' if entry.executable else ""
    inline = "" if entry.inline is None else f',"inline":"{_packed(entry.inline)}"'
    tensors = "" if entry.tensors is None else f',"tensors":{_canonical(_table(entry.tensors))}'
    text = (
        f'{{"blocks":"{_packed(entry.blocks)}"{executable}{inline},"leaves":"{_packed(entry.leaves)}",'
        f'"path":{_quoted(entry.path)},"size":{entry.size}{tensors}}}\n'
    )
    return text.encode()


def directory_line(path: str) -> bytes:
    """The line of one empty directory."""
    return line({"directory": path})


def content_id(files: Iterable[FileEntry], directories: Iterable[str]) -> str:
    """What the tree is, whatever it is called: `b3:` and 64 hexadecimal digits."""
    digest = blake3.blake3()
    for entry in files:
        executable = "true" if entry.executable else "false"
        text = f'[{_quoted(entry.path)},{entry.size},{executable},"{entry.digest.hex()}"]\n'
        digest.update(text.encode())
    for path in directories:
        digest.update(line([path]))
    return f"b3:{digest.hexdigest()}"


def _packed(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode("ascii")


def _table(table: TensorTable) -> dict[str, object]:
    rows = [[row.name, row.dtype, row.shape, row.begin, row.end, row.fingerprint.hex()] for row in table.tensors]
    return {"data": table.data_offset, "table": rows}
