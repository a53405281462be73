"""The sockets: an event loop in a thread of its own, one reply after the other on each connection, everything counted.

Requests are executed one at a time (the loop's thread never awaits while it touches the bucket), so tests may look at
the bucket from their own thread whenever no call is under way.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import TracebackType

from tests.servers.faulty.actions import Action
from tests.servers.faulty.call import Call, Reply, understand
from tests.servers.faulty.objects import Bucket
from tests.servers.faulty.operations import PAGE_MAX, refused
from tests.servers.faulty.policy import Policy
from tests.servers.faulty.rules import Book, Rule
from tests.servers.faulty.signature import Keys, refusal
from tests.servers.raw import Connection

BUCKET = "bench"

_ROUNDS = 4
_ROUND_SECONDS = 0.001


class FaultyS3:
    """See the package for the manual.

    Args:
        keys: Who may sign requests.
        tls: Speaks https if given.
        page: Entries a list page has at most.
    """

    def __init__(self, keys: Keys, *, tls: ssl.SSLContext | None = None, page: int = PAGE_MAX) -> None:
        self.keys = keys
        self.page = page
        self.policy: Policy | None = None
        self.bucket = Bucket()
        self.skew = timedelta()
        self.requests: Counter[str] = Counter()
        self.received_bytes: Counter[str] = Counter()
        self.sent_bytes: Counter[str] = Counter()
        self.calls: list[Call] = []
        self.connections = 0
        self.port = 0
        self._tls = tls
        self._book = Book()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="faulty-s3", daemon=True)

    @property
    def url(self) -> str:
        """The endpoint."""
        return f"{'https' if self._tls else 'http'}://{'localhost' if self._tls else '127.0.0.1'}:{self.port}"

    @property
    def unfired(self) -> list[Rule]:
        """Rules whose fault never happened."""
        return [rule for rule in self._book.rules if not rule.fired]

    def inject(
        self,
        operation: str,
        action: Action,
        *,
        key: str = "",
        part: int | None = None,
        where: Callable[[Call], bool] = lambda call: True,
        nth: int = 1,
        times: int | None = 1,
    ) -> Rule:
        """Add a rule; see `rules.Rule`."""
        rule = Rule(action, operation, key, part, where, nth, times)
        self._book.rules.append(rule)
        return rule

    def heal(self) -> None:
        """No more faults, and everything is allowed; what was counted and stored stays."""
        self._book = Book()
        self.policy = None
        self.skew = timedelta()

    def forget(self) -> None:
        """Count from zero again."""
        for counter in (self.requests, self.received_bytes, self.sent_bytes):
            counter.clear()
        self.calls.clear()

    def __enter__(self) -> FaultyS3:
        listening = asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls, limit=4 << 20, backlog=256)
        self._server = self._loop.run_until_complete(listening)
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def hang_up(self) -> None:
        """Close every connection, so that descriptors can be counted."""
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result(timeout=10)

    async def _hang_up(self) -> None:
        # What was connected before is accepted now, and what was closed is let go of: both take the loop a few rounds.
        rounds = 0
        while rounds < _ROUNDS:
            rounds += 1
            await asyncio.sleep(_ROUND_SECONDS)
            if tasks := list(self._tasks):
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                rounds = 0

    async def _stop(self) -> None:
        self._server.close()
        await self._hang_up()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            line = Connection(reader, writer)
            while not writer.is_closing():
                await self._serve(line)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()
            try:
                await writer.wait_closed()
            except (OSError, asyncio.CancelledError):
                writer.transport.abort()
            finally:
                self._tasks.discard(task)

    async def _serve(self, line: Connection) -> None:
        received = await line.request(body=False)
        call = understand(received)
        action = self._book.choose(call)
        length = int(received.headers.get("content-length", "0"))
        body = await line.reader.readexactly(action.request_bytes(length))
        call = replace(call, body=body)
        self.requests[call.operation] += 1
        self.received_bytes[call.operation] += len(body)
        self.calls.append(replace(call, body=b""))
        await action.before(call, self.bucket)
        reply = self._answer(call, action, whole=len(body) == length)
        self.sent_bytes[call.operation] += len(reply.body)
        await action.deliver(line, call, reply)

    def _answer(self, call: Call, action: Action, *, whole: bool) -> Reply:
        now = datetime.now(UTC) + self.skew
        wrong = refusal(call, self.keys, now) if whole and action.signed else None
        if wrong is not None:
            reply = refused(*wrong, more=f"<Region>{self.keys.region}</Region>")
        elif call.bucket != BUCKET:
            reply = refused(404, "NoSuchBucket")
        elif self.policy is not None and self.policy.refuses(call, self.bucket):
            reply = refused(403, "AccessDenied")
        else:
            reply = action.change(call, action.execute(call, self.bucket, self.page))
        if call.method == "HEAD":
            shown = reply.status < 300 or reply.length is not None
            reply = replace(reply, body=b"", length=reply.length if shown else 0)
        return replace(reply, headers={"Date": format_datetime(now, usegmt=True), **reply.headers})


__all__ = ["BUCKET", "FaultyS3"]
