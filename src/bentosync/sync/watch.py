"""Between an operation and its observer: counts what the final report needs, and keeps progress monotone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from bentosync import cpus, events
from bentosync.transfer import bound
from bentosync.transfer.meter import Meter


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
        self.meter = Meter()
        self._planned = self._measured()
        self._commit_began: float | None = None

    def __call__(self, event: events.Event) -> None:
        """Forward `event`, counting retries."""
        if isinstance(event, events.Retried):
            self._retries += 1
            self.meter.retried(event.code, event.delay_seconds)
        self._observer(event)

    def phase(self, tag: str, name: str) -> None:
        """A named stage begins."""
        if name == "commit" and self._operation in ("pull", "repair"):
            self._commit_began = self._monotonic()
        self(events.Phase(self._operation, tag, name))

    def start(self, tag: str, remote: str, *, files: int, total_bytes: int, reused_bytes: int) -> None:
        """The plan is known."""
        self._planned = self._measured()
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
            self._retries, self._monotonic() - self._began, digest, self._report(moved),
        )  # fmt: skip
        self(finished)
        return finished

    def _measured(self) -> tuple[float, float, float]:
        """Now, by three clocks: steady, CPU of the process, CPU of this thread, which is the loop's."""
        return self._monotonic(), time.process_time(), time.thread_time()

    def _report(self, moved: int) -> events.Report:
        began, now = self._planned, self._measured()
        synced = 0.0 if self._commit_began is None else now[0] - self._commit_began
        span = bound.Span(now[0] - began[0], now[1] - began[1], now[2] - began[2], cpus.usable(), synced)
        return bound.report(self.meter, span, moved_bytes=moved, to_disk=self._remote.startswith("file:"))
