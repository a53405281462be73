"""Rows of `list`: one per model of the store, newest first, without walking or parsing more than is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from bentosync.cli import amounts
from bentosync.store.model import Model
from bentosync.store.store import Store
from bentosync.tag import LATEST, Tag

if TYPE_CHECKING:
    from bentosync.store.unfinished import Unfinished
    from bentosync.sync.heads import Head


class Row(Struct, frozen=True):
    """One model."""

    tag: str
    module: str
    size_bytes: int
    created: datetime
    labels: dict[str, str]
    partial: Unfinished | None = None
    """Set if only a part of it is here, so that it is no version of the store yet."""

    @property
    def state(self) -> str:
        """What a list says about a version that is not whole."""
        if self.partial is None:
            return ""
        some = self.partial.files
        of = f"{amounts.plural(some, 'file')} of {self.partial.card.files}, " if some is not None else ""
        return f"{'being pulled' if self.partial.pulling else 'partial'}: {of}{self.partial.percent}%"

    def cells(self) -> tuple[str, str, str, str]:
        """Tag, module, size and local time, as BentoML prints them."""
        return self.tag, self.module, amounts.exact(self.size_bytes), amounts.local_time(self.created)

    def bentoml_document(self) -> dict[str, Any]:
        """The four keys of `bentoml models list -o json`."""
        return dict(zip(("tag", "module", "size", "creation_time"), self.cells(), strict=True))

    def document(self, digest: str | None) -> dict[str, Any]:
        """The same four, and what a program wants."""
        return self.bentoml_document() | {
            "size_bytes": self.size_bytes,
            "created": self.created.isoformat(),
            "digest": digest,
            "labels": self.labels,
            "partial": self._partial(),
        }

    def _partial(self) -> dict[str, Any] | None:
        found = self.partial
        if found is None:
            return None
        return {"have_bytes": found.have_bytes, "files": found.files, "pulling": found.pulling}


def partial_rows(store: Store, target: str | None = None) -> list[Row]:
    """The versions of which only a part is here; of `target` only, if it names a model or a version."""
    unfinished = store.unfinished()
    if not unfinished:
        return []
    from bentosync.sync.heads import instant

    wanted = None if target is None else Tag.from_str(target)
    return [
        Row(str(found.tag), found.card.module, found.card.size, instant(found.card.created),
            dict(found.card.labels), found)
        for found in unfinished
        if wanted is None or (found.tag.name == wanted.name and wanted.version in (None, LATEST, found.tag.version))
    ]  # fmt: skip


def rows(store: Store, target: str | None = None) -> list[Row]:
    """The models of the store, or those `target` (a name or tag) stands for; newest first.

    Raises:
        NotFound: No model has that name.
    """
    if target is None:
        found = [
            Row(str(seen.tag), seen.module, seen.size_bytes, seen.creation_time, dict(seen.labels))
            for seen in store.summaries()
        ]
    else:
        found = [row(model) for model in store.list(target)]
    return sorted(found, key=lambda row: row.created, reverse=True)


def labelled(labels: Mapping[str, str], wanted: Iterable[str]) -> bool:
    """Whether a model has all the labels that are wanted, each `key=value` or, with any value, `key`."""
    return all(
        key in labels and (not equals or labels[key] == value)
        for key, equals, value in (each.partition("=") for each in wanted)
    )


def remote_row(head: Head) -> Row:
    """The row of a version on a remote."""
    card = head.card
    return Row(str(head.tag), card.module, card.size, head.created, dict(card.labels))


def remote_document(head: Head) -> dict[str, Any]:
    """A version on a remote for `--json`. Its digest is not in the head of its manifest, its content id is."""
    envelope = head.envelope
    return remote_row(head).document(None) | {
        "content": head.card.content,
        "files": head.card.files,
        "pushed_by": envelope.pushed_by,
        "pushed_host": envelope.pushed_host,
        "pushed_at": envelope.pushed_at,
    }


def digest_of(store: Store, tag: str) -> str | None:
    """The pin of a version, None while nobody has computed it."""
    record = store.record(Tag.from_str(tag))
    return None if record is None else record.manifest.pin


def row(model: Model) -> Row:
    """The row of one model."""
    info = model.info
    return Row(str(model.tag), info.module, model.file_size, info.creation_time, dict(info.labels))
