"""Many short exchanges over a few connections: each sends its next request the moment the last one is answered.

One exchange by itself costs a task's turn, a future, a timer, and a walk through the pool: three times what a request
of 4 KiB costs the system. Here a request is a step in the connection's callback, and one timer looks after all of them.

It is for those that are expected to go well. Whatever does not (a reply that is no HTTP, a connection that breaks, a
reply that its request refuses, silence) ends that connection and leaves its request without a reply. Nobody knows then
whether it arrived, and whoever asked finds out by an exchange of its own, which also says what is wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from bentosync.wire.connection import BLOCKED, REFUSAL_BYTES_MAX, Connection, Stale
from bentosync.wire.exchange import Reply, Request
from bentosync.wire.origin import request_head
from bentosync.wire.reader import ReplyReader

_LOOKS = 4


@dataclass(frozen=True, slots=True)
class Volley:
    """Requests to one host and what came of them. `replies` has one for each; None: none came, or none that counts."""

    host: str
    requests: Sequence[Request]
    replies: list[Reply | None]
    waiting: list[int]

    @classmethod
    def of(cls, host: str, requests: Sequence[Request]) -> Volley:
        """Nothing is sent yet."""
        return cls(host, requests, [None] * len(requests), list(range(len(requests)))[::-1])

    async def run(self, connections: Sequence[Connection], stall_seconds: float) -> None:
        """Send what waits over `connections`, which rest; those that can be used again do so afterwards.

        Returns when nothing waits or every connection has ended. What was sent and not answered waits no more.
        """
        loop = asyncio.get_running_loop()
        lanes: list[_Lane] = []
        try:
            for connection in connections:
                with contextlib.suppress(Stale):
                    lanes.append(_Lane(self, connection, loop))
            for lane in lanes:
                lane.next()
            ends = [lane.ended for lane in lanes]
            while not all(end.done() for end in ends):
                await asyncio.wait(ends, timeout=stall_seconds / _LOOKS)
                for lane in lanes:
                    lane.end_if_silent(stall_seconds)
        finally:
            for lane in lanes:
                lane.end(broken=True)

    @property
    def answered(self) -> int:
        """How many have a reply."""
        return sum(reply is not None for reply in self.replies)

    def message(self, index: int) -> bytes:
        """All that is sent of a request: such bodies are cheaper to copy than to send by themselves."""
        request = self.requests[index]
        body = [memoryview(request.body)] if isinstance(request.body, bytes) else request.body
        target = request.url[request.url.find("/", 8) :]
        return b"".join([request_head(request, self.host, target, sum(buffer.nbytes for buffer in body)), *body])

    def answer(self, index: int, reply: Reply) -> None:
        """The reply to a request. Raises what its check raises."""
        check = self.requests[index].check
        if check is not None:
            check(reply)
        self.replies[index] = reply


class _Nothing:
    """The sink of replies whose bodies are collected."""

    def buffer(self) -> memoryview:
        raise AssertionError("nothing goes into this sink")

    def filled(self, count: int) -> None:
        raise AssertionError("nothing went into this sink")


_NOTHING = _Nothing()


def _wants_nothing(reply: Reply) -> None:
    return None


class _Lane:
    """One connection of a volley. `ended` is done when it will do no more."""

    def __init__(self, volley: Volley, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._volley = volley
        self._connection = connection
        self._loop = loop
        self._channel = connection.lend(self._readable)
        self._tls = self._channel if isinstance(self._channel, ssl.SSLSocket) else None
        self._unsent = memoryview(b"")
        self._writing = False
        self._index = -1
        self._reader: ReplyReader | None = None
        self._moved_at = loop.time()
        self.ended: asyncio.Future[None] = loop.create_future()

    def next(self) -> None:
        """Send the next request that waits; without one the connection rests again."""
        volley = self._volley
        if not volley.waiting:
            self.end(broken=False)
            return
        self._index = index = volley.waiting.pop()
        self._reader = ReplyReader(
            volley.host, self._connection.scratch, _wants_nothing, _NOTHING,
            collect_max=REFUSAL_BYTES_MAX, bodyless=volley.requests[index].method == "HEAD",
        )  # fmt: skip
        self._unsent = memoryview(volley.message(index))
        self._send()

    def end(self, *, broken: bool) -> None:
        """Give the connection back. Idempotent."""
        if self.ended.done():
            return
        self.ended.set_result(None)
        self._stop_writing()
        if broken:
            self._connection.abort()
        else:
            self._connection.regain()

    def end_if_silent(self, stall_seconds: float) -> None:
        """Give up what has not moved for so long."""
        if self._loop.time() - self._moved_at >= stall_seconds:
            self.end(broken=True)

    def _send(self) -> None:
        if self.ended.done():
            return
        try:
            count = self._channel.send(self._unsent)
        except BLOCKED:
            count = 0
        except OSError:
            self.end(broken=True)
            return
        self._moved_at = self._loop.time()
        self._unsent = self._unsent[count:]
        if not self._unsent:
            self._stop_writing()
        elif not self._writing:
            self._writing = True
            self._loop.add_writer(self._channel.fileno(), self._send)

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._channel.fileno())

    def _readable(self) -> None:
        reader = self._reader
        if self.ended.done() or reader is None:
            return
        try:
            count = self._channel.recv_into(reader.buffer())
            if not count:
                reader.end()
                self.end(broken=True)
            else:
                self._moved_at = self._loop.time()
                reader.filled(count)
            if reader.reply is not None:
                self._answered(reader, reader.reply)
            elif self._tls is not None and self._tls.pending():
                self._loop.call_soon(self._readable)
        except BLOCKED:
            return
        except Exception:
            # Whatever it was: an exchange of its own will say.
            self.end(broken=True)

    def _answered(self, reader: ReplyReader, reply: Reply) -> None:
        self._volley.answer(self._index, reply)
        if reader.reusable and not self._unsent and not self.ended.done():
            self.next()
        else:
            self.end(broken=True)
