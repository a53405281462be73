"""The contract of a remote: plain objects under string keys, with the few guarantees publishing rests on.

Implementations move bytes and translate errors; they hold no policy about what to move. Retrying and tracing are
decorators of this same interface, composed in `remote.open`. One conformance suite (tests/remote) runs against every
implementation and every decorator stack.

Keys are relative to the remote's prefix, `/`-separated, valid UTF-8, and already checked by their makers
(`remote.keys`, `manifest`). Every method may raise `AuthError` (refused), `NetworkError` (unreachable; retryable)
and `RemoteError` (protocol broken; retryable). Missing objects raise `NotFound`, a missing bucket `MissingRemote`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from msgspec import Struct

from bentosync.errors import AuthError, NotFound
from bentosync.wire.exchange import Extent, Sink


class MissingRemote(NotFound):
    """The place itself is not there: no answer about one of its objects."""


class Forbidden(AuthError):
    """Known credentials that lack one permission: other calls may well succeed. `permission` names it, if known."""

    def __init__(self, message: str, *, permission: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.permission = permission


ChecksumName = Literal["crc64nvme", "crc32"]


class Properties(Struct, frozen=True):
    """Facts about a remote that callers may act on, instead of asking for its type.

    `checksum` names the full-object checksum that the store verifies when an upload completes; None means it
    verifies none. `part_bytes_min` applies to every part but the last.
    """

    url: str
    checksum: ChecksumName | None
    part_bytes_min: int
    parts_max: int
    put_bytes_max: int


class Access(Struct, frozen=True):
    """How a remote is reached, for whoever looks why it does not work. None is what does not apply to it.

    `credentials` says where they were found, `proxy` is its URL without any. `clock_ahead_seconds` is the store's clock
    minus ours, by its last reply.
    """

    endpoint: str | None = None
    region: str | None = None
    addressing: str | None = None
    proxy: str | None = None
    credentials: str | None = None
    clock_ahead_seconds: float | None = None


class Stat(Struct, frozen=True):
    """One object. `checksum` is the full-object value of `Properties.checksum` if the store reports one."""

    key: str
    size: int
    etag: str
    modified_at: float
    checksum: bytes | None = None


class Located(Struct, frozen=True):
    """An object as its store knows it: what the store needs in order to copy it by itself.

    `store` is equal for two objects if one request can name both; `path` is bucket and key, percent-encoded. `owner` is
    who must own that bucket, if anybody said.
    """

    store: str
    path: str
    owner: str | None = None


class Entity(Struct, frozen=True):
    """A small object read whole."""

    data: bytes
    etag: str


class Blob(Struct, frozen=True):
    """A small object to be stored; `checksum` as in `Remote.write`."""

    key: str
    data: memoryview
    checksum: bytes | None


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload in flight; serialisable, so that another process can go on with it.

    `from_files`: `send_part` takes extents of files. Only where the store has said that it checks the checksum of what
    arrives, because nobody else sees those bytes; and only of the process that began the upload.
    """

    key: str
    id: str
    from_files: bool = field(default=False, compare=False)


class Part(Struct, frozen=True):
    """One stored part, numbered from 1.

    `checksum` or `md5`, if equal to that of local bytes, proves that they are what the part holds; a different `md5`
    proves nothing, because only some stores use MD5 as ETag. `etag` is opaque.
    """

    number: int
    size: int
    etag: str
    checksum: bytes | None = None
    md5: bytes | None = None


class IfMatch(Struct, frozen=True):
    """Write only if the object's current ETag is this one."""

    etag: str


class IfAbsent(Struct, frozen=True):
    """Write only if there is no object under the key."""


Condition = IfAbsent | IfMatch | None


class RangeSink(Sink, Protocol):
    """A sink that can go on after a failure."""

    def rewind(self) -> int:
        """Forget bytes that arrived but are not proven; return how many bytes from the start of the range count.

        The next attempt asks for the rest of the range only.
        """
        ...


class Remote(Protocol):
    """See the module's docstring for what holds for every method."""

    @property
    def properties(self) -> Properties:
        """Facts; constant for the life of this object."""
        ...

    async def read(self, key: str, *, bytes_max: int) -> Entity:
        """The whole object. Raises `UnsafeInput` if it is longer than `bytes_max`, before reading it."""
        ...

    async def read_range(self, key: str, start: int, length: int, sink: RangeSink, *, etag: str | None = None) -> str:
        """Exactly bytes [start, start + length) into `sink`, in order; return the object's ETag.

        `length` > 0. A reply that is not that range of that object (wrong status, range, length, encoding) raises
        `RemoteError` before a byte reaches the sink; an object that ends before start + length, `IntegrityError`.
        With `etag`, an object that has another one raises `Conflict`.
        When the call returns or raises, no buffer of the sink is in use any more. The buffers of a failed call may
        hold bytes that were not counted; see `RangeSink.rewind`.
        """
        ...

    async def stat(self, key: str) -> Stat:
        """Size, ETag and checksum of the object."""
        ...

    async def write(
        self,
        key: str,
        data: Sequence[memoryview] | bytes,
        *,
        condition: Condition = None,
        checksum: bytes | None = None,
    ) -> str:
        """Store `data` as the whole object, atomically and durably; return its ETag.

        A condition that does not hold raises `Conflict`. After a lost reply the caller cannot know who won: read
        back and compare. `checksum` is the full-object value named by `Properties.checksum`.
        """
        ...

    async def write_all(self, objects: Sequence[Blob], *, condition: Condition = None, jobs: int) -> Sequence[bool]:
        """Store many small objects, up to `jobs` at a time, each as `write` does; which of them are stored for certain.

        A short way for what is expected to go well. It tries once: False says that the object may be stored or not,
        and whoever asks `write` for it learns why.
        """
        ...

    async def start_upload(self, key: str, *, size: int, part_bytes: int) -> Upload:
        """Begin a multipart upload; nothing is visible under `key` before `complete_upload`."""
        ...

    async def send_part(
        self, upload: Upload, number: int, data: Sequence[memoryview] | Extent, *, checksum: bytes | None
    ) -> Part:
        """Store part `number` (from 1); the same number again replaces the part.

        All parts but the last have the `part_bytes` the upload was started with. Raises `NotFound` if the upload is
        gone, and a retryable `IntegrityError` if the store received bytes of another `checksum`. A part that is an
        extent has a checksum; a file that ends before it raises an `IntegrityError` that is not retryable.
        """
        ...

    async def list_parts(self, upload: Upload) -> list[Part]:
        """Every part stored so far, by number, each number once. Raises `NotFound` if the upload is gone."""
        ...

    async def complete_upload(self, upload: Upload, parts: Sequence[Part], *, checksum: bytes | None) -> str:
        """Make the object out of exactly these parts, in order, if the key is still free; return its ETag.

        `checksum` is the full-object value; a store that verifies it refuses other bytes with `IntegrityError`.
        A taken key raises `Conflict`, a vanished upload `NotFound`: after a lost reply both may mean that this very
        upload won, so callers `stat` and compare size and checksum.
        """
        ...

    async def abort_upload(self, upload: Upload) -> None:
        """Drop the upload and its parts. No error if it is gone."""
        ...

    def list_uploads(self, prefix: str) -> AsyncIterator[Upload]:
        """Multipart uploads in flight whose key starts with `prefix`."""
        ...

    def list(self, prefix: str) -> AsyncIterator[Stat]:
        """Every object whose key starts with `prefix`, each once.

        In key order where the store lists so; SeaweedFS walks folders, and gives `m/a/b` before `m/a.txt`.
        """
        ...

    async def delete(self, key: str, *, condition: IfMatch | None = None) -> None:
        """Remove the object. No error if there is none.

        With a condition, only if it is that very object, else `Conflict`; a store that does not know conditional
        deletes removes it in any case, so nothing may rest on the condition alone. After a lost reply the object may be
        gone and the answer `Conflict`: callers `stat`.
        """
        ...

    async def locate(self, key: str) -> Located | None:
        """How to name the object to a store that shall copy it; None where stores do not copy."""
        ...

    async def copy(self, source: Located, key: str, *, size: int) -> bool:
        """Have the store make `key` out of `source`, an object of `size` bytes; False if that is not its to copy.

        Nothing crosses this machine, so nothing is proven: read it back.
        """
        ...

    async def place(self) -> str:
        """Which place of all this is: the URL, and for a bucket its endpoint too. What is remembered goes by it."""
        ...

    async def access(self) -> Access:
        """How the place is reached. Asks nobody: what only the store can tell is known after another call."""
        ...

    async def conditional_writes(self) -> bool:
        """Whether the store honours `IfAbsent` and `IfMatch`; writers ask before they publish, readers never.

        Known by contract, or probed with two small writes of a scratch key and remembered.
        """
        ...

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        ...
