"""Lines for logs and pipes: how it starts, then at most one line per ten seconds, never a carriage return."""

from __future__ import annotations

from collections.abc import Callable

from bentosync import events
from bentosync.cli import amounts
from bentosync.cli.progress.account import Account
from bentosync.cli.progress.view import Say, View, opening, remark

LINE_SECONDS = 10.0


class PlainView(View):
    """Progress as plain lines through `say`."""

    def __init__(self, say: Say, clock: Callable[[], float]) -> None:
        super().__init__(Account(clock))
        self._say = say
        self._clock = clock
        self._last = clock()

    def show(self, event: events.Event) -> None:
        """One line, if it is worth one."""
        if (text := remark(event)) is not None:
            self._say(text)
        elif isinstance(event, events.Started) and event.reused_bytes < event.total_bytes:
            self._say(opening(event))
            self._last = self._clock()
        elif isinstance(event, events.Progress):
            self.tick()

    def tick(self) -> None:
        """A line, if ten seconds have passed since the last one."""
        if self.account.running and self._clock() - self._last >= LINE_SECONDS:
            self._last = self._clock()
            self._say(self._line())

    def _line(self) -> str:
        at = self.account.snapshot()
        size = amounts.ratio(at.done_bytes, at.total_bytes).replace(" ", "")
        speed = amounts.rate(at.bytes_per_second).replace(" ", "")
        eta = f" eta={amounts.duration(at.eta_seconds)}" if at.eta_seconds is not None else ""
        return (
            f"{at.operation} {at.tag} {at.percent}% {size} {speed}{eta}"
            f" files={at.files_done}/{at.files} retries={at.retries}"
        )
