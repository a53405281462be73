"""One exchange over a connection of the compiled core whose request has a long body.

The core encrypts and sends that body out of the caller's memory, on its own threads and without the GIL, and hands over
whatever comes of a reply meanwhile: a server may refuse a body before it has read it. The reply is read by the parser
of the wire in Python, piece by piece, so it may be framed in any way, and judged as early. What is left of a body when
its reply is complete is not sent, and the connection is closed.

Silence is measured as there (`connection`): a body counts as sent when the other side has acknowledged nearly all of
it, and only then does the wait for the reply begin.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bentosync.native import _core
from bentosync.native.receiving import Fault
from bentosync.wire.connection import LOOKS, UNACKNOWLEDGED_BYTES_MAX, Patience, Stale, Unheard
from bentosync.wire.exchange import Reply
from bentosync.wire.faults import translate
from bentosync.wire.link import Link
from bentosync.wire.reader import ReplyReader

SENT_BYTES_MIN = 1 << 20
"""Shorter bodies cost more by changing threads twice than the core saves."""


async def exchange(
    link: Link, request: bytes, body: Sequence[memoryview], reader: ReplyReader, patience: Patience
) -> Reply:
    """Send a head and a body, receive the reply. A connection that cannot be used again is closed.

    Raises:
        Unheard: The connection was closed, and nothing of a reply had come.
        Stale: It was closed before the request was sent.
        BentoMLException: As `Wire`.
    """
    with link.closing_on_error():
        if not link.connection.give(request, body):
            raise Stale(f"{link.host} closed the connection before it was used")
        watch = _Watch(link, patience)
        try:
            while reader.reply is None:
                await _listen(link, reader, watch)
        finally:
            watch.cancel()
    link.rest(keep=reader.reusable)
    return reader.reply


async def _listen(link: Link, reader: ReplyReader, watch: _Watch) -> None:
    """Send on until something of the reply has come, and give it to `reader`."""
    with reader.buffer() as memory:
        fault, count, error, reason = await _converse(link, memory, watch)
    if count:
        reader.filled(count)
    elif fault is Fault.ENDED and reader.heard:
        reader.end()
    elif fault is Fault.ENDED:
        raise Unheard(f"{link.host} closed the connection without a reply")
    elif fault:
        broken = link.translated(fault, error, reason, "")
        raise broken if reader.heard else Unheard(broken.message, hint=broken.hint)


async def _converse(link: Link, memory: memoryview, watch: _Watch) -> tuple[Fault, int, int, str]:
    connection = link.connection
    with link.closing_on_error(), link.endings.waiter(connection) as watch.waiter:
        if not connection.converse(memory):
            await watch.waiter
    fault, count, error, reason = connection.settle()
    return Fault(fault), count, error, reason


class _Watch:
    """Fails `waiter` when nothing has moved for too long; else looks again when that may be so."""

    def __init__(self, link: Link, patience: Patience) -> None:
        self.waiter: asyncio.Future[None] | None = None
        self._host = link.host
        self._connection: _core.Connection = link.connection
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._sending = True
        self._undelivered = 1 << 62
        self._moved_at = self._loop.time()
        self._look()

    def cancel(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        if self._sending:
            self._look_at_what_was_delivered(now)
        limit = self._patience.stall_seconds if self._sending else self._patience.reply_seconds
        left = max(self._moved_at, now - self._connection.silent_seconds()) + limit - now
        if left <= 0 and self.waiter is not None:
            if not self.waiter.done():
                self.waiter.set_exception(translate(TimeoutError(), self._host))
            return
        step = limit / LOOKS if self._sending else left
        self._timer = self._loop.call_later(min(left, step) if left > 0 else step, self._look)

    def _look_at_what_was_delivered(self, now: float) -> None:
        undelivered = self._connection.undelivered()
        if undelivered < self._undelivered:
            self._moved_at = now
        self._undelivered = undelivered
        if undelivered <= UNACKNOWLEDGED_BYTES_MAX:
            self._sending = False
            self._moved_at = now
