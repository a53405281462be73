"""Events as JSON lines on stderr, for programs: each line is one object with `"v": 1` and an `event`.

`start`, `phase`, `progress` (at most four per second, and the last), `file_done`, `retry`, `warning`, `waiting`,
`done`; an error ends the stream with `error` (written by `main`). Fields are those of `bentosync.events`.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from msgspec import to_builtins

from bentosync import events
from bentosync.cli.progress.account import Account
from bentosync.cli.progress.view import Say, View

INTERVAL_SECONDS = 0.25

NAMES: dict[type[events.Event], str] = {
    events.Started: "start",
    events.Phase: "phase",
    events.Progress: "progress",
    events.FileDone: "file_done",
    events.Retried: "retry",
    events.Warned: "warning",
    events.Waiting: "waiting",
    events.Finished: "done",
}


class JsonView(View):
    """Progress as JSON lines through `say`."""

    def __init__(self, say: Say, clock: Callable[[], float]) -> None:
        super().__init__(Account(clock))
        self._say = say
        self._clock = clock
        self._next = clock()

    def show(self, event: events.Event) -> None:
        """One line, unless it is a progress too soon after the last one."""
        if isinstance(event, events.Progress):
            complete = event.done_bytes == event.total_bytes
            if self._clock() < self._next and not complete:
                return
            self._next = self._clock() + INTERVAL_SECONDS
        document = {"v": 1, "event": NAMES[type(event)], **to_builtins(event)}
        if isinstance(event, events.Progress):
            at = self.account.snapshot()
            document |= {"bytes_per_second": round(at.bytes_per_second), "eta_seconds": at.eta_seconds}
        self._say(json.dumps(document, ensure_ascii=False))
