"""Bars on a terminal: one for the total and a fixed pool of at most four for files.

A bar per file would make tqdm move bars while it draws, which garbles the screen; slots that are reused for the next
file do not move. Bars appear only after half a second, so a transfer that is over by then leaves just its summary;
until then the running phase shows as one line that erases itself. Narrow terminals lose the file bars first.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

from bentosync import events
from bentosync.cli.progress.account import Account, ActiveFile, Snapshot
from bentosync.cli.progress.view import Say, View, figures, opening, remark

SLOTS = 4
APPEAR_SECONDS = 0.5
REDRAW_SECONDS = 0.1
FILE_BARS_COLUMNS_MIN = 70
PATH_COLUMNS = 36
MARGIN_COLUMNS = 4
"""Room for the terminal's echo of ^C: at the edge it would wrap and move every bar down a line."""
ERASE = "\r\x1b[K"


class BarView(View):
    """Progress as bars on `stream`, which is a terminal."""

    def __init__(self, stream: TextIO, say: Say, clock: Callable[[], float]) -> None:
        super().__init__(Account(clock))
        self._stream = stream
        self._say = say
        self._clock = clock
        self._appear_at = clock() + APPEAR_SECONDS
        self._next_draw = 0.0
        self._total: Any = None
        self._slots: list[Any] = []
        self._transient = False

    def show(self, event: events.Event) -> None:
        """Draw, if it is time to."""
        if (text := remark(event)) is not None:
            self._print(text)
        elif isinstance(event, events.Phase) and self._total is None:
            self._stream.write(f"{ERASE}{event.name} {event.tag} …")
            self._stream.flush()
            self._transient = True
        elif isinstance(event, events.Started) and event.reused_bytes < event.total_bytes:
            self._print(opening(event))
        elif isinstance(event, events.Progress):
            self.tick()

    def tick(self) -> None:
        """Draw, if it is time to."""
        if self.account.running and self._clock() >= max(self._next_draw, self._appear_at):
            self._next_draw = self._clock() + REDRAW_SECONDS
            self._draw(self.account.snapshot())

    def close(self) -> None:
        """Take the bars off the screen."""
        self._erase()
        for bar in (*self._slots, self._total):
            if bar is not None:
                bar.close()
        if self._total is not None:
            self._stream.write(ERASE)  # an echoed ^C stands behind the bar's end, where tqdm does not clear
            self._stream.flush()
        self._slots, self._total = [], None
        self._appear_at = math.inf  # what still arrives while the operation is being cancelled is not drawn

    def _draw(self, at: Snapshot) -> None:
        self._erase()
        if self._total is None:
            self._open(at)
        for bar, active in zip(self._slots, _padded(at.active, len(self._slots)), strict=True):
            self._update(bar, *_file_line(active))
        percent = f"{at.percent:3d}%"
        self._update(self._total, at.done_bytes, at.total_bytes, f" total  {{bar}} {percent}  {_literal(figures(at))}")

    def _open(self, at: Snapshot) -> None:
        wide = shutil.get_terminal_size().columns >= FILE_BARS_COLUMNS_MIN
        slots = min(SLOTS, at.files) if wide and at.files > 1 else 0
        self._total = self._bar(0)
        self._slots = [self._bar(position) for position in range(1, slots + 1)]

    def _bar(self, position: int) -> Any:
        # delay keeps tqdm from drawing before the first real figures are set.
        return tqdm(total=1, position=position, leave=False, file=self._stream, delay=1e9)

    def _update(self, bar: Any, done: int, total: int, layout: str) -> None:
        bar.total, bar.n, bar.bar_format, bar.delay = max(total, 1), min(done, max(total, 1)), layout, 0
        bar.ncols = shutil.get_terminal_size().columns - MARGIN_COLUMNS
        bar.refresh()

    def _print(self, text: str) -> None:
        self._erase()
        if self._total is None:
            self._say(text)
        else:
            tqdm.write(text, file=self._stream)

    def _erase(self) -> None:
        if self._transient:
            self._stream.write(ERASE)
            self._stream.flush()
            self._transient = False


def _padded(active: tuple[ActiveFile, ...], count: int) -> list[ActiveFile | None]:
    return [*active[:count], *[None] * (count - len(active))]


def _file_line(active: ActiveFile | None) -> tuple[int, int, str]:
    if active is None:
        return 0, 1, " "
    path = active.path if len(active.path) <= PATH_COLUMNS else f"…{active.path[1 - PATH_COLUMNS :]}"
    from bentosync.cli import amounts

    amount = amounts.ratio(active.done_bytes, active.total_bytes)
    return active.done_bytes, active.total_bytes, f"   {_literal(path):<{PATH_COLUMNS}}  {{bar}} {amount}"


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
