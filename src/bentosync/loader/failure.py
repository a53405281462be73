"""What an error must not keep."""

from __future__ import annotations

import traceback


def let_go(error: BaseException) -> None:
    """Drop what the frames of a failed load hold: who keeps or handles the error would keep slots and blocks with it.

    Frames that still run are left alone.
    """
    todo: list[BaseException | None] = [error]
    seen: set[int] = set()
    while todo:
        current = todo.pop()
        if current is not None and id(current) not in seen:
            seen.add(id(current))
            traceback.clear_frames(current.__traceback__)
            todo += [current.__cause__, current.__context__]
