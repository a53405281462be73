from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import chain, cycle, repeat

import pytest

from bentosync.errors import (
    AuthError,
    BentoMLException,
    IntegrityError,
    NetworkError,
    NoSpace,
    RemoteError,
    Throttled,
    UnknownHost,
)
from bentosync.events import Event, Retried
from bentosync.remote.contract import Blob, Condition, Part, RangeSink, Stat, Upload
from bentosync.remote.retrying import RetryingRemote, RetryPolicy
from tests.remote.conformance import Collector, pattern


class VirtualClock:
    """Time that passes only in `sleep`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class Failing:
    """A remote that raises what it is told, one error a call, then works."""

    def __init__(self, *errors: BentoMLException) -> None:
        self.errors = chain(errors, repeat(None))
        self.calls = 0
        self.data = pattern(1000)
        self.asked: list[tuple[int, int]] = []

    def step(self) -> None:
        self.calls += 1
        if error := next(self.errors):
            raise error

    async def stat(self, key: str) -> Stat:
        self.step()
        return Stat(key, 1000, "etag", 0.0)

    async def read_range(self, key: str, start: int, length: int, sink: RangeSink, *, etag: str | None = None) -> str:
        self.asked.append((start, length))
        part = self.data[start : start + length]
        try:
            self.step()
        except BaseException:
            part = part[: len(part) // 2]
            raise
        finally:
            view = sink.buffer()
            view[: len(part)] = part
            if part:
                sink.filled(len(part))
        return "etag"

    async def list(self, prefix: str) -> AsyncIterator[Stat]:
        for number in range(5):
            self.step()
            yield Stat(f"{prefix}{number}", 0, "", 0.0)


def patient(
    inner: Failing, policy: RetryPolicy | None = None, draw: Callable[[], float] = lambda: 1.0
) -> tuple[RetryingRemote, VirtualClock, list[Event]]:
    clock, seen = VirtualClock(), list[Event]()
    remote = RetryingRemote(inner, policy or RetryPolicy(), observer=seen.append, clock=clock, draw=draw)  # type: ignore[arg-type]
    return remote, clock, seen


def network(count: int) -> list[BentoMLException]:
    return [NetworkError("the connection broke") for _ in range(count)]


async def test_pauses_double_up_to_the_cap_and_every_retry_is_told() -> None:
    remote, clock, seen = patient(Failing(*network(7)), RetryPolicy(attempts=8, base_seconds=1, cap_seconds=10))
    assert (await remote.stat("k")).key == "k"
    assert clock.pauses == [1, 2, 4, 8, 10, 10, 10]
    assert seen == [Retried("k", "the connection broke", n, s) for n, s in enumerate(clock.pauses, 1)]


async def test_pauses_are_drawn_from_zero_to_the_ceiling() -> None:
    draws = iter([0.0, 0.25])
    remote, clock, _ = patient(Failing(*network(2)), RetryPolicy(base_seconds=1), draw=lambda: next(draws))
    await remote.stat("k")
    assert clock.pauses == [0.0, 0.5]


async def test_the_last_error_comes_out_when_the_tries_are_spent() -> None:
    inner = Failing(*network(100))
    remote, _, _ = patient(inner, RetryPolicy(attempts=4))
    with pytest.raises(NetworkError):
        await remote.stat("k")
    assert inner.calls == 4


@pytest.mark.parametrize("error", [AuthError("no"), NoSpace("full"), IntegrityError("damaged at rest")])
async def test_what_is_not_retryable_is_not_retried(error: BentoMLException) -> None:
    inner = Failing(error)
    remote, clock, seen = patient(inner)
    with pytest.raises(type(error)):
        await remote.stat("k")
    assert (inner.calls, clock.pauses, seen) == (1, [], [])


async def test_an_error_may_say_of_itself_that_it_is_final() -> None:
    error = RemoteError("not implemented")
    error.retryable = False
    inner = Failing(error)
    with pytest.raises(RemoteError):
        await patient(inner)[0].stat("k")
    assert inner.calls == 1


async def test_damaged_bytes_are_fetched_three_times_at_most() -> None:
    inner = Failing(*[IntegrityError("damaged on the way", retryable=True) for _ in range(10)])
    with pytest.raises(IntegrityError):
        await patient(inner)[0].stat("k")
    assert inner.calls == 3


@pytest.mark.parametrize(("asked", "pause"), [(None, 0.1), (0.01, 0.1), (7.0, 7.0), (1e9, 60.0)])
async def test_retry_after_is_a_lower_bound_with_a_cap(asked: float | None, pause: float) -> None:
    remote, clock, _ = patient(Failing(Throttled("slow down", retry_after_seconds=asked)))
    await remote.stat("k")
    assert clock.pauses == [pause]


async def test_no_pause_goes_beyond_the_deadline() -> None:
    policy = RetryPolicy(attempts=1000, base_seconds=10, cap_seconds=10, deadline_seconds=35, budget_tokens=10**6)
    inner = Failing(*network(1000))
    remote, clock, _ = patient(inner, policy)
    with pytest.raises(NetworkError):
        await remote.stat("k")
    assert clock.pauses == [10, 10, 10]


async def test_a_storm_over_many_calls_is_bounded_by_the_shared_budget() -> None:
    inner = Failing(*[Throttled("slow down") for _ in range(100_000)])
    remote, _, seen = patient(inner, RetryPolicy(attempts=8, budget_tokens=100, failure_tokens=5))

    async def one() -> None:
        with pytest.raises(Throttled):
            await remote.stat("k")

    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(one())
    assert len(seen) == 20
    assert inner.calls == 50 + 20


async def test_successes_fill_the_budget_again() -> None:
    inner = Failing(*network(2))
    remote, _, seen = patient(inner, RetryPolicy(budget_tokens=10, failure_tokens=5))
    await remote.stat("k")
    inner.errors = iter(network(1))
    with pytest.raises(NetworkError):
        await remote.stat("k")
    inner.errors = repeat(None)
    for _ in range(5):
        await remote.stat("k")
    inner.errors = chain(network(1), repeat(None))
    await remote.stat("k")
    assert len(seen) == 3


async def test_bytes_that_moved_fill_it_faster_so_that_a_long_transfer_survives_a_rough_store() -> None:
    """A third of all requests refused, for longer than the tokens would last without progress."""

    class Rough(Failing):
        async def send_part(self, *args: object, **more: object) -> Part:
            self.step()
            return Part(1, 0, "e")

    inner = Rough()
    inner.errors = cycle([Throttled("slow down"), None, None])
    remote, _, seen = patient(inner, RetryPolicy(budget_tokens=100, failure_tokens=5))
    part = memoryview(bytearray(16 << 20))
    for number in range(1, 1001):
        await remote.send_part(Upload("k", "1"), number, [part], checksum=None)
    assert len(seen) == 500


async def test_a_call_that_has_bad_luck_is_not_given_up_while_others_get_through() -> None:
    class Unfair(Failing):
        async def stat(self, key: str) -> Stat:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if key == "unlucky":
                self.calls += 1
                if self.calls <= 20:
                    raise Throttled("slow down")
            return Stat(key, 0, "", 0.0)

    remote, _, seen = patient(Unfair(), RetryPolicy(attempts=3))

    async def others() -> None:
        while not call.done():
            await remote.stat("lucky")

    async with asyncio.TaskGroup() as group:
        call = group.create_task(remote.stat("unlucky"))
        group.create_task(others())
    assert len(seen) == 20


async def test_a_call_that_is_refused_while_nothing_else_gets_through_is_given_up_after_its_tries() -> None:
    remote, _, seen = patient(Failing(*[Throttled("slow down")] * 100), RetryPolicy(attempts=3))
    with pytest.raises(Throttled):
        await remote.stat("k")
    assert len(seen) == 2


async def test_what_fails_otherwise_is_given_up_after_its_tries_whoever_gets_through() -> None:
    class Broken(Failing):
        async def stat(self, key: str) -> Stat:
            if key == "broken":
                raise NetworkError("the connection broke")
            return Stat(key, 0, "", 0.0)

    remote, _, seen = patient(Broken(), RetryPolicy(attempts=3))
    for _ in range(2):
        await remote.stat("fine")
    with pytest.raises(NetworkError):
        await remote.stat("broken")
    assert len(seen) == 2


async def test_a_range_goes_on_behind_the_proven_bytes_and_progress_renews_the_tries() -> None:
    inner = Failing(*network(6))
    remote, clock, _ = patient(inner, RetryPolicy(attempts=2, base_seconds=1))
    sink = Collector(1000)
    assert await remote.read_range("k", 0, 1000, sink) == "etag"
    assert bytes(sink.data) == inner.data
    assert inner.asked[:4] == [(0, 1000), (500, 500), (750, 250), (875, 125)]
    assert clock.pauses == [1] * 6


async def test_progress_renews_the_time_and_forgives_earlier_damage() -> None:
    """A slow line takes longer than the deadline for one range; a bad one damages bytes in more than two places."""
    inner = Failing(*[IntegrityError("damaged on the way", retryable=True) for _ in range(6)])
    remote, clock, _ = patient(inner, RetryPolicy(base_seconds=10, cap_seconds=10, deadline_seconds=25))
    sink = Collector(1000)
    await remote.read_range("k", 0, 1000, sink)
    assert bytes(sink.data) == inner.data
    assert clock.pauses == [10] * 6


async def test_a_range_without_progress_gives_up() -> None:
    class Unproven(Collector):
        def rewind(self) -> int:
            self.data.clear()
            return 0

    inner = Failing(*network(100))
    with pytest.raises(NetworkError):
        await patient(inner, RetryPolicy(attempts=3))[0].read_range("k", 0, 1000, Unproven(1000))
    assert inner.asked == [(0, 1000)] * 3


async def test_a_range_that_broke_after_its_last_byte_is_done() -> None:
    class Late(Failing):
        async def read_range(
            self, key: str, start: int, length: int, sink: RangeSink, *, etag: str | None = None
        ) -> str:
            await super().read_range(key, start, length, sink, etag=etag)
            raise RemoteError("the reply goes on")

    sink = Collector(1000)
    assert await patient(Late())[0].read_range("k", 0, 1000, sink) == "etag"
    assert len(sink.data) == 1000


async def test_a_listing_that_breaks_gives_every_entry_once() -> None:
    inner = Failing()
    inner.errors = chain([None, None, *network(1), None, *network(1)], repeat(None))
    remote, _, seen = patient(inner)
    assert [found.key async for found in remote.list("k")] == [f"k{number}" for number in range(5)]
    assert len(seen) == 2


async def test_cancelling_the_pause_ends_the_call() -> None:
    remote = RetryingRemote(Failing(*network(5)), RetryPolicy(base_seconds=50, cap_seconds=50), draw=lambda: 1.0)  # type: ignore[arg-type]
    async with asyncio.TaskGroup() as group:
        call = group.create_task(remote.stat("k"))
        await asyncio.sleep(0.01)
        call.cancel()
    assert call.cancelled()


async def test_a_name_that_nobody_ever_knew_is_given_up_soon_and_one_that_answered_before_is_not() -> None:
    inner = Failing(*[UnknownHost("x")] * 8)
    remote, _, seen = patient(inner)
    with pytest.raises(UnknownHost):
        await remote.stat("k")
    assert (inner.calls, len(seen)) == (3, 2)

    class Lost(Failing):
        def step(self) -> None:
            self.calls += 1
            if self.calls != 1:
                raise UnknownHost("x")

    lost = Lost()
    remote, _, _ = patient(lost)
    await remote.stat("k")
    with pytest.raises(UnknownHost):
        await remote.stat("k")
    assert lost.calls == 1 + RetryPolicy().attempts


class Picky:
    """Stores what it is asked for, but of every call only what `stores` says."""

    def __init__(self, stores: Callable[[int, str], bool], error: BentoMLException | None = None) -> None:
        self.calls: list[list[str]] = []
        self._stores = stores
        self._error = error

    async def write_all(self, objects: Sequence[Blob], *, condition: Condition = None, jobs: int) -> Sequence[bool]:
        self.calls.append([blob.key for blob in objects])
        if self._error is not None:
            raise self._error
        return [self._stores(len(self.calls), blob.key) for blob in objects]


BLOBS = [Blob(f"k{number:03d}", memoryview(b"x"), None) for number in range(100)]


def test_many_objects_are_tried_again_together_while_that_helps() -> None:
    inner, clock = Picky(lambda call, key: call > 2 or int(key[1:]) % 10 >= 3), VirtualClock()
    remote = RetryingRemote(inner, RetryPolicy(), clock=clock, draw=lambda: 0.5)  # type: ignore[arg-type]
    assert not all(asyncio.run(remote.write_all(BLOBS, jobs=4)))
    assert [len(call) for call in inner.calls] == [100, 30]
    assert clock.pauses == [0.05]
    inner = Picky(lambda call, key: int(key[1:]) % 3**call != 0 or call == 3)
    remote = RetryingRemote(inner, RetryPolicy(), clock=clock, draw=lambda: 0.5)  # type: ignore[arg-type]
    assert all(asyncio.run(remote.write_all(BLOBS, jobs=4)))
    assert [len(call) for call in inner.calls] == [100, 34, 12]


def test_of_many_objects_those_that_are_never_stored_are_named() -> None:
    inner = Picky(lambda call, key: key != "k042")
    remote = RetryingRemote(inner, RetryPolicy(), clock=VirtualClock())  # type: ignore[arg-type]
    stored = asyncio.run(remote.write_all(BLOBS, jobs=4))
    assert [blob.key for blob, done in zip(BLOBS, stored, strict=True) if not done] == ["k042"]
    assert len(inner.calls) == 1


def test_a_failure_of_all_is_left_to_single_writes_unless_nothing_can_help() -> None:
    inner = Picky(lambda call, key: True, NetworkError("gone"))
    remote = RetryingRemote(inner, RetryPolicy(), clock=VirtualClock())  # type: ignore[arg-type]
    assert asyncio.run(remote.write_all(BLOBS, jobs=4)) == [False] * 100
    refusing = RetryingRemote(Picky(lambda call, key: True, AuthError("no")), RetryPolicy())  # type: ignore[arg-type]
    with pytest.raises(AuthError):
        asyncio.run(refusing.write_all(BLOBS, jobs=4))
