"""Many short exchanges over a few connections: each sends its next request the moment the last one is answered.

One exchange by itself costs a task's turn, a future, a timer, and a walk through the pool: three times what a request
of 4 KiB costs the system. Here a request is a step, and what requests share is written once. Who takes the steps is
chosen by `direct`: `lanes` in callbacks of the event loop, or `core_lanes` in the compiled core.

It is for those that are expected to go well. Whatever does not (a reply that is no HTTP, a connection that breaks, a
reply that repeats the value of another request, silence) ends that connection and leaves its request without a result.
Nobody knows then whether it arrived, and whoever asked finds out by an exchange of its own, which also says what is
wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TypeAlias

from msgspec import Struct

from bentosync.wire.exchange import Pattern, Shot
from bentosync.wire.origin import request_heads


class Result(IntEnum):
    """What came of a request; the numbers are those of native/include/bentosync/volley.hpp."""

    WAITING = 0
    UNKNOWN = 1
    REFUSED = 2
    SUCCESS = 3


Message: TypeAlias = tuple[bytes, memoryview, bytes]
"""Head and body of a request as they are sent, and the value that its reply must repeat. The order is the core's."""


class Volley(Struct, frozen=True):
    """Requests to one host and what came of them. `echo` is the header in which a reply repeats its request's value."""

    host: str
    echo: str
    messages: Sequence[Message]
    results: bytearray

    def __repr__(self) -> str:
        return f"Volley({len(self.messages)} requests to {self.host})"  # which hold a token and signatures

    @classmethod
    def of(cls, host: str, pattern: Pattern, shots: Sequence[Shot]) -> Volley:
        """Nothing is sent yet. Raises `ValueError` for a header with a line break in it."""
        heads = request_heads(pattern, host, shots)
        messages = [(head, shot.body, shot.values[0].encode()) for head, shot in zip(heads, shots, strict=True)]
        return cls(host, pattern.varying[0], messages, bytearray(len(shots)))

    @property
    def waiting(self) -> list[int]:
        """The indices of those of which nothing was sent."""
        return [index for index, result in enumerate(self.results) if result == Result.WAITING]

    @property
    def answered(self) -> int:
        """How many have a reply."""
        return self.results.count(Result.SUCCESS) + self.results.count(Result.REFUSED)

    @property
    def successes(self) -> list[bool]:
        """Which were answered with success."""
        return [result == Result.SUCCESS for result in self.results]
