"""Between an import or export and its observer: one running total over all files."""

from __future__ import annotations

import time
from typing import Literal

from bentosync import events


class Watch:
    """Tells an observer how far an operation is. `place` is the archive or folder."""

    def __init__(self, observer: events.Observer, operation: events.Operation, place: str) -> None:
        self._observer = observer
        self._operation = operation
        self._place = place
        self._began = time.monotonic()
        self._tag = ""
        self._total = 0
        self._done = 0

    def phase(self, tag: str, name: str) -> None:
        """A named stage begins."""
        self._observer(events.Phase(self._operation, tag, name))

    def start(self, tag: str, *, files: int, total_bytes: int) -> None:
        """The plan is known; `files` is 0 where it is not known how many there are."""
        self._tag, self._total = tag, total_bytes
        self._observer(events.Started(self._operation, tag, self._place, files, total_bytes, 0))

    def count(self, moved: int) -> None:
        """`moved` more bytes of the total are done; told with the next `advance`."""
        self._done += moved

    def advance(self, path: str, done: int, size: int) -> None:
        """`done` of the `size` bytes of a file are where they belong."""
        total = min(self._done, self._total)
        self._observer(events.Progress(self._operation, self._tag, path, done, size, total, self._total))
        if done == size:
            self._observer(events.FileDone(self._operation, self._tag, path, size))

    def finish(
        self, outcome: Literal["done", "up-to-date"], tag: str, *, files: int, total_bytes: int, digest: str
    ) -> None:
        """The end."""
        moved = total_bytes if outcome == "done" else 0
        self._observer(
            events.Finished(
                self._operation, tag, self._place, outcome, files, total_bytes, moved, total_bytes - moved, 0, 0,
                time.monotonic() - self._began, digest,
            )
        )  # fmt: skip
