"""What can go wrong with one call.

An action has five moments, all of them harmless in the base class: how much of the request's body is read before
anything else, what happens just before the call is executed, an answer without executing it, a change of the reply, and
the delivery. `at` counts bytes of the reply's body; None means that not even its head is sent.
"""

from __future__ import annotations

import asyncio
import fcntl
import gzip
import termios
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from tests.servers.faulty import documents
from tests.servers.faulty.call import Call, Reply
from tests.servers.faulty.objects import Bucket
from tests.servers.faulty.operations import execute, refused
from tests.servers.raw import Connection

Line = Connection
"""The client's connection: `send`, `reset`, `gone`."""


@dataclass(frozen=True)
class Action:
    """Nothing goes wrong."""

    signed: ClassVar[bool] = True
    """Whether the request's signature is checked first."""

    def request_bytes(self, length: int) -> int:
        """How much of the request's body is read."""
        return length

    async def before(self, call: Call, bucket: Bucket) -> None:
        """Just before the call is executed."""

    def execute(self, call: Call, bucket: Bucket, page: int) -> Reply:
        """Execute the call, or answer instead."""
        return execute(call, bucket, page=page)

    def change(self, call: Call, reply: Reply) -> Reply:
        """The reply to send instead of `reply`."""
        return reply

    async def deliver(self, line: Line, call: Call, reply: Reply) -> None:
        """Put the reply on the connection."""
        await line.send(reply.head(), reply.body)


# --- time -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Delay(Action):
    """Executes the call late."""

    seconds: float

    async def before(self, call: Call, bucket: Bucket) -> None:
        await asyncio.sleep(self.seconds)


@dataclass(frozen=True)
class Drip(Action):
    """Sends the body `step` bytes at a time with pauses between."""

    step: int
    pause_seconds: float

    async def deliver(self, line: Line, call: Call, reply: Reply) -> None:
        await line.send(reply.head())
        for begin in range(0, len(reply.body), self.step):
            await line.send(reply.body[begin : begin + self.step])
            await asyncio.sleep(self.pause_seconds)


@dataclass(frozen=True)
class Stall(Action):
    """Falls silent after `at` bytes of the body, or before the head, until the client has gone."""

    at: int | None = None

    async def deliver(self, line: Line, call: Call, reply: Reply) -> None:
        if self.at is not None:
            await line.send(reply.head(), reply.body[: self.at])
        await line.gone()


# --- connections that end ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cut(Action):
    """Executes the call and closes (FIN) after `at` bytes of the body; before the head, the reply is lost."""

    at: int | None = None

    async def deliver(self, line: Line, call: Call, reply: Reply) -> None:
        if self.at is not None:
            await line.send(reply.head(), reply.body[: self.at])
        await self.close(line)

    async def close(self, line: Line) -> None:
        line.writer.close()


@dataclass(frozen=True)
class Reset(Cut):
    """As `Cut`, with RST, once the client's system has what was sent."""

    async def close(self, line: Line) -> None:
        while _unsent_bytes(line):
            await asyncio.sleep(0.001)
        line.reset()


def _unsent_bytes(line: Line) -> int:
    """Bytes in our buffer or the kernel's that were not acknowledged; RST would throw them away."""
    counted = fcntl.ioctl(line.writer.get_extra_info("socket").fileno(), termios.TIOCOUTQ, b"\0" * 4)
    return int.from_bytes(counted, "little") + line.writer.transport.get_write_buffer_size()


@dataclass(frozen=True)
class ResetRequest(Action):
    """RST after `at` bytes of the request's body; nothing is executed."""

    at: int = 0

    def request_bytes(self, length: int) -> int:
        return min(self.at, length)

    def execute(self, call: Call, bucket: Bucket, page: int) -> Reply:
        return Reply(500)

    async def deliver(self, line: Line, call: Call, reply: Reply) -> None:
        line.reset()


@dataclass(frozen=True)
class StopReading(Action):
    """Reads `at` bytes of the request's body and then no more, until the client has gone."""

    at: int = 0

    def request_bytes(self, length: int) -> int:
        return min(self.at, length)

    def execute(self, call: Call, bucket: Bucket, page: int) -> Reply:
        return Reply(500)

    async def deliver(self, line: Line, call: Call, reply: Reply) -> None:
        while not line.writer.is_closing() and not line.reader.at_eof():
            await asyncio.sleep(0.02)


# --- other answers ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer(Action):
    """Refuses without executing: `status` with S3's <Error> `code`, or with no body if there is no code."""

    signed: ClassVar[bool] = False

    status: int
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    more: str = ""

    def execute(self, call: Call, bucket: Bucket, page: int) -> Reply:
        bare = call.method == "HEAD" or not self.code
        return Reply(self.status, self.headers) if bare else refused(self.status, self.code, self.headers, self.more)


@dataclass(frozen=True)
class Says(Action):
    """Executes the call, then sends exactly these bytes."""

    data: bytes

    async def deliver(self, line: Line, call: Call, reply: Reply) -> None:
        await line.send(self.data)


@dataclass(frozen=True)
class ErrorInside(Action):
    """An <Error> under status 200, after `spaces` that keep the connection alive. Executes the call if `done`."""

    code: str
    spaces: int = 0
    done: bool = False

    def execute(self, call: Call, bucket: Bucket, page: int) -> Reply:
        if self.done:
            execute(call, bucket, page=page)
        return Reply(200, body=b" " * self.spaces + b'<?xml version="1.0"?>\n' + documents.error(self.code))


# --- replies that are not quite right ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Headers(Action):
    """Sets headers of the reply; None takes one away."""

    fields: Mapping[str, str | None]

    def change(self, call: Call, reply: Reply) -> Reply:
        lowered = {name.lower() for name in self.fields}
        kept = {name: value for name, value in reply.headers.items() if name.lower() not in lowered}
        return replace(reply, headers=kept | {name: value for name, value in self.fields.items() if value is not None})


@dataclass(frozen=True)
class Whole(Action):
    """Ignores the Range: 200 and the whole object."""

    def execute(self, call: Call, bucket: Bucket, page: int) -> Reply:
        headers = {name: value for name, value in call.headers.items() if name != "range"}
        return execute(replace(call, headers=headers), bucket, page=page)


@dataclass(frozen=True)
class Status(Action):
    """The right reply under another status."""

    status: int

    def change(self, call: Call, reply: Reply) -> Reply:
        return replace(reply, status=self.status)


@dataclass(frozen=True)
class Shifted(Action):
    """Another range than the one asked for, described as what it is."""

    by: int

    def execute(self, call: Call, bucket: Bucket, page: int) -> Reply:
        first, last = map(int, call.headers["range"].removeprefix("bytes=").split("-"))
        asked = f"bytes={first + self.by}-{last + self.by}"
        return execute(replace(call, headers={**call.headers, "range": asked}), bucket, page=page)


@dataclass(frozen=True)
class Gzip(Action):
    """Wraps the body in gzip although identity was asked for; admits it in Content-Encoding if `honest`."""

    honest: bool = True

    def change(self, call: Call, reply: Reply) -> Reply:
        headers = dict(reply.headers) | ({"Content-Encoding": "gzip"} if self.honest else {})
        return replace(reply, headers=headers, body=gzip.compress(bytes(reply.body), 0))


@dataclass(frozen=True)
class Chunked(Action):
    """Transfer-Encoding: chunked instead of a Content-Length; ends after `at` bytes without a last chunk if given."""

    at: int | None = None

    async def deliver(self, line: Line, call: Call, reply: Reply) -> None:
        head = replace(reply, headers={**reply.headers, "Transfer-Encoding": "chunked"}, length=-1).head()
        body = reply.body[: self.at] if self.at is not None else reply.body
        await line.send(head)
        for begin in range(0, len(body), 1 << 18):
            piece = body[begin : begin + (1 << 18)]
            await line.send(f"{len(piece):x}\r\n".encode(), piece, b"\r\n")
        if self.at is None:
            await line.send(b"0\r\n\r\n")
        else:
            line.writer.close()


@dataclass(frozen=True)
class Flip(Action):
    """One bit of the reply's byte `at` is wrong."""

    at: int

    def change(self, call: Call, reply: Reply) -> Reply:
        body = bytearray(reply.body)
        body[self.at % len(body)] ^= 0x10
        return replace(reply, body=bytes(body))


@dataclass(frozen=True)
class FlipRequest(Action):
    """One bit of the request's byte `at` arrives wrong."""

    at: int

    def execute(self, call: Call, bucket: Bucket, page: int) -> Reply:
        body = bytearray(call.body)
        body[self.at % len(body)] ^= 0x10
        return execute(replace(call, body=bytes(body)), bucket, page=page)


@dataclass(frozen=True)
class Endless(Action):
    """Announces the right length and goes on after it."""

    more: int = 1 << 20

    async def deliver(self, line: Line, call: Call, reply: Reply) -> None:
        await line.send(reply.head(), reply.body, b"\x55" * self.more)


@dataclass(frozen=True)
class Twice(Action):
    """Sends the reply twice: the second copy waits on the connection for whoever uses it next."""

    async def deliver(self, line: Line, call: Call, reply: Reply) -> None:
        await line.send(reply.head(), reply.body, reply.head(), reply.body)


@dataclass(frozen=True)
class Late(Action):
    """Sends the reply, and a second copy of it after the client has had time to take the first for whole."""

    pause_seconds: float = 0.02

    async def deliver(self, line: Line, call: Call, reply: Reply) -> None:
        await line.send(reply.head(), reply.body)
        await asyncio.sleep(self.pause_seconds)
        await line.send(reply.head(), reply.body)


# --- the store itself -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Meanwhile(Action):
    """Something happens to the store just before the call is executed."""

    happens: Callable[[Bucket], object]

    async def before(self, call: Call, bucket: Bucket) -> None:
        self.happens(bucket)


@dataclass(frozen=True)
class Past(Action):
    """Answers from an earlier state of the store."""

    then: Bucket

    def execute(self, call: Call, bucket: Bucket, page: int) -> Reply:
        return execute(call, self.then, page=page)


@dataclass(frozen=True)
class Unconditional(Action):
    """Ignores If-Match and If-None-Match."""

    def execute(self, call: Call, bucket: Bucket, page: int) -> Reply:
        headers = {name: value for name, value in call.headers.items() if name not in ("if-match", "if-none-match")}
        return execute(replace(call, headers=headers), bucket, page=page)


@dataclass(frozen=True)
class Elsewhere(Action):
    """Answers with the object under another key."""

    key: str

    def execute(self, call: Call, bucket: Bucket, page: int) -> Reply:
        return execute(replace(call, key=self.key), bucket, page=page)
