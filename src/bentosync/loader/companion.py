"""A version that another process is pulling, mapped while it comes: nothing is fetched twice, and memory is shared.

Blocks count when they are claimed and this process has proven them, as everywhere (`sharing`); they are read once for
that, and mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bentosync.loader.proof import Proof, Strength, unit_bytes
from bentosync.loader.sharing import Following
from bentosync.loader.staging import Stopped
from bentosync.manifest.values import FileEntry


class Companion:
    """What `arriving` waits for, when somebody else fetches. One per load, for its thread."""

    def __init__(
        self, following: Following, entries: Sequence[FileEntry], strength: Strength, moved: Callable[[str, int], None]
    ) -> None:
        self.fetched_bytes = 0
        self._moved = moved
        self._following = following
        self._proofs = [Proof(entry, strength) for entry in entries]
        self._unit = unit_bytes(strength)
        self._memory = memoryview(bytearray(self._unit))
        self._proven = [0] * len(entries)  # units from the start of each file: tensors are asked for in file order

    def wait(self, number: int, begin: int, end: int, *, idle: Callable[[], None]) -> None:
        """As `arriving.Source` says; raises Stopped when nobody brings it."""
        proof = self._proofs[number]
        if proof.entry.inline is not None:
            return
        for unit in range(max(begin // self._unit, self._proven[number]), -(-end // self._unit)):
            offset = unit * self._unit
            memory = self._memory[: min(self._unit, proof.entry.size - offset)]
            if not self._following.obtain(proof, offset, memory):
                raise Stopped
            self._proven[number] = unit + 1
            self._moved(proof.entry.path, len(memory))
            idle()

    def descriptor(self, number: int) -> int:
        """Weight file `number`, open until the load is closed."""
        fd = self._following.descriptor(self._proofs[number].entry.path)
        if fd is None:
            raise Stopped
        return fd

    def keep(self) -> None:
        """The other process has its own end."""

    def settle(self) -> bool:
        """Nothing is written here; what is known of the store stays known."""
        return False
