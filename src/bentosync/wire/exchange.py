"""The contract of the wire: one HTTP/1.1 exchange, and a response body that lands in memory the caller owns.

The wire knows connections, TLS, timeouts and framing. It knows nothing of S3, retries, digests or files. Errors of
the libraries behind it are translated once, here below, into `errors.NetworkError` and its families.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct, field


class Extent(Struct, frozen=True):
    """Bytes [start, start + length) of the file that `fd` is open on, at least one.

    `fd` stays open until the call returns.
    """

    fd: int
    start: int
    length: int

    def after(self, count: int) -> Extent:
        """What is left behind its first `count` bytes."""
        return Extent(self.fd, self.start + count, self.length - count)


Body: TypeAlias = bytes | Sequence[memoryview] | Extent
"""A request body: bytes; or contiguous buffers sent in turn, which must not change until the call returns; or, if the
wire `sends_files`, a piece of a file. Of a file that changes meanwhile anything may be sent, but never more or less."""


def buffers(body: Body) -> Sequence[memoryview]:
    """A body for a wire that does not send files."""
    if isinstance(body, Extent):
        raise AssertionError("this wire does not send files")
    return [memoryview(body)] if isinstance(body, bytes) else body


def body_bytes(body: Body) -> int:
    """How long a body is."""
    if isinstance(body, bytes):
        return len(body)
    return body.length if isinstance(body, Extent) else sum(buffer.nbytes for buffer in body)


class Request(Struct, frozen=True):
    """One request. `headers` holds everything but Host, Content-Length, Connection and Accept-Encoding.

    The URL is sent as it is, so it comes percent-encoded. `reply_seconds` is the longest silence allowed before and
    within the reply, where it differs from the wire's stall time (a store that assembles an object takes a while).
    `check` sees the reply of an `exchange` before its connection is used again; if it raises (this cannot be the reply
    to that request) the connection is closed, and the exception comes through. Redirects are replies like any other.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = b""
    reply_seconds: float | None = None
    check: Callable[[Reply], None] | None = None


class Pattern(Struct, frozen=True):
    """What many requests share: the method (not HEAD), scheme, host and port, and headers as in `Request`.

    `varying` names headers of which each request has a value of its own. The first one, in lower case, is special: a
    reply that has this header must repeat its request's value, or it is the reply to another one.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    varying: Sequence[str]

    def __repr__(self) -> str:
        return f"Pattern({self.method} {self.url})"  # the headers hold a token


class Shot(Struct, frozen=True):
    """One of many requests: its target, percent-encoded, its values of the headers that vary, and its body."""

    target: str
    values: Sequence[str]
    body: memoryview

    def __repr__(self) -> str:
        return f"Shot({self.target!r})"  # the values hold a signature


class Reply(Struct, frozen=True):
    """One response. Header names are lower case; of a repeated header the last value counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Sink(Protocol):
    """Where a response body goes. Both calls come from the event loop's thread and must not block on the network."""

    def buffer(self) -> memoryview:
        """The memory for the next body bytes: writable, contiguous, never empty, owned by the sink.

        The same memory may be returned again before `filled` is called.
        """
        ...

    def filled(self, count: int) -> None:
        """The first `count` bytes of the last `buffer()` now hold the next body bytes, in order.

        May raise (a digest does not match, the disk is full): the wire then drops the connection and lets the
        exception through unchanged.
        """
        ...


Judge: TypeAlias = Callable[[Reply], int | None]
"""Looks at a reply's status and headers (its body is empty yet) and returns how many body bytes must go into the sink,
or None when this is not the reply that was asked for: then its body is collected, bounded, into `Reply.body`.
May raise."""


class Wire(Protocol):
    """A pool of connections. Safe for any number of concurrent calls in one event loop."""

    async def exchange(self, request: Request, *, body_bytes_max: int = 1 << 20) -> Reply:
        """Send `request`, return the whole reply.

        Raises:
            RemoteError: The body is longer than `body_bytes_max`, or the reply is not HTTP.
            NetworkError: Connecting, sending or receiving failed, stalled, or ended before the announced length.
            IntegrityError: A file whose `Extent` is sent ends before it.
            LocalIOError: It cannot be read.
        """
        ...

    async def exchange_all(self, pattern: Pattern, shots: Sequence[Shot], *, connections: int) -> Sequence[bool]:
        """Send short requests over at most so many connections; which of them were answered with success.

        The others were refused, or nobody knows what became of them; `exchange` says what is wrong. Raises nothing of
        its own.
        """
        ...

    async def receive(self, request: Request, *, judge: Judge, sink: Sink) -> Reply:
        """Send `request`; once `judge` accepts the head, put exactly that many body bytes into `sink`.

        A body that ends early raises NetworkError after everything that arrived was given to the sink; a body that
        goes on longer raises RemoteError. A connection whose reply was not read to its end is closed, not reused.

        When this call returns or raises, cancellation included, nothing will touch a buffer of the sink any more:
        the return is the acknowledgement after which buffers may be reused. Cancelling closes the socket, which
        bounds that wait. The same holds for the buffers of a request's body, in both methods.
        """
        ...

    def sends_files(self, url: str) -> bool:
        """Whether the body of a request to `url` may be an `Extent`: the kernel then sends it without a copy."""
        ...

    async def aclose(self) -> None:
        """Close every connection. Idempotent."""
        ...
