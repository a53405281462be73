"""What a running operation tells whoever watches it. Nobody below `cli` prints.

Events are frozen values; an `Observer` is any callable that takes one. Observers are called from the event loop's
thread, must return quickly and must not raise. Byte counts are payload bytes of model files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from msgspec import Struct

Operation: TypeAlias = Literal["push", "pull", "verify", "load", "create", "repair", "copy", "import", "export"]


class Started(Struct, frozen=True):
    """The plan is known: `total_bytes` of the version, of which `reused_bytes` need not move."""

    operation: Operation
    tag: str
    remote: str
    files: int
    total_bytes: int
    reused_bytes: int


class Phase(Struct, frozen=True):
    """A named stage began (resolve, hash, transfer, commit); shown when it lasts longer than 0.3 s."""

    operation: Operation
    tag: str
    name: str


class Progress(Struct, frozen=True):
    """`path` now has `file_done_bytes` of `file_total_bytes` proven; `done_bytes` over all files, never shrinking."""

    operation: Operation
    tag: str
    path: str
    file_done_bytes: int
    file_total_bytes: int
    done_bytes: int
    total_bytes: int


class FileDone(Struct, frozen=True):
    """Every byte of `path` is where it belongs and proven."""

    operation: Operation
    tag: str
    path: str
    size_bytes: int


class Retried(Struct, frozen=True):
    """An exchange failed and will be tried again after `delay_seconds`. `code` is that of the error's family."""

    what: str
    reason: str
    attempt: int
    delay_seconds: float
    code: str = "NETWORK"


class Warned(Struct, frozen=True):
    """Something the user should know that does not stop the operation."""

    message: str
    hint: str | None = None


class Waiting(Struct, frozen=True):
    """Another process works on the same version; this one waits for it."""

    tag: str
    what: str


BoundBy: TypeAlias = Literal["network", "disk", "cpu", "server", "limit", "none"]


class Report(Struct, frozen=True):
    """How a transfer went, and what its time was spent on. Every field: docs/formats/stats-file.md.

    Shares are between 0 and 1; they may overlap, and what bound the transfer is judged from them.
    """

    bound_by: BoundBy
    bytes_per_second: float
    requests: int
    throttled: int
    restarts: int
    splits: int
    hedges: int
    hedged_bytes: int
    streams_most: int
    cpu_seconds: float
    network_share: float
    disk_share: float
    hash_share: float
    cpu_share: float
    server_share: float
    limit_share: float


class Finished(Struct, frozen=True):
    """The end of a push or pull. Moved + reused = total; `refetched_bytes` moved more than once."""

    operation: Operation
    tag: str
    remote: str
    outcome: Literal["done", "up-to-date"]
    files: int
    total_bytes: int
    moved_bytes: int
    reused_bytes: int
    refetched_bytes: int
    retries: int
    seconds: float
    digest: str
    report: Report | None = None


Event: TypeAlias = Started | Phase | Progress | FileDone | Retried | Warned | Waiting | Finished
Observer: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The observer that watches nothing."""
