"""May what is about to change a remote rely on conditional writes? Asked once, before the first change."""

from __future__ import annotations

from bentosync.errors import InvalidArgument
from bentosync.events import Observer, Warned
from bentosync.remote.contract import Remote


async def exclusive(remote: Remote, *, single_writer: bool, observer: Observer) -> bool:
    """Whether `IfAbsent` and `IfMatch` hold there; without them only a single writer may go on, and is warned.

    Raises:
        InvalidArgument: The remote ignores conditional writes and `single_writer` is not set.
    """
    if await remote.conditional_writes():
        return True
    url = remote.properties.url
    if not single_writer:
        raise InvalidArgument(
            f"{url} ignores conditional writes, so two writers at once could overwrite each other's changes",
            hint="if nobody else writes there now: --single-writer (or single_writer = true for the remote)",
        )
    observer(Warned(f"{url} ignores conditional writes: make sure that nobody else writes there now"))
    return False
