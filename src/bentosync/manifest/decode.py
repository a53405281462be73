"""Manifests from bytes that nobody vouches for: a strict parser that is fed as the bytes arrive.

Limits come before allocation: the document is counted as it arrives, and the two head lines are short. The lines of
files follow one fixed grammar, so they are matched against it instead of being handed to a general JSON parser:
nothing else can be nested, repeated or reordered in them, and a hostile line costs no more memory than an honest one
of its length. What was understood is then checked by `rules`, encoded again, and must equal the bytes that came.
That is why a manifest has exactly one spelling, and why two readers can never disagree about one.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

import blake3

from bentosync.errors import IntegrityError, UnsafeInput
from bentosync.manifest import encode, layout, rules
from bentosync.manifest.lexis import INTEGER, NUMBER, STRING, unescaped
from bentosync.manifest.refusal import about
from bentosync.manifest.values import Card, Envelope, FileEntry, Manifest, Tensor, TensorTable

Value = TypeVar("Value")

HEAD_BYTES = 2 * rules.HEAD_LINE_BYTES_MAX
"""This many bytes from the start of any manifest are enough for `card`."""

_BASE64 = rb'"([A-Za-z0-9+/]*+={0,2}+)"'
_FILE = re.compile(
    rb'\{"blocks":' + _BASE64
    + rb'(,"executable":true)?'
    + rb'(?:,"inline":' + _BASE64 + rb")?"
    + rb',"leaves":' + _BASE64
    + rb',"path":' + STRING
    + rb',"size":' + INTEGER
    + rb'(?:,"tensors":\{"data":' + INTEGER + rb',"table":\[)?'
)  # fmt: skip
_ROW = re.compile(
    rb"\[" + STRING + rb',"([A-Z0-9_]{1,16}+)"'
    + rb",\[((?:" + NUMBER + rb"(?:," + NUMBER + rb")*+)?+)\]"
    + rb"," + INTEGER + rb"," + INTEGER + rb',"([0-9a-f]{32})"\]'
)  # fmt: skip
_DIRECTORY = re.compile(rb'\{"directory":' + STRING + rb"\}\n")


def document(data: bytes, *, name: str | None = None, version: str | None = None) -> tuple[Envelope, Manifest]:
    """A whole manifest as stored on a remote.

    Args:
        data: All its bytes.
        name: Refuse the manifest of a model of another name.
        version: Refuse the manifest of another version.

    Raises:
        UnsafeInput: Malformed, over a limit, or made by a newer bentosync.
        IntegrityError: It describes another name or version.
    """
    parser = Parser(name, version)
    parser.feed(data)
    return parser.finish()


def body(data: bytes) -> Manifest:
    """The part under the digest alone, as kept in local records.

    Raises:
        UnsafeInput: Malformed or over a limit.
    """
    lines, reader = _Lines(heads=1), _Body(None, None)
    with about("manifest"):
        for line in lines.split(data):
            reader.take(line)
        lines.finish()
        return reader.finish()


def card(head: bytes) -> tuple[Envelope, Card]:
    """Envelope and card from the first `HEAD_BYTES` of a manifest. Nothing is said about the rest.

    Raises:
        UnsafeInput: They are malformed, too long, or cut off.
    """
    with about("manifest"):
        lines = list(islice(_Lines(heads=2).split(head[:HEAD_BYTES]), 2))
        if len(lines) < 2:
            raise UnsafeInput(f"no card within {len(head)} bytes")
        return _envelope(lines[0]), _card(lines[1])


class Parser:
    """A manifest, fed in any chunking. `name` and `version` refuse another model's, as soon as the card is seen.

    Both methods raise as `document` does. A parser that raised is finished.
    """

    def __init__(self, name: str | None = None, version: str | None = None) -> None:
        self._lines = _Lines(heads=2)
        self._envelope: Envelope | None = None
        self._body = _Body(name, version)

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; the buffer may be reused afterwards."""
        with about("manifest"):
            for line in self._lines.split(chunk):
                if self._envelope is None:
                    self._envelope = _envelope(line)
                else:
                    self._body.take(line)

    def finish(self) -> tuple[Envelope, Manifest]:
        """The manifest, now that every byte was fed."""
        with about("manifest"):
            self._lines.finish()
            manifest = self._body.finish()
        assert self._envelope is not None
        return self._envelope, manifest


class _Lines:
    """Chunks to lines, never holding more than the limits allow."""

    def __init__(self, heads: int) -> None:
        self._heads_left = heads
        self._total = 0
        self._partial = bytearray()

    def split(self, chunk: bytes | bytearray | memoryview) -> Iterator[bytes]:
        self._total += len(chunk)
        if self._total > rules.MANIFEST_BYTES_MAX:
            raise UnsafeInput(f"longer than {rules.MANIFEST_BYTES_MAX} bytes")
        data, start = bytes(chunk), 0
        while (end := data.find(b"\n", start) + 1) > 0:
            self._check(len(self._partial) + end - start)
            line = bytes(self._partial) + data[start:end] if self._partial else data[start:end]
            self._partial.clear()
            start = end
            self._heads_left = max(0, self._heads_left - 1)
            yield line
        self._check(len(self._partial) + len(data) - start)
        self._partial += data[start:]

    def _check(self, length: int) -> None:
        if self._heads_left and length > rules.HEAD_LINE_BYTES_MAX:
            raise UnsafeInput(f"a head line is longer than {rules.HEAD_LINE_BYTES_MAX} bytes")

    def finish(self) -> None:
        if self._partial:
            raise UnsafeInput("the last line does not end with a line feed")


class _Body:
    """The lines under the digest, one by one."""

    def __init__(self, name: str | None, version: str | None) -> None:
        self._name = name
        self._version = version
        self._digest = blake3.blake3()
        self._card: Card | None = None
        self._files: list[FileEntry] = []
        self._directories: list[str] = []
        self._tensors = 0

    def take(self, line: bytes) -> None:
        self._digest.update(line)
        if self._card is None:
            self._card = _card(line)
            self._check_asked_for(self._card)
        elif line.startswith(b'{"directory"'):
            self._directories.append(_directory(line))
        elif self._directories:
            raise UnsafeInput("a file after a directory")
        else:
            self._files.append(self._file(line))
        if len(self._files) + len(self._directories) > rules.ENTRIES_MAX:
            raise UnsafeInput(f"more than {rules.ENTRIES_MAX} files and directories")

    def finish(self) -> Manifest:
        if self._card is None:
            raise UnsafeInput("ends before its card")
        rules.check_tree(self._card, self._files, self._directories)
        return Manifest(
            card=self._card,
            files=tuple(self._files),
            directories=tuple(self._directories),
            digest=self._digest.hexdigest(),
        )

    def _check_asked_for(self, card: Card) -> None:
        for what, asked, found in (("name", self._name, card.name), ("version", self._version, card.version)):
            if asked is not None and asked != found:
                raise IntegrityError(
                    f"manifest: it describes {card.name}:{card.version}, asked for was the {what} {asked}",
                    hint="the object was swapped or copied to the wrong key",
                )

    def _file(self, line: bytes) -> FileEntry:
        entry = _file(line, tensors_max=layout.TENSORS_MAX - self._tensors)
        if entry.tensors is not None:
            self._tensors += len(entry.tensors.tensors)
        rules.check_file(entry)
        return _canonical(line, entry, encode.file_line)


def _envelope(line: bytes) -> Envelope:
    members = _object(line)
    if members.get("kind") != encode.KIND:
        raise UnsafeInput("the first line is not the envelope of a manifest")
    _check_known(members)
    envelope = Envelope(
        push_id=_text(members, "push"),
        write_id=_text(members, "write"),
        pushed_by=_text(members, "pushed_by"),
        pushed_host=_text(members, "pushed_host"),
        pushed_at=_text(members, "pushed_at"),
    )
    rules.check_envelope(envelope)
    return _canonical(line, envelope, encode.envelope_line)


def _check_known(members: dict[str, object]) -> None:
    """Refuse what only a newer bentosync understands, before anything else is read."""
    needs = members.get("requires", [])
    version = _integer(members, "format")
    if version <= encode.FORMAT and not needs:
        return
    what = f"format {version}" if version > encode.FORMAT else f"features {str(needs)[:200]!a}"
    raise UnsafeInput(
        f"needs a newer bentosync ({what}; this one knows format {encode.FORMAT})",
        hint="pip install --upgrade bentosync",
    )


def _card(line: bytes) -> Card:
    members = _object(line)
    labels = members.get("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise UnsafeInput("labels are not texts")
    card = Card(
        name=_text(members, "name"),
        version=_text(members, "version"),
        content=_text(members, "content"),
        size=_integer(members, "size"),
        files=_integer(members, "files"),
        created=_text(members, "created"),
        module=_text(members, "module"),
        labels=tuple(labels.items()),
    )
    rules.check_card(card)
    return _canonical(line, card, encode.card_line)


def _file(line: bytes, *, tensors_max: int) -> FileEntry:
    head = _FILE.match(line)
    if head is None:
        raise UnsafeInput(f"not the line of a file: {line[:80]!a}")
    blocks, executable, inline, leaves, path, size, data_offset = head.groups()
    end, table = head.end(), None
    if data_offset is not None:
        rows, end = _rows(line, end, tensors_max)
        table = TensorTable(data_offset=int(data_offset), tensors=rows)
    if line[end:] != (b"}\n" if table is None else b"]}}\n"):
        raise UnsafeInput(f"the line of a file goes wrong at byte {end}: {line[end : end + 80]!a}")
    return FileEntry(
        path=unescaped(path),
        size=int(size),
        executable=executable is not None,
        leaves=_unpacked(leaves),
        blocks=_unpacked(blocks),
        inline=None if inline is None else _unpacked(inline),
        tensors=table,
    )


def _rows(line: bytes, position: int, count_max: int) -> tuple[tuple[Tensor, ...], int]:
    rows: list[Tensor] = []
    while (row := _ROW.match(line, position)) is not None:
        if len(rows) == count_max:
            raise UnsafeInput(f"more than {layout.TENSORS_MAX} tensors")
        name, dtype, shape, begin, end, fingerprint = row.groups()
        rows.append(
            Tensor(
                name=unescaped(name),
                dtype=dtype.decode(),
                shape=tuple(map(int, shape.split(b","))) if shape else (),
                begin=int(begin),
                end=int(end),
                fingerprint=bytes.fromhex(fingerprint.decode()),
            )
        )
        position = row.end()
        if line[position : position + 1] != b",":
            break
        position += 1
    return tuple(rows), position


def _directory(line: bytes) -> str:
    found = _DIRECTORY.fullmatch(line)
    if found is None:
        raise UnsafeInput(f"not the line of a directory: {line[:80]!a}")
    return _canonical(line, unescaped(found[1]), encode.directory_line)


def _object(line: bytes) -> dict[str, object]:
    try:
        value = json.loads(line.decode())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UnsafeInput(f"not a JSON object: {line[:80]!a}")
    return value


def _text(members: dict[str, object], key: str) -> str:
    value = members.get(key)
    if not isinstance(value, str):
        raise UnsafeInput(f"{key} is missing or not a text")
    return value


def _integer(members: dict[str, object], key: str) -> int:
    value = members.get(key)
    if type(value) is not int:  # bool is an int
        raise UnsafeInput(f"{key} is missing or not an integer")
    return value


def _unpacked(text: bytes) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise UnsafeInput(f"not base64: {text[:80]!a}") from None


def _canonical(line: bytes, value: Value, spell: Callable[[Value], bytes]) -> Value:
    if spell(value) != line:
        raise UnsafeInput(f"not in canonical form, or with members of no meaning: {line[:80]!a}")
    return value
