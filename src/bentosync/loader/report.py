"""What a load did: bytes and seconds per stage, the path taken, and what it was bound by."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from bentosync.loader.cache import Cache
from bentosync.loader.timeline import Timeline

Route = Literal["mapped", "page-cache", "direct", "mixed", "network", "network-mapped"]
"""`network-mapped`: pulled into the store, tensors mapped from there as their bytes came."""


Verified = Literal["off", "trusted", "full", "strong"]

_READING = {"direct": "the disk", "network": "the network", "network-mapped": "the network, or the store's disk"}


@dataclass(frozen=True, slots=True)
class Stages:
    """Where the time went, in seconds. Readers run side by side, so theirs are sums over threads."""

    open: float = 0.0
    """Resolving, opening files, parsing headers, planning."""
    read: float = 0.0
    """Readers: bytes from files into slots."""
    check: float = 0.0
    """Readers: digests."""
    copy: float = 0.0
    """Readers: starting copies to the device (on the CPU: making them)."""
    slot: float = 0.0
    """Readers: waiting for a slot whose copy is done, or making one."""
    room: float = 0.0
    """Readers: allocating device memory, or waiting until the caller took earlier tensors."""
    hand_out: float = 0.0
    """The caller's thread: making views, casting."""

    def __add__(self, other: Stages) -> Stages:
        return Stages(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Report:
    """One load. `bytes` are the tensors', `read_bytes` what was read for them; a mapped load reads nothing itself.

    `checked_bytes` of those were proven by their digests, `fetched_bytes` came over the network now. `cache` says what
    becomes of the local copy of a version that came from a remote, `timeline` when which stage of a streamed load was
    reached.
    """

    label: str
    device: str
    path: Route
    files: int
    tensors: int
    bytes: int
    read_bytes: int
    overread_bytes: int
    seconds: float
    stages: Stages
    readers: int
    ring_bytes: int
    pinned_bytes: int
    device_peak_bytes: int
    verified: Verified
    checked_bytes: int = 0
    fetched_bytes: int = 0
    cache: Cache | None = None
    timeline: Timeline | None = None

    def document(self) -> dict[str, Any]:
        """For JSON."""
        plain = asdict(replace(self, cache=None))
        return plain | {"cache": self.cache.document() if self.cache else None, "bound_by": self.bound_by}

    @property
    def bound_by(self) -> str:
        """The stage that readers spent most of their time in, in words."""
        if self.path == "mapped":
            return "nothing yet: pages are read when they are touched"
        stages = self.stages
        costs = {
            _READING.get(self.path, "reading the files"): stages.read,
            "checksums": stages.check,
            "copies to the device": stages.copy + stages.slot,
            "device memory": stages.room,
        }
        return max(costs, key=lambda name: costs[name])

    def __str__(self) -> str:
        rate = f" ({self.bytes / self.seconds / 1e9:.2f} GB/s)" if self.path != "mapped" and self.seconds > 0 else ""
        tensors, files = _count(self.tensors, "tensor"), _count(self.files, "file")
        lines = [
            f"{self.label}: {tensors}, {_size(self.bytes)} from {files} on {self.device} in {self.seconds:.3f} s{rate}",
            f"path {self.path}, verify {self.verified}, bound by {self.bound_by}",
        ]
        if self.path != "mapped":
            parts = " ".join(f"{name} {getattr(self.stages, name):.3f}" for name in self.stages.__slots__)
            lines += [
                f"seconds ({self.readers} readers): {parts}",
                f"read {_size(self.read_bytes)} (overread {_size(self.overread_bytes)}), "
                f"checked {_size(self.checked_bytes)}, ring {_size(self.ring_bytes)} "
                f"(pinned {_size(self.pinned_bytes)}), device peak {_size(self.device_peak_bytes)}",
            ]
        if self.path in ("network", "network-mapped"):
            lines.append(f"from the network {_size(self.fetched_bytes)}")
        if self.cache is not None and self.cache.state != "none":
            lines.append(f"local copy: {self.cache}")
        return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _size(count: int) -> str:
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= scale:
            return f"{count / scale:.2f} {unit}"
    return f"{count} B"
