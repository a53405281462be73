"""A pull as the events tell it, with a clock to tell it by."""

from __future__ import annotations

from bentosync import events
from bentosync.cli.progress.view import View

TAG = "m:v1"
MIB = 1 << 20


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def started(total: int = 100 * MIB, reused: int = 0, files: int = 4) -> events.Started:
    return events.Started("pull", TAG, "file:///nas", files, total, reused)


def progress(done: int, path: str = "a", file_done: int | None = None, total: int = 100 * MIB) -> events.Progress:
    return events.Progress("pull", TAG, path, done if file_done is None else file_done, total, done, total)


def finished(moved: int = 100 * MIB) -> events.Finished:
    return events.Finished(
        "pull", TAG, "file:///nas", "done", 4, 100 * MIB, moved, 100 * MIB - moved, 0, 0, 2.0, "b3:0"
    )


def run(view: View, clock: Clock, *, seconds: float, steps: int) -> None:
    """A steady pull of 100 MiB over four files, from `Started` to `Finished`."""
    view(events.Phase("pull", TAG, "resolve"))
    view(started())
    for step in range(1, steps + 1):
        clock.now += seconds / steps
        done = 100 * MIB * step // steps
        path = f"part-{4 * (step - 1) // steps}"
        view(progress(done, path, done % (25 * MIB), total=100 * MIB))
    view(finished())
