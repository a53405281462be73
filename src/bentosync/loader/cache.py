"""What becomes of the local copy of a version that is loaded from a remote, as the caller sees it."""

from __future__ import annotations

import threading
from typing import Any, Literal

State = Literal["none", "filling", "published", "partial", "failed"]


class Cache:
    """`report.cache` of a load. The state may change until `wait` returns; every attribute may be read any time.

    Attributes:
        state: `none`: nothing was to be kept. `filling`: a thread is still at it. `published`: the version is in the
            store. `partial`: what was proven is kept for the next load or pull. `failed`: the disk refused.
        how: `tee` (written while it was loaded), `pull` (pulled first), `follow` (another process wrote it), `none`.
        reason: Why it is not published, where that is not what was asked for.
        written_bytes: Written while loading.
        skipped_bytes: Let go because the disk did not keep up; fetched again afterwards.
        fetched_bytes: Fetched after the load: what was let go, and the files that hold no tensors.
    """

    def __init__(self, how: Literal["tee", "pull", "follow", "none"], state: State) -> None:
        self.how = how
        self.state: State = state
        self.reason: str | None = None
        self.written_bytes = 0
        self.skipped_bytes = 0
        self.fetched_bytes = 0
        self._done = threading.Event()
        if state != "filling":
            self._done.set()

    def wait(self, timeout: float | None = None) -> State:
        """Wait until the copy is published or given up, `timeout` seconds at most; return the state then."""
        self._done.wait(timeout)
        return self.state

    def settle(self, state: State, reason: str | None = None) -> None:
        """The last word; said once."""
        self.state, self.reason = state, reason or self.reason
        self._done.set()

    def document(self) -> dict[str, Any]:
        """For JSON."""
        names = ("how", "state", "reason", "written_bytes", "skipped_bytes", "fetched_bytes")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        parts = [f"{self.state} ({self.how})"]
        parts += [f"{self.skipped_bytes} B let go"] if self.skipped_bytes else []
        parts += [self.reason] if self.reason else []
        return ", ".join(parts)
