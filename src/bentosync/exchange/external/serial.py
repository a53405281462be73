"""One observer for several threads: whoever reads ahead tells of its retries while others tell of progress."""

from __future__ import annotations

from threading import Lock

from bentosync.events import Event, Observer


def serial(observer: Observer) -> Observer:
    """`observer`, called by one thread at a time."""
    lock = Lock()

    def observe(event: Event) -> None:
        with lock:
            observer(event)

    return observe
