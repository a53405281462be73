"""No progress: only what a person must not miss."""

from __future__ import annotations

from collections.abc import Callable

from bentosync import events
from bentosync.cli.progress.account import Account
from bentosync.cli.progress.view import Say, View, remark


class SilentView(View):
    """Warnings and waiting only, through `say`."""

    def __init__(self, say: Say, clock: Callable[[], float]) -> None:
        super().__init__(Account(clock))
        self._say = say

    def show(self, event: events.Event) -> None:
        """Say `event` if it is a warning."""
        if isinstance(event, events.Warned | events.Waiting) and (text := remark(event)) is not None:
            self._say(text)
