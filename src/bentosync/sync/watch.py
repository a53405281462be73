"""Between an operation and its observer: counts what the final report needs, and keeps progress monotone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from bentosync import events


class Watch:
    """An observer that forwards to another one and remembers. One per push or pull."""

    def __init__(
        self,
        observer: events.Observer,
        operation: events.Operation,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._observer = observer
        self._operation = operation
        self._monotonic = monotonic
        self._began = monotonic()
        self._tag = ""
        self._remote = ""
        self._files = 0
        self._total = 0
        self._reused = 0
        self._done = 0
        self._by_path: dict[str, int] = {}
        self._retries = 0

    def __call__(self, event: events.Event) -> None:
        """Forward `event`, counting retries."""
        if isinstance(event, events.Retried):
            self._retries += 1
        self._observer(event)

    def phase(self, tag: str, name: str) -> None:
        """A named stage begins."""
        self(events.Phase(self._operation, tag, name))

    def start(self, tag: str, remote: str, *, files: int, total_bytes: int, reused_bytes: int) -> None:
        """The plan is known."""
        self._tag, self._remote, self._files = tag, remote, files
        self._total, self._reused, self._done = total_bytes, reused_bytes, reused_bytes
        self(events.Started(self._operation, tag, remote, files, total_bytes, reused_bytes))

    def advance(self, path: str, size: int, count: int, already: int = 0) -> None:
        """`count` more bytes of `path` are where they belong; `already` were so when the operation began.

        A file whose upload vanished is sent again from its start: bytes beyond its size are not counted.
        """
        before = self._by_path.get(path, already)
        done = self._by_path[path] = min(size, before + count)
        self._done += done - before
        self(events.Progress(self._operation, self._tag, path, done, size, self._done, self._total))
        if done == size and (before < size or not size):
            self(events.FileDone(self._operation, self._tag, path, size))

    def finish(
        self, outcome: Literal["done", "up-to-date"], digest: str, *, moved: int, reused: int, refetched: int = 0
    ) -> events.Finished:
        """The end; also sent to the observer."""
        finished = events.Finished(
            self._operation, self._tag, self._remote, outcome, self._files, self._total, moved, reused, refetched,
            self._retries, self._monotonic() - self._began, digest,
        )  # fmt: skip
        self(finished)
        return finished
