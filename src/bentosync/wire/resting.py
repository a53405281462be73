"""Connections between two requests: the one used last is used next, and one that rests too long is let go of."""

from __future__ import annotations

import asyncio
from typing import Generic, Protocol, TypeVar

from bentosync.wire.origin import Origin

IDLE_SECONDS_MAX = 4.0
"""S3 closes a connection that was idle for 5 s or more; ours go first."""


class Restable(Protocol):
    """A connection, whoever owns its socket."""

    idle_since: float

    @property
    def usable(self) -> bool:
        """Whether another request may be sent on it."""
        ...

    def abort(self) -> None:
        """Close the socket now."""
        ...


T = TypeVar("T", bound=Restable)


class Resting(Generic[T]):
    """Those of one wire, by origin. Belongs to its event loop.

    Args:
        jobs: The most requests in flight, which bounds how many of one origin rest.
    """

    def __init__(self, jobs: int) -> None:
        self._most = 2 * jobs + 8
        self._connections: dict[Origin, list[T]] = {}

    def take(self, origin: Origin) -> T | None:
        """The connection used last, if the server has not had time to close it."""
        connections = self._connections.get(origin, [])
        now = asyncio.get_running_loop().time()
        while connections:
            connection = connections.pop()
            if connection.usable and now - connection.idle_since < IDLE_SECONDS_MAX:
                return connection
            connection.abort()
        return None

    def give(self, origin: Origin, connection: T) -> None:
        """Keep a connection that can be used again; of too many the one that rested longest goes."""
        if not connection.usable:
            return
        connections = self._connections.setdefault(origin, [])
        connections.append(connection)
        if len(connections) > self._most:
            connections.pop(0).abort()

    def forget(self) -> None:
        """Whoever knows them all closes them."""
        self._connections.clear()
