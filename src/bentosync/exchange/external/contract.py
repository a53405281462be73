"""The contract of external storage: files by their path, written and read as one stream.

Paths are those of a `Location`: relative to its host, `/`-separated. Everything blocks, belongs to one thread, and
raises our families only: `NotFound`, `AuthError`, `NetworkError` and its children. What a library says comes without
the location's secrets. Implementations run the same suite (tests/exchange/external/conformance.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from bentosync.formats.archive.member import Bytes


@dataclass(frozen=True, slots=True)
class Found:
    """A file of `size` bytes, or a folder. `size` is -1 where only reading tells."""

    path: str
    size: int = 0
    folder: bool = False


class Sending(Protocol):
    """A file on its way: a context, and nothing is under its name before `commit`, nor after an exit without one."""

    position: int
    """How many bytes were written."""

    def __enter__(self) -> Sending: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Without `commit`: remove what was sent. Never raises; what it cannot remove it tells the log."""

    def write(self, parts: Sequence[Bytes]) -> None:
        """Append; the buffers may be reused afterwards."""

    def commit(self) -> None:
        """Make it the file of that name, whole, in the place of an older one."""


class Storage(Protocol):
    """See the module's docstring for what holds for every method."""

    def find(self, path: str) -> Found | None:
        """What is there; None if there is nothing."""

    def read(self, found: Found) -> Iterator[Bytes]:
        """All bytes of a file, in pieces that are valid until the next; close the iterator to stop early.

        A connection that breaks is made again and reading goes on behind what arrived, a bounded number of times.
        Exactly `found.size` bytes come, where that is known, or an error does.
        """

    def create(self, path: str, bytes_max: int) -> Sending:
        """Begin to write a file of at most about `bytes_max` bytes; folders on the way are made."""

    def walk(self, path: str) -> Iterator[Found]:
        """Every file below a folder, and its empty folders where the storage has such things."""

    def remove(self, path: str) -> None:
        """Remove a file. No error if there is none."""

    def close(self) -> None:
        """Close connections. Idempotent."""
