"""A volley in the compiled core: in a thread that has no GIL while it sends, receives and waits.

It uses copies of the sockets' descriptors, so whoever closes a connection meanwhile takes nothing away from it. A
caller that is cancelled tells the thread to stop, and waits until it has.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import TypeAlias

from bentosync.blocking import in_stoppable_thread
from bentosync.wire.connection import Connection, Stale
from bentosync.wire.volley import Message, Volley

Core: TypeAlias = Callable[[Sequence[int], Sequence[Message], str, float, int], tuple[bytes, bytes]]
"""`_core.volley`."""


async def fire(core: Core, volley: Volley, connections: Sequence[Connection], stall_seconds: float) -> None:
    """As `lanes.fire`, over plain connections; sends nothing if there are no descriptors left to do it with."""
    with contextlib.suppress(OSError):
        stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            await _fire(core, volley, connections, stall_seconds, stop)
        finally:
            os.close(stop)


async def _fire(core: Core, volley: Volley, connections: Sequence[Connection], stall_seconds: float, stop: int) -> None:
    waiting = volley.waiting
    messages = [volley.messages[index] for index in waiting]
    lent: list[Connection] = []
    fds: list[int] = []
    for connection in connections:
        with contextlib.suppress(Stale):
            fds.append(connection.lend(None).fileno())
            lent.append(connection)
    resting = bytes(len(lent))
    try:
        results, resting = await in_stoppable_thread(
            lambda: os.eventfd_write(stop, 1), core, fds, messages, volley.echo, stall_seconds, stop
        )
        for index, result in zip(waiting, results, strict=True):
            volley.results[index] = result
    finally:
        for connection, rests in zip(lent, resting, strict=True):
            if rests:
                connection.regain()
            else:
                connection.abort()
