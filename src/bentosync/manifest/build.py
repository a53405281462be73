"""Composing a manifest from digested files: order, inline bytes, totals, content id, digest.

What is composed here passes every check a reader makes, because it is checked by the same rules before it is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

import blake3
from msgspec.structs import replace

from bentosync.errors import Conflict, InvalidArgument, UnsafeInput
from bentosync.manifest import digests, encode, paths, rules
from bentosync.manifest.values import Card, FileEntry, Manifest


def compose(
    *,
    name: str,
    version: str,
    created: str,
    module: str,
    labels: Mapping[str, str],
    files: Iterable[FileEntry],
    directories: Iterable[str],
    read: Callable[[str], bytes],
) -> Manifest:
    """The manifest of one tree.

    Args:
        name: Name of the model.
        version: Its version.
        created: Creation time, ISO 8601; kept in UTC, and taken for UTC if it says nothing.
        module: As in `model.yaml`; dropped from the card if it is too long for one.
        labels: As in `model.yaml`; dropped from the card if too long for one.
        files: Every file with its digests, in any order; inline bytes are filled in here.
        directories: Every directory of the tree, or only the empty ones; only those without entries are recorded.
        read: Returns the bytes of a small file by path; called for the files that go inline.

    Raises:
        UnsafeInput: A path, a header or a limit of the format refuses this tree.
        Conflict: A file changed since it was digested.
        InvalidArgument: `created` is not a time.
    """
    entries = sorted(files, key=lambda entry: entry.path)
    names = [entry.path for entry in entries]
    empty = _empty(directories, names)
    paths.check_all(names, empty)
    inline = rules.inlined((entry.path, entry.size) for entry in entries)
    entries = [_with_inline(entry, read) if entry.path in inline else _without_inline(entry) for entry in entries]
    for entry in entries:
        rules.check_file(entry)
    card = Card(
        name=name,
        version=version,
        content=encode.content_id(entries, empty),
        size=sum(entry.size for entry in entries),
        files=len(entries),
        created=_utc(created),
        module=_module(module),
        labels=_labels(labels),
    )
    rules.check_card(card)
    rules.check_tree(card, entries, empty)
    return Manifest(card=card, files=tuple(entries), directories=tuple(empty), digest=_digest(card, entries, empty))


def _with_inline(entry: FileEntry, read: Callable[[str], bytes]) -> FileEntry:
    data = read(entry.path)
    if len(data) != entry.size or digests.packed(data) != (entry.leaves, entry.blocks):
        raise Conflict(f"file {entry.path!a} changed while it was read", hint="try again when nothing writes to it")
    return replace(entry, inline=data)


def _without_inline(entry: FileEntry) -> FileEntry:
    return entry if entry.inline is None else replace(entry, inline=None)


def _empty(directories: Iterable[str], files: Iterable[str]) -> list[str]:
    known = set(directories)
    inhabited = {path.rpartition("/")[0] for path in (*files, *known)}
    return sorted(known - inhabited)


def _utc(created: str) -> str:
    try:
        moment = datetime.fromisoformat(created)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise InvalidArgument(f"creation time {created[:80]!a} is not an ISO 8601 time") from None


def _module(module: str) -> str:
    rules.check_text("module", module)
    return module if len(module.encode()) <= rules.MODULE_BYTES_MAX else ""


def _labels(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    for pair in labels.items():
        for text in pair:
            rules.check_text("label", text)
    fit = rules.labels_bytes(dict(labels)) <= rules.LABELS_BYTES_MAX
    return tuple(sorted(labels.items())) if fit else ()


def _digest(card: Card, entries: Iterable[FileEntry], directories: Iterable[str]) -> str:
    digest, total = blake3.blake3(), 0
    for line in encode.body_lines(card, entries, directories):
        digest.update(line)
        total += len(line)
    # An envelope must still fit in front.
    if total > rules.MANIFEST_BYTES_MAX - rules.HEAD_LINE_BYTES_MAX:
        raise UnsafeInput(f"the manifest has {total} bytes, over {rules.MANIFEST_BYTES_MAX}")
    return digest.hexdigest()
