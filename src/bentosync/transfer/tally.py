"""What an upload has moved so far."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field

from bentosync.manifest.values import FileEntry
from bentosync.store.record import PartChecksums, Stamp
from bentosync.transfer.meter import Meter


class Tally(Struct):
    """What an upload moved. `on_sent` is called as bytes are safely stored; it never hears of a byte twice.

    `digested` holds every file's entry and its stamp; None if that was too young to be remembered. `parts` holds the
    checksums of those that went in parts.
    """

    on_sent: Callable[[str, int], None]
    meter: Meter = field(default_factory=Meter)
    digested: dict[str, tuple[FileEntry, Stamp | None]] = field(default_factory=dict)
    parts: dict[str, PartChecksums] = field(default_factory=dict)
    _sent: dict[str, int] = field(default_factory=dict)
    _reused: dict[str, int] = field(default_factory=dict)
    _told: dict[str, int] = field(default_factory=dict)

    @property
    def sent(self) -> int:
        """Bytes that were sent."""
        return sum(self._sent.values())

    @property
    def reused(self) -> int:
        """Bytes that were stored already."""
        return sum(self._reused.values())

    def begin(self, path: str) -> None:
        """A file is sent from its start, perhaps again: what an earlier try stored is gone."""
        self._sent[path] = self._reused[path] = 0

    def add(self, path: str, *, sent: int = 0, reused: int = 0) -> None:
        """More bytes of the file at `path` are stored."""
        self._sent[path] += sent
        self._reused[path] += reused
        stored = self._sent[path] + self._reused[path]
        told = self._told.get(path, 0)
        if stored > told or stored == 0:
            self._told[path] = stored
            self.on_sent(path, stored - told)
