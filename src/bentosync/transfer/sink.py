"""Where a range lands when it is to stay in memory, and what a sink says of bytes that it does not take."""

from __future__ import annotations

from bentosync.errors import IntegrityError
from bentosync.manifest.digests import Difference
from bentosync.manifest.values import FileEntry


def arrived_wrong(entry: FileEntry, found: Difference) -> IntegrityError:
    """What to raise, so that the range is asked for again: bytes may have been damaged on the way."""
    return IntegrityError(
        f"{entry.path}: bytes {found.begin}..{found.end} arrived, but their {found.kind} digest is not the manifest's",
        retryable=True,
    )


class MemorySink:
    """A range sink that fills `memory`, as long as the range, and proves nothing; see `remote.contract.RangeSink`."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._filled = 0

    @property
    def data(self) -> memoryview:
        """What arrived."""
        return self._memory[: self._filled]

    def buffer(self) -> memoryview:
        """The rest of the range."""
        return self._memory[self._filled :]

    def filled(self, count: int) -> None:
        """Count bytes in."""
        self._filled += count

    def rewind(self) -> int:
        """All that arrived stays: whoever reads it later is who proves it."""
        return self._filled
