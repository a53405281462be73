"""Bookkeeping of one running operation, shared by every way to show it; no output here, the clock is injected.

Two promises: `done_bytes` never shrinks, and the rate is over all files, counts only bytes that moved (what was
already there would inflate it) and looks back ten seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from msgspec import Struct

from bentosync import events

WINDOW_SECONDS = 10.0
SAMPLE_SECONDS = 0.25
ACTIVE_MAX = 4


class ActiveFile(Struct, frozen=True):
    """A file that has begun and is not complete."""

    path: str
    done_bytes: int
    total_bytes: int


class Snapshot(Struct, frozen=True):
    """Where the operation stands. `eta_seconds` is None while the rate is unknown."""

    operation: str
    tag: str
    done_bytes: int
    total_bytes: int
    files_done: int
    files: int
    retries: int
    bytes_per_second: float
    eta_seconds: float | None
    active: tuple[ActiveFile, ...]

    @property
    def percent(self) -> int:
        """Whole percent done; 100 only at the very end."""
        return 100 if self.total_bytes <= self.done_bytes else int(100 * self.done_bytes / self.total_bytes)


class Account:
    """Folds events into a `Snapshot`. `clock` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.started: events.Started | None = None
        self.finished: events.Finished | None = None
        self.warnings: list[str] = []
        self._done = 0
        self._files_done: set[str] = set()
        self._active: dict[str, ActiveFile] = {}
        self._retries = 0
        self._samples: deque[tuple[float, int]] = deque()

    def see(self, event: events.Event) -> None:
        """Take `event` into account."""
        match event:
            case events.Started():
                self.started = event
                self._done = event.reused_bytes
                self._samples = deque([(self._clock(), self._done)])
            case events.Progress():
                self._progress(event)
            case events.FileDone(path=path):
                self._files_done.add(path)
                self._active.pop(path, None)
            case events.Retried():
                self._retries += 1
            case events.Warned(message=message):
                self.warnings.append(message)
            case events.Finished():
                self.finished = event
            case _:
                pass

    @property
    def running(self) -> bool:
        """Whether bytes are expected: the plan is known, something is missing, and the end is not there yet."""
        return self.started is not None and self.finished is None and self._done < self.started.total_bytes

    def snapshot(self) -> Snapshot:
        """Where the operation stands now. Only after `Started`."""
        assert self.started is not None
        speed = self._speed()
        total = self.started.total_bytes
        return Snapshot(
            operation=self.started.operation,
            tag=self.started.tag,
            done_bytes=self._done,
            total_bytes=total,
            files_done=len(self._files_done),
            files=self.started.files,
            retries=self._retries,
            bytes_per_second=speed,
            eta_seconds=(total - self._done) / speed if speed > 0 else None,
            active=tuple(self._active.values())[:ACTIVE_MAX],
        )

    def _progress(self, event: events.Progress) -> None:
        self._done = max(self._done, event.done_bytes)
        before = self._active.get(event.path)
        done = max(event.file_done_bytes, before.done_bytes if before else 0)
        if event.path not in self._files_done:
            self._active[event.path] = ActiveFile(event.path, done, event.file_total_bytes)
        now = self._clock()
        if not self._samples or now - self._samples[-1][0] >= SAMPLE_SECONDS:
            self._samples.append((now, self._done))
        while len(self._samples) > 2 and now - self._samples[1][0] >= WINDOW_SECONDS:
            self._samples.popleft()

    def _speed(self) -> float:
        if not self._samples:
            return 0.0
        began, done = self._samples[0]
        elapsed = self._clock() - began
        return (self._done - done) / elapsed if elapsed > 0 else 0.0
