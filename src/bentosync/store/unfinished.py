"""Versions of which a part is here: pulls that are under way or were cut off, and those of some files only.

They are no versions of the store: nothing gets, loads or deletes them, and BentoML does not see them. A list names them
all the same, because their bytes count: pulling the version fetches only the rest. What their bitmap claims is believed
here; whoever resumes proves it. Reading needs no lock and writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from bentosync.errors import InvalidTag, UnsafeInput
from bentosync.manifest import decode
from bentosync.manifest.rules import MANIFEST_BYTES_MAX
from bentosync.manifest.values import BLOCK_BYTES, Card
from bentosync.store.layout import Layout
from bentosync.store.locks import is_held
from bentosync.store.partial import Partial
from bentosync.tag import Tag

_MARK_BYTES_MAX = 64 << 20


class Unfinished(Struct, frozen=True):
    """One of them. `have_bytes` of `card.size` are here; `files` is how many were asked for, None for all of them.

    `pulling` says that a process works on the version now.
    """

    tag: Tag
    digest: str
    card: Card
    have_bytes: int
    files: int | None
    pulling: bool

    @property
    def percent(self) -> int:
        """Whole percent; 100 only if everything is here."""
        return 100 if self.have_bytes >= self.card.size else int(100 * self.have_bytes / self.card.size)


def unfinished(layout: Layout) -> Iterator[Unfinished]:
    """Every partial whose manifest can be read, in no order."""
    try:
        roots = sorted(layout.partials.iterdir())
    except OSError:
        return
    for root in roots:
        found = _look(root, layout)
        if found is not None:
            yield found


def _look(root: Path, layout: Layout) -> Unfinished | None:
    try:
        with (root / "manifest.jsonl").open("rb") as file:
            data = file.read(MANIFEST_BYTES_MAX + 1)
        _, card = decode.card(data[: decode.HEAD_BYTES])
        _, manifest = decode.document(data, name=card.name, version=card.version)
        tag = Tag(card.name, card.version)
    except (OSError, UnsafeInput, InvalidTag):
        return None
    partial = Partial(root, manifest)
    partial.glance()
    missing = sum(span.length for file in partial.files for span in file.missing(BLOCK_BYTES))
    return Unfinished(
        tag, manifest.digest, manifest.card, manifest.card.size - missing, _chosen(root),
        is_held(layout.lock_path(str(tag))),
    )  # fmt: skip


def _chosen(root: Path) -> int | None:
    """How many files a pull of some files asked for."""
    try:
        with (root / "selection.json").open("rb") as file:
            return len(json.loads(file.read(_MARK_BYTES_MAX))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
