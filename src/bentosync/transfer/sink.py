"""Where a range lands when it is to stay in memory."""

from __future__ import annotations


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
