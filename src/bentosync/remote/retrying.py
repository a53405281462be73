"""Trying again, as a decorator of any remote; the only place that reads `retryable`.

A failed call is repeated after a random pause below an exponential ceiling (full jitter), longer if the store says so.
What bounds it: tries and time without progress, and tokens shared by all calls of this object, so that
an ailing store is not hammered by many workers each within its own rights. While others get through, a call that was
refused is not given up after its few tries: it had bad luck. The tokens it takes come back with successes, and with
the bytes that they moved. A range goes on where its sink says; bytes
that were proven are not asked for again, and count as progress.

Nothing here knows which calls may be repeated: all may. A conditional write whose first reply was lost comes back as
`Conflict`, and the contract tells callers to look who won.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from msgspec import Struct

from bentosync.errors import BentoMLException, IntegrityError, RemoteError, Throttled, UnknownHost
from bentosync.events import Observer, Retried, ignore
from bentosync.remote.contract import (
    Access,
    Blob,
    Condition,
    Entity,
    IfMatch,
    Located,
    Part,
    Properties,
    RangeSink,
    Remote,
    Stat,
    Upload,
)
from bentosync.wire.exchange import Extent, body_bytes

if TYPE_CHECKING:
    import builtins

T = TypeVar("T")

# Bytes that come damaged three times are damaged at rest.
_DAMAGED_TRIES_MAX = 3
# A name that nobody knew so far is a wrong one; one that was reached before is missing for a moment.
_UNKNOWN_TRIES_MAX = 3
_TOKEN_BYTES = 4 << 20
# Fewer objects than this are not worth a round of their own.
_TOGETHER_MIN = 8


class Clock(Protocol):
    """Time, replaceable by tests."""

    def monotonic(self) -> float:
        """Seconds since some moment."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The real one."""

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class RetryPolicy(Struct, frozen=True):
    """How patient to be.

    `attempts` counts tries of one call without progress, the first included; after `deadline_seconds` without progress
    there is no further one. `budget_tokens` is what all calls share: a failure takes `failure_tokens`, a success gives
    one back and one more for every 4 MiB it moved. So small requests may be repeated for a fifth of them, a gigabyte in
    large ones fifty times, and a store that fails from the start a hundred times.
    """

    attempts: int = 8
    base_seconds: float = 0.1
    cap_seconds: float = 20.0
    retry_after_seconds_max: float = 60.0
    deadline_seconds: float = 600.0
    budget_tokens: int = 500
    failure_tokens: int = 5

    def pause_seconds(self, failures: int, error: Exception, draw: float) -> float:
        """The wait after the `failures`th failure in a row; `draw` is uniform in [0, 1)."""
        ceiling = min(self.cap_seconds, self.base_seconds * 2.0 ** min(failures - 1, 60))
        asked = error.retry_after_seconds if isinstance(error, Throttled) else None
        return max(draw * ceiling, min(asked or 0.0, self.retry_after_seconds_max))


class _Trial(Struct):
    """One call's tries so far."""

    what: str
    deadline: float
    failures: int = 0
    alone: int = 0
    successes: int = 0
    damaged: int = 0

    def failed(self, error: BentoMLException, successes: int) -> None:
        """Count a failure; `alone` counts those in a row during which nobody else got through."""
        self.failures += 1
        self.damaged += isinstance(error, IntegrityError)
        self.alone = self.alone + 1 if successes == self.successes or not isinstance(error, Throttled) else 1
        self.successes = successes


class _Budget:
    """Tokens left for everybody."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.left = most
        self.successes = 0

    def take(self, tokens: int) -> bool:
        """Whether there were that many."""
        if self.left < tokens:
            return False
        self.left -= tokens
        return True

    def give(self, moved_bytes: int = 0) -> None:
        """One success."""
        self.successes += 1
        self.left = min(self.most, self.left + 1 + moved_bytes // _TOKEN_BYTES)


class RetryingRemote:
    """`inner`, with patience. One object a transfer, since the budget is the transfer's."""

    def __init__(
        self,
        inner: Remote,
        policy: RetryPolicy,
        *,
        observer: Observer = ignore,
        clock: Clock | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._inner = inner
        self._policy = policy
        self._observer = observer
        self._clock = clock or SystemClock()
        self._draw = draw
        self._budget = _Budget(policy.budget_tokens)

    @property
    def properties(self) -> Properties:
        """Those of the inner remote."""
        return self._inner.properties

    async def read(self, key: str, *, bytes_max: int) -> Entity:
        """Repeated from the start."""
        return await self._patiently(key, lambda: self._inner.read(key, bytes_max=bytes_max))

    async def read_range(self, key: str, start: int, length: int, sink: RangeSink, *, etag: str | None = None) -> str:
        """Continued behind the bytes that the sink has proven."""
        trial = self._trial(f"{key} at {start}")
        proven = 0
        while True:
            try:
                found = await self._inner.read_range(key, start + proven, length - proven, sink, etag=etag)
            except BentoMLException as error:
                kept = sink.rewind()
                if kept > proven:
                    proven, trial = kept, self._trial(trial.what)
                if proven >= length and error.retryable:
                    return etag or (await self.stat(key)).etag  # every byte is there; only the reply's end was bad
                await self._pause(trial, error)
            else:
                self._budget.give(length - proven)
                return found

    async def stat(self, key: str) -> Stat:
        """Repeated."""
        return await self._patiently(key, lambda: self._inner.stat(key))

    async def write(
        self,
        key: str,
        data: Sequence[memoryview] | bytes,
        *,
        condition: Condition = None,
        checksum: bytes | None = None,
    ) -> str:
        """Repeated whole."""
        return await self._patiently(key, lambda: self._inner.write(key, data, condition=condition, checksum=checksum))

    async def write_all(self, objects: Sequence[Blob], *, condition: Condition = None, jobs: int) -> Sequence[bool]:
        """What was not stored is tried again together, as long as that helps most of it; the rest is for `write`."""
        stored = [False] * len(objects)
        left = list(range(len(objects)))
        for failures in range(1, self._policy.attempts + 1):
            done = await self._tried([objects[index] for index in left], condition, jobs)
            for index, is_stored in zip(left, done, strict=True):
                stored[index] = is_stored
            before, left = len(left), [index for index in left if not stored[index]]
            if len(left) < _TOGETHER_MIN or 2 * len(left) > before:
                break
            seconds = self._policy.pause_seconds(failures, RemoteError("some were not stored"), self._draw())
            await self._clock.sleep(seconds)
        return stored

    async def _tried(self, objects: Sequence[Blob], condition: Condition, jobs: int) -> Sequence[bool]:
        try:
            stored = await self._inner.write_all(objects, condition=condition, jobs=jobs)
        except BentoMLException as error:
            if not error.retryable:
                raise
            return [False] * len(objects)
        for blob, done in zip(objects, stored, strict=True):
            if done:
                self._budget.give(len(blob.data))
        return stored

    async def start_upload(self, key: str, *, size: int, part_bytes: int) -> Upload:
        """Repeated; a lost reply leaves an upload behind that `list_uploads` finds."""
        return await self._patiently(key, lambda: self._inner.start_upload(key, size=size, part_bytes=part_bytes))

    async def send_part(
        self, upload: Upload, number: int, data: Sequence[memoryview] | Extent, *, checksum: bytes | None
    ) -> Part:
        """Repeated whole; the same number replaces."""
        return await self._patiently(
            f"{upload.key} part {number}",
            lambda: self._inner.send_part(upload, number, data, checksum=checksum),
            moved_bytes=body_bytes(data),
        )

    async def list_parts(self, upload: Upload) -> builtins.list[Part]:
        """Repeated from the first page."""
        return await self._patiently(upload.key, lambda: self._inner.list_parts(upload))

    async def complete_upload(self, upload: Upload, parts: Sequence[Part], *, checksum: bytes | None) -> str:
        """Repeated; see the contract for what a lost reply looks like."""
        return await self._patiently(upload.key, lambda: self._inner.complete_upload(upload, parts, checksum=checksum))

    async def abort_upload(self, upload: Upload) -> None:
        """Repeated."""
        await self._patiently(upload.key, lambda: self._inner.abort_upload(upload))

    async def list_uploads(self, prefix: str) -> AsyncIterator[Upload]:
        """Listed again from the start after a failure, without what was already given."""
        async for upload in self._listed(prefix, self._inner.list_uploads, lambda upload: (upload.key, upload.id)):
            yield upload

    async def list(self, prefix: str) -> AsyncIterator[Stat]:
        """Listed again from the start after a failure, without what was already given."""
        async for found in self._listed(prefix, self._inner.list, lambda found: found.key):
            yield found

    async def delete(self, key: str, *, condition: IfMatch | None = None) -> None:
        """Repeated."""
        await self._patiently(key, lambda: self._inner.delete(key, condition=condition))

    async def locate(self, key: str) -> Located | None:
        """As the inner remote says."""
        return await self._inner.locate(key)

    async def copy(self, source: Located, key: str, *, size: int) -> bool:
        """Repeated whole: the same bytes under the same key."""
        return await self._patiently(key, lambda: self._inner.copy(source, key, size=size))

    async def place(self) -> str:
        """As the inner remote says."""
        return await self._inner.place()

    async def access(self) -> Access:
        """As the inner remote says."""
        return await self._inner.access()

    async def conditional_writes(self) -> bool:
        """Repeated as a whole, with another scratch key."""
        return await self._patiently("the conditional-write probe", self._inner.conditional_writes)

    async def aclose(self) -> None:
        """Close the inner remote."""
        await self._inner.aclose()

    async def _patiently(self, what: str, call: Callable[[], Awaitable[T]], *, moved_bytes: int = 0) -> T:
        trial = self._trial(what)
        while True:
            try:
                result = await call()
            except BentoMLException as error:
                await self._pause(trial, error)
            else:
                self._budget.give(moved_bytes)
                return result

    async def _listed(
        self, prefix: str, listing: Callable[[str], AsyncIterator[T]], identity: Callable[[T], object]
    ) -> AsyncIterator[T]:
        trial = self._trial(f"the listing of {prefix!r}")
        given: set[object] = set()
        while True:
            try:
                async for found in listing(prefix):
                    if identity(found) not in given:
                        given.add(identity(found))
                        trial.failures = trial.alone = 0
                        yield found
            except BentoMLException as error:
                await self._pause(trial, error)
            else:
                self._budget.give()
                return

    def _trial(self, what: str) -> _Trial:
        return _Trial(what, self._clock.monotonic() + self._policy.deadline_seconds, successes=self._budget.successes)

    async def _pause(self, trial: _Trial, error: BentoMLException) -> None:
        """Wait before the next try, or raise `error` if there shall be none."""
        policy = self._policy
        trial.failed(error, self._budget.successes)
        seconds = policy.pause_seconds(trial.failures, error, self._draw())
        if (
            not error.retryable
            or trial.alone >= policy.attempts
            or trial.damaged >= _DAMAGED_TRIES_MAX
            or (isinstance(error, UnknownHost) and not self._budget.successes and trial.failures >= _UNKNOWN_TRIES_MAX)
            or self._clock.monotonic() + seconds > trial.deadline
            or not self._budget.take(policy.failure_tokens)
        ):
            raise error
        self._observer(Retried(trial.what, error.message, trial.failures, seconds, error.code))
        await self._clock.sleep(seconds)
