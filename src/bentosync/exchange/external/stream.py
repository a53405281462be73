"""The bytes of one file as those who read archives want them: so many at a time, with a look at the first ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType

from bentosync.formats.archive.member import Bytes


class Stream:
    """Bytes in any chunking, read once. A context, which ends what brings them.

    Args:
        pieces: The bytes; closed at the end.
        progress: Told how many were read.
    """

    def __init__(self, pieces: Iterator[Bytes], progress: Callable[[int], None]) -> None:
        self._pieces = pieces
        self._progress = progress
        self._rest = memoryview(b"")

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()

    def head(self, size: int) -> bytes:
        """The next bytes without reading them; fewer at the end of the file."""
        while len(self._rest) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._rest = memoryview(b"".join((self._rest, piece)))
        return bytes(self._rest[:size])

    def read(self, size: int) -> bytes:
        """At most that many next bytes; empty at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = memoryview(piece).cast("B")
        taken, self._rest = self._rest[:size], self._rest[size:]
        self._progress(len(taken))
        return bytes(taken)
