"""The heads of manifests: what a list of a remote shows, for one small range a version instead of whole manifests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import Struct

from bentosync.errors import BentoMLException, NotFound, UnsafeInput
from bentosync.manifest import decode
from bentosync.manifest.values import Card, Envelope
from bentosync.remote import keys
from bentosync.remote.contract import Remote, Stat
from bentosync.tag import Tag
from bentosync.transfer import engine
from bentosync.transfer.sink import MemorySink


class Head(Struct, frozen=True):
    """A version on a remote, as the first lines of its manifest describe it; `etag` is the manifest's."""

    tag: Tag
    envelope: Envelope
    card: Card
    etag: str

    @property
    def prefix(self) -> str:
        """What the keys of its files start with; ends with `/`."""
        return keys.folder_prefix(self.tag, self.envelope.push_id)

    @property
    def created(self) -> datetime:
        """When the model was created, aware."""
        return instant(self.card.created)


async def read(remote: Remote, stat: Stat, tag: Tag) -> Head:
    """The head of the manifest of `tag` that `stat` describes.

    Raises:
        UnsafeInput: It is no manifest, or another version's.
        NotFound: It is gone.
    """
    if stat.size == 0:
        raise UnsafeInput(f"{stat.key} is empty, not a manifest")
    size = min(stat.size, decode.HEAD_BYTES)
    sink = MemorySink(memoryview(bytearray(size)))
    etag = await remote.read_range(stat.key, 0, size, sink)
    try:
        envelope, card = decode.card(bytes(sink.data))
    except UnsafeInput as error:
        raise UnsafeInput(f"{stat.key}: {error.message}") from error
    if (card.name, card.version) != (tag.name, tag.version):
        raise UnsafeInput(f"{stat.key} is the manifest of {card.name}:{card.version}")
    return Head(tag, envelope, card, etag)


async def read_all(
    remote: Remote, name: str | None, *, jobs: int, unreadable: Callable[[Tag, BentoMLException], None]
) -> list[Head]:
    """The heads of all versions on `remote`, or of model `name`, sorted by tag.

    Args:
        remote: Where to look.
        name: Of one model; None for all.
        jobs: Requests in flight.
        unreadable: Is told about each manifest that is none, and may raise; those that vanish meanwhile do not count.
    """
    found: list[Head] = []

    async def look(stat: Stat, tag: Tag) -> None:
        try:
            found.append(await read(remote, stat, tag))
        except UnsafeInput as error:
            unreadable(tag, error)
        except NotFound:
            return

    prefix = keys.MODELS if name is None else keys.model_prefix(name)
    listed = [(stat, keys.parse_manifest(stat.key)) async for stat in remote.list(prefix)]
    await engine.drain([lambda s=stat, t=tag: look(s, t) for stat, tag in listed if tag is not None], workers=jobs)  # type: ignore[misc]
    return sorted(found, key=lambda head: head.tag)


def instant(iso: str) -> datetime:
    """The moment that `iso` names; the beginning of time if it names none, so that it never wins."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
