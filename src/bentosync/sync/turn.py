"""One at a time per version and store: the others wait, then find the work done.

The lock only avoids doing work twice; everything it guards is correct without it (docs/formats/local-state.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from bentosync.errors import FORBIDDEN, Busy, LocalIOError
from bentosync.events import Observer, Waiting
from bentosync.store.store import Store
from bentosync.tag import Tag

_POLL_SECONDS = 0.2


@asynccontextmanager
async def turn(store: Store, tag: Tag, *, seconds: float, observer: Observer) -> AsyncIterator[None]:
    """Hold the store's lock on `tag`, or none where the store may not be written.

    Polls, so that cancelling leaves no thread behind.

    Raises:
        Busy: Another process still held it after `seconds`.
    """
    deadline = time.monotonic() + seconds
    told = False
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(store.lock(tag, seconds=0))
                break
            except Busy:
                if time.monotonic() > deadline:
                    raise
            except LocalIOError as error:
                # A store that may only be read can hold all that is wanted; who must write fails where it writes.
                if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in FORBIDDEN:
                    raise
                break
            if not told:
                observer(Waiting(str(tag), "another process is working on this version"))
                told = True
            await asyncio.sleep(_POLL_SECONDS)
        yield
