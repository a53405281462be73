"""Proving bytes while they are hot in a slot, before they are copied anywhere.

`full` compares the XXH3 of every 1 MiB block with the manifest's, `strong` the BLAKE3 of every 8 MiB leaf. Reads of a
proven file start and end on such units (or at the end of the file), so a read proves itself and nothing has to be kept
between reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bentosync.errors import IntegrityError
from bentosync.manifest import digests
from bentosync.manifest.values import FileEntry

Strength = Literal["full", "strong"]


def unit_bytes(strength: Strength) -> int:
    """What one digest of this strength covers."""
    return digests.unit_bytes(strong=strength == "strong")


@dataclass(frozen=True, slots=True)
class Proof:
    """What one file must be. `check` may be called from any thread."""

    entry: FileEntry
    strength: Strength

    def check_size(self, size: int) -> None:
        """Raise IntegrityError unless the file has the manifest's size."""
        if size != self.entry.size:
            raise IntegrityError(f"{self.entry.path} has {size} bytes, the manifest says {self.entry.size}", hint=_HINT)

    def check(self, data: memoryview, offset: int) -> None:
        """Raise IntegrityError unless `data`, the file's bytes from `offset` on, is what the manifest says.

        `offset` is a multiple of the unit; `data` ends at one or at the end of the file.
        """
        differing = digests.differing_leaves if self.strength == "strong" else digests.differing_blocks
        for found in differing(self.entry, offset, data):
            raise IntegrityError(
                f"{self.entry.path} differs from its manifest within bytes {found.begin} to {found.end}: "
                f"expected {found.expected.hex()}, read {found.seen.hex()}",
                hint=_HINT,
            )


_HINT = "bentosync verify names every damaged block; bentosync pull --force fetches the version again"
