"""What a manifest may say. Writers and readers ask the same functions, so neither can make what the other refuses.

Every rule is a sentence of docs/formats/manifest.md. Nothing here reads a file; inline bytes are proven against the
digests beside them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from bentosync.errors import InvalidTag, UnsafeInput
from bentosync.manifest import digests, encode, layout, paths
from bentosync.manifest.refusal import about
from bentosync.manifest.values import (
    BLOCK_BYTES,
    BLOCK_DIGEST_BYTES,
    LEAF_BYTES,
    LEAF_DIGEST_BYTES,
    Card,
    Envelope,
    FileEntry,
    TensorTable,
)
from bentosync.tag import LATEST, Tag

MANIFEST_BYTES_MAX = 64 << 20
HEAD_LINE_BYTES_MAX = 8 << 10
"""Longest envelope or card, so that 16 KiB from the start hold both."""

ENTRIES_MAX = 200_000
INTEGER_MAX = (1 << 53) - 1

INLINE_BYTES_MAX = 1 << 20
INLINE_FILE_BYTES_MAX = 64 << 10
MODEL_YAML = "model.yaml"
TENSOR_SUFFIX = ".safetensors"

LABELS_BYTES_MAX = 4096
MODULE_BYTES_MAX = 1024
_WHO_BYTES_MAX = 256

_PUSH_ID = re.compile("[a-z2-7]{10}")
_WRITE_ID = re.compile("[0-9a-f]{32}")
_CONTENT = re.compile("b3:[0-9a-f]{64}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def check_envelope(envelope: Envelope) -> None:
    """Refuse an envelope that no push writes.

    Raises:
        UnsafeInput: The message names the member.
    """
    if not _PUSH_ID.fullmatch(envelope.push_id):
        raise UnsafeInput(f"push id {envelope.push_id[:40]!a} is not 10 characters of a-z and 2-7")
    if not _WRITE_ID.fullmatch(envelope.write_id):
        raise UnsafeInput(f"write id {envelope.write_id[:40]!a} is not 32 hexadecimal digits")
    _check_time("pushed_at", envelope.pushed_at)
    for what, text in (("pushed_by", envelope.pushed_by), ("pushed_host", envelope.pushed_host)):
        check_text(what, text, _WHO_BYTES_MAX)
        if _CONTROL.search(text):
            raise UnsafeInput(f"{what} {text[:80]!a} holds a control character")


def check_card(card: Card) -> None:
    """Refuse a card whose members are out of range, one by one. `check_tree` compares them with the files.

    Raises:
        UnsafeInput: The message names the member.
    """
    _check_tag(card)
    check_text("module", card.module, MODULE_BYTES_MAX)
    _check_time("created", card.created)
    if not _CONTENT.fullmatch(card.content):
        raise UnsafeInput(f"content id {card.content[:80]!a} is not b3: and 64 hexadecimal digits")
    for what, number in (("size", card.size), ("files", card.files)):
        _check_integer(what, number)
    for pair in card.labels:
        for text in pair:
            check_text("label", text, LABELS_BYTES_MAX)
    if labels_bytes(dict(card.labels)) > LABELS_BYTES_MAX:
        raise UnsafeInput(f"labels take more than {LABELS_BYTES_MAX} bytes")
    if list(card.labels) != sorted(dict(card.labels).items()):
        raise UnsafeInput("labels are not sorted or not distinct")


def check_file(entry: FileEntry) -> None:
    """Refuse a file whose digests, inline bytes or tensors cannot belong to a file of that size.

    The path is left to `check_tree`.

    Raises:
        UnsafeInput: The message names the file and what is wrong with it.
    """
    with about(f"file {entry.path[:200]!a}"):
        fault = _file_fault(entry)
        if fault is not None:
            raise UnsafeInput(fault)
        if entry.tensors is not None:
            _check_table(entry, entry.tensors)


def check_tree(card: Card, files: Collection[FileEntry], directories: Collection[str]) -> None:
    """Refuse a whole that is more or less than its parts: order, paths, limits, totals, content id, inline files.

    Raises:
        UnsafeInput: The message names the rule, and the path where there is one.
    """
    if len(files) + len(directories) > ENTRIES_MAX:
        raise UnsafeInput(f"more than {ENTRIES_MAX} files and directories")
    if sum(len(entry.tensors.tensors) for entry in files if entry.tensors is not None) > layout.TENSORS_MAX:
        raise UnsafeInput(f"more than {layout.TENSORS_MAX} tensors")
    names = [entry.path for entry in files]
    _check_sorted("files", names)
    _check_sorted("directories", directories)
    paths.check_all(names, directories)
    inline = inlined((entry.path, entry.size) for entry in files)
    for entry in files:
        if (entry.inline is not None) != (entry.path in inline):
            how = "must not be" if entry.inline is not None else "must be"
            raise UnsafeInput(f"file {entry.path[:200]!a} {how} inline")
    if card.files != len(files) or card.size != sum(entry.size for entry in files):
        raise UnsafeInput(f"the card's totals ({card.files} files, {card.size} bytes) are not those of the files")
    if card.content != encode.content_id(files, directories):
        raise UnsafeInput("the card's content id is not that of the files")


def inlined(sizes: Iterable[tuple[str, int]]) -> set[str]:
    """Which files a manifest carries inline, given (path, size in bytes) in path order.

    Raises:
        UnsafeInput: There is no `model.yaml`, or it is too large.
    """
    sizes = list(sizes)
    model_yaml = dict(sizes).get(MODEL_YAML)
    if model_yaml is None:
        raise UnsafeInput(f"there is no {MODEL_YAML}", hint="only trees that BentoML can read have a manifest")
    left = INLINE_BYTES_MAX - model_yaml
    if left < 0:
        raise UnsafeInput(f"{MODEL_YAML} has {model_yaml} bytes, over {INLINE_BYTES_MAX}")
    chosen = {MODEL_YAML} if model_yaml else set()
    for path, size in sizes:
        if path != MODEL_YAML and 0 < size <= min(left, INLINE_FILE_BYTES_MAX):
            chosen.add(path)
            left -= size
    return chosen


def check_text(what: str, text: str, bytes_max: int = MANIFEST_BYTES_MAX) -> None:
    """Refuse text that is not valid Unicode or is longer than `bytes_max` as UTF-8.

    Raises:
        UnsafeInput: The message starts with `what`.
    """
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise UnsafeInput(f"{what} {text[:80]!a} is not valid Unicode") from None
    if length > bytes_max:
        raise UnsafeInput(f"{what} is longer than {bytes_max} bytes")


def labels_bytes(labels: dict[str, str]) -> int:
    """Size of the labels' canonical encoding, line feed not counted. They must be valid Unicode."""
    return len(encode.line(labels)) - 1


def _file_fault(entry: FileEntry) -> str | None:
    size = entry.size
    if not 0 <= size <= INTEGER_MAX:
        return f"size {size} is out of range"
    if len(entry.blocks) != -(-size // BLOCK_BYTES) * BLOCK_DIGEST_BYTES:
        return f"{len(entry.blocks)} bytes of block digests do not fit a size of {size}"
    if len(entry.leaves) != -(-size // LEAF_BYTES) * LEAF_DIGEST_BYTES:
        return f"{len(entry.leaves)} bytes of leaf digests do not fit a size of {size}"
    if entry.inline is None:
        return None
    if len(entry.inline) != size:
        return f"{len(entry.inline)} inline bytes, size {size}"
    if digests.packed(entry.inline) != (entry.leaves, entry.blocks):
        return "inline bytes differ from their digests"
    return None


def _check_table(entry: FileEntry, table: TensorTable) -> None:
    if not entry.path.endswith(TENSOR_SUFFIX):
        raise UnsafeInput(f"a tensor table on a file that is not *{TENSOR_SUFFIX}")
    if not 10 <= table.data_offset <= min(entry.size, 8 + layout.HEADER_BYTES_MAX):
        raise UnsafeInput(f"data section at byte {table.data_offset} of {entry.size}")
    layout.check_rows(table.tensors, entry.size - table.data_offset)


def _check_sorted(what: str, names: Iterable[str]) -> None:
    previous = ""
    for name in names:
        # Code point order is the order of UTF-8 bytes.
        if name < previous:
            raise UnsafeInput(f"{what} are not sorted: {name[:200]!a} comes after {previous[:200]!a}")
        previous = name


def _check_tag(card: Card) -> None:
    written = f"{card.name}:{card.version}"
    try:
        tag = Tag(card.name, card.version) if written == written.lower() else None
    except InvalidTag:
        tag = None
    if tag is None or tag.version == LATEST:
        raise UnsafeInput(f"{written[:200]!a} is not the tag of a version")


def _check_integer(what: str, number: int) -> None:
    if not 0 <= number <= INTEGER_MAX:
        raise UnsafeInput(f"{what} {number} is out of range")


def _check_time(what: str, text: str) -> None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is not UTC or moment.isoformat() != text:
        raise UnsafeInput(f"{what} {text[:80]!a} is not a UTC time as in 2026-11-22T09:59:00.123456+00:00")
